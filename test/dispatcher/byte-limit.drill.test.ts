/** What happens near, at and behind the byte limit of a shard's log on a real stream: alarm, typed refusals, settling, and recovery by itself. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { LeaseClient } from "../../services/client/mod.ts";
import { logHand } from "../support/log-hand.ts";
import { witnessLog } from "../support/log-witness.ts";
import { testMesh } from "../support/mesh.ts";
import { dispatcherHost } from "../support/mesh-host.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import type { Cleanup } from "../support/process.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

const BYTES_MAX = 400_000;
const BIG = { resourceType: "t", resourceId: "r", body: JSON.stringify("x".repeat(2_000)) };

async function shardWithLimit(options: string, cleanup: Cleanup) {
  const mesh = await testMesh(cleanup);
  const args = ["--log-bytes-max", String(BYTES_MAX), "--snapshot-events", "50", "--snapshot-ms", "0"];
  const host = await dispatcherHost(
    mesh,
    "a",
    [...args, ...(options === "" ? [] : ["--shard-options", options])],
    cleanup,
  );
  const witness = await witnessLog(mesh.server.url, "default", cleanup);
  const hand = await logHand(mesh.server.url, { shard: "default" }, cleanup);
  const impatient = await mesh.client("default", { onBackpressure: "throw" });
  const client = await mesh.client("default");
  const expectTrueState = async (): Promise<void> => {
    const stats = await client.stats({ consistent: true });
    expect(stats.stateHash).toBe(await witness.hashAt(stats.sequence));
  };
  return { host, hand, impatient, client, expectTrueState };
}

/** Does something again and again until it is refused. */
async function untilRefused(step: () => Promise<unknown>): Promise<Record<string, unknown>> {
  for (let count = 0; count < 5_000; count += 1)
    try {
      await step();
    } catch (error) {
      return error as Record<string, unknown>;
    }
  throw new Error("it was never refused");
}

const leaseAndRelease = async (client: LeaseClient): Promise<void> => {
  const { leases } = await client.lease({ maxItems: 20 });
  await client.releaseMany(leases);
};

describe.concurrent("a log that", () => {
  test("nears its limit refuses enqueue, then grants, with an alarm, still settles, and recovers when it may be trimmed", async ({
    onTestFinished,
  }) => {
    const { host, impatient, client, expectTrueState } = await shardWithLimit("logTrim=off", onTestFinished);
    const refused = await untilRefused(() => impatient.enqueue(BIG));
    expect(refused).toMatchObject({ code: "backpressure", retryable: true, definite: true });
    expect(refused["retryAfterMs"]).toBeGreaterThan(0);
    expect(await host.detail()).toContain("default: log_bytes_high: the log holds");
    expect((await host.readiness()).ready).toBe(true);
    const { leases } = await impatient.lease({ maxItems: 5 });
    expect(await untilRefused(() => leaseAndRelease(impatient))).toMatchObject({ code: "backpressure" });
    await host.untilReadiness((reasons) => reasons.some((reason) => reason.includes("nothing is granted or enqueued")));
    expect((await impatient.completeMany(leases)).map(({ kind }) => kind)).toEqual(leases.map(() => "ok"));
    await client.configure({ logTrim: "auto" });
    // It waits for room without an error.
    await client.enqueue(BIG);
    expect(await host.untilReadiness((reasons) => reasons.length === 0)).toEqual([]);
    await host.line('"msg":"alarm_cleared"');
    await expectTrueState();
  });

  test("gets several times its limit of work is trimmed in time, and nothing of it is lost", async ({
    onTestFinished,
  }) => {
    const { hand, client, expectTrueState } = await shardWithLimit("", onTestFinished);
    for (let count = 0; count < 60; count += 1) {
      await client.enqueueMany(Array.from({ length: 10 }, () => BIG));
      const { leases } = await client.lease({ maxItems: 10 });
      await client.completeMany(leases);
    }
    expect((await hand.bounds()).bytes).toBeLessThan(BYTES_MAX);
    expect(await client.stats({ consistent: true })).toMatchObject({ pending: 0, active: 0, completed: 600 });
    await expectTrueState();
  });

  test("has reached its limit takes nothing, says so, and goes on by itself when the limit is raised", async ({
    onTestFinished,
  }) => {
    const { host, hand, client, expectTrueState } = await shardWithLimit("", onTestFinished);
    await client.enqueue(BIG);
    await hand.limit((await hand.bounds()).bytes + 1);
    const waiting = client.enqueue(BIG);
    await host.untilReadiness((reasons) => reasons.some((reason) => reason.includes("log_wedged")));
    await hand.limit(BYTES_MAX);
    await waiting;
    expect(await host.untilReadiness((reasons) => reasons.length === 0)).toEqual([]);
    expect(await client.stats({ consistent: true })).toMatchObject({ pending: 2 });
    await expectTrueState();
  });
});
