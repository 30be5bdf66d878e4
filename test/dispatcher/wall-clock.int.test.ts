/** A host whose wall clock is wrong: what it writes carries the time of the server. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Reporter } from "../../contracts/ports.ts";
import { LeaseClient } from "../../services/client/mod.ts";
import { createDispatcherRole } from "../../services/dispatcher/role.ts";
import { createClock } from "../../services/runtime/clock.ts";
import { witnessLog } from "../support/log-witness.ts";
import { failOnLeakedServers, natsServer, skipWithoutNats } from "../support/nats.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

const QUIET: Reporter = { info: () => {}, warn: () => {}, error: () => {} };
const HOUR_MS = 3_600_000;

test("a dispatcher in the year 2099 creates and leads a log whose times are those of the server", async ({
  onTestFinished,
}) => {
  const server = await natsServer({ cleanup: onTestFinished });
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-2099-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const clock = { ...createClock(), wallMs: () => Date.parse("2099-01-01") };
  const role = createDispatcherRole(
    {
      ...{ natsUrl: server.url, region: "local", shards: ["default"], peerId: "a", dataDir: folder },
      ...{ replicas: 1, provision: true, shardOptions: {} },
    },
    { reporter: QUIET, clock },
  );
  onTestFinished(() => role.stop());
  await role.start();
  const client = await LeaseClient.connect({ servers: server.url, shard: "default" });
  onTestFinished(() => client.close());
  await client.enqueue({ resourceType: "t", resourceId: "r" });
  const witness = await witnessLog(server.url, "default", onTestFinished);
  await witness.hashAt((await client.stats({ consistent: true })).sequence);
  expect(Math.abs(witness.state.at - Date.now())).toBeLessThan(HOUR_MS);
});
