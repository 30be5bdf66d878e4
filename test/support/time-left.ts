/**
 * Skips tests for which no time is left, where a run must end by a given time: on a slow machine CI ends in time and counts what it left out,
 * instead of being cut off in the middle.
 */
import { beforeEach } from "vitest";

/** Seconds since 1970; absent means that there is time enough. Set by `.ci/run`. */
const until = Number(process.env["OMNIRELAY_TEST_UNTIL"] ?? Number.POSITIVE_INFINITY);

beforeEach(({ skip }) => {
  if (Date.now() > until * 1_000) skip("no time left: this machine is too slow for all tests");
});
