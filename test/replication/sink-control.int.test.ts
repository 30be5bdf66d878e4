/** Wishes of operators where nothing, or not what they think, has run. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { cli } from "../cli/fake-terminal.ts";
import { failOnLeakedServers, natsServer, skipWithoutNats } from "../support/nats.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

test("says that no replicator has run here where there is no bucket of checkpoints", async ({ onTestFinished }) => {
  const server = await natsServer({ cleanup: onTestFinished });
  for (const verb of ["pause", "resume"]) {
    const { code, notes } = await cli("sink", verb, "audit", "--nats-url", server.url);
    expect(code).toBe(1);
    expect(notes).toContain("no replicator has run here");
  }
});
