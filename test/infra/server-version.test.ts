/** The version policy: which nats-server is refused, which is warned about, which is fine. */
import { describe, expect, test } from "vitest";
import {
  compareServerVersions,
  judgeServerVersion,
  parseServerVersion,
  SERVER_VERSION_PINNED,
  type ServerVersion,
  type VersionDemand,
} from "../../infra/nats-server/version.ts";

describe("the version policy", () => {
  test.each<[string, VersionDemand, string, RegExp]>([
    ["2.11.9", {}, "refused", /too old.*2\.12\.0/],
    ["2.11.9", { replicated: false, allowUnfencedReplicas: true }, "refused", /too old/],
    ["2.12.0-RC.1", { replicated: false }, "refused", /too old/],
    ["2.12.0", {}, "refused", /2\.14\.4.*allowUnfencedReplicas/],
    ["2.14.3", {}, "refused", /not fence replicated logs/],
    ["2.14.4-RC.1", {}, "refused", /not fence replicated logs/],
    ["2.14.3", { allowUnfencedReplicas: true }, "warned", /allowed explicitly/],
    ["2.14.3", { replicated: false }, "warned", /power cut/],
    ["2.14.4", {}, "warned", /power cut/],
    ["2.15.0-RC.2", {}, "warned", /power cut/],
  ])("of %s for %o is %s", (version, demand, kind, message) => {
    const verdict = judgeServerVersion(parsed(version), demand);
    expect(verdict).toMatchObject({ kind, message: expect.stringMatching(message) });
    expect(verdict).toMatchObject({ message: expect.stringContaining(version) });
  });

  test.each(["2.15.0", SERVER_VERSION_PINNED, "2.16.0-dev", "3.0.0"])("accepts %s without a word", (version) => {
    expect(judgeServerVersion(parsed(version))).toEqual({ kind: "accepted" });
  });
});

describe("a version", () => {
  test.each([
    ["nats-server: v2.15.1\n", "2.15.1"],
    ["nats-server: v2.15.0-RC.2", "2.15.0-RC.2"],
    ["2.10.27", "2.10.27"],
    ["v2.12.0-preview.1", "2.12.0-preview.1"],
  ])("is read from %j", (text, expected) => {
    expect(parseServerVersion(text)?.text).toBe(expected);
  });

  test.each(["", "nats-server: dev", "2.15", ".incoming-2f9c1d"])("is not seen in %j", (text) => {
    expect(parseServerVersion(text)).toBeUndefined();
  });

  test("is ordered by number, and a prerelease comes before its release", () => {
    const ordered = ["2.9.25", "2.12.0", "2.14.4", "2.15.0-RC.2", "2.15.0-RC.10", "2.15.0", "2.15.1"];
    const shuffled = ordered.toReversed().map(parsed);
    expect(shuffled.toSorted(compareServerVersions).map((version) => version.text)).toEqual(ordered);
  });
});

function parsed(text: string): ServerVersion {
  const version = parseServerVersion(text);
  if (version === undefined) throw new Error(`${text} is no version`);
  return version;
}
