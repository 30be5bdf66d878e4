/** What the mesh does when a shard's log is not what it must be: purged, deleted, created anew, written by strangers, forked. */
import { cpSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { startCli } from "../cli/cli-process.ts";
import { forgedAfter, type LogHand, logHand } from "../support/log-hand.ts";
import { witnessLog } from "../support/log-witness.ts";
import { type TestMesh, testMesh } from "../support/mesh.ts";
import { type DispatcherHost, dispatcherHost } from "../support/mesh-host.ts";
import { failOnLeakedSuiteServers, natsAvailability } from "../support/nats.ts";
import type { Cleanup, RunningProcess } from "../support/process.ts";

const SHARDS = ["purged", "deleted", "recreated", "strangers", "forked"];
const disposers: (() => Promise<void>)[] = [];
const cleanup: Cleanup = (dispose) => void disposers.unshift(dispose);
let mesh: TestMesh;
/** Two dispatchers that share the shards; the first tells its readiness. */
let host: DispatcherHost;
let other: RunningProcess;

afterAll(failOnLeakedSuiteServers);
afterAll(async () => {
  for (const dispose of disposers) await dispose();
});
beforeAll(async () => {
  if (!(await natsAvailability()).available) return;
  mesh = await testMesh(cleanup, { scope: "suite" });
  const args = ["--shards", SHARDS.join(","), "--snapshot-events", "20", "--snapshot-ms", "0"];
  host = await dispatcherHost(mesh, "a", args, cleanup);
  other = await mesh.dispatcher("b", args);
});

const ITEMS = Array.from({ length: 10 }, (_, index) => ({ resourceType: "t", resourceId: `r-${index}` }));

/** A line of this event about this shard, written already or to come. */
async function lineOf(process: RunningProcess, msg: string, shard: string): Promise<Record<string, unknown>> {
  const head = `"shard":"${shard}"`;
  for (let seen = 0; ; ) {
    const found = process.lines.find((line) => line.includes(`"msg":"${msg}"`) && line.includes(head));
    if (found !== undefined) return JSON.parse(found) as Record<string, unknown>;
    seen = process.lines.length;
    while (process.lines.length === seen) await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function shardUnder(shard: string, end: Cleanup) {
  const witness = await witnessLog(mesh.server.url, shard, end);
  const client = await mesh.client(shard);
  const hand = await logHand(mesh.server.url, { shard }, end);
  await client.enqueueMany(ITEMS);
  await client.enqueueMany(ITEMS);
  return { witness, client, hand };
}

/** A dispatcher that starts anew for this shard alone. */
const newcomer = (shard: string): RunningProcess => mesh.start(`new-${shard}`, ["--shards", shard]);

describe.concurrent("a log that", () => {
  test("was purged is healed by a snapshot of its leader, also where only empty frames came behind the last one", async ({
    onTestFinished,
  }) => {
    const { witness, client, hand } = await shardUnder("purged", onTestFinished);
    await lineOf(host, "snapshot_published", "purged");
    for (let count = 0; count < 5; count += 1) await client.stats({ consistent: true });
    // What it has not read by then would be a hole for it too.
    await vi.waitFor(async () => expect(witness.streamSequence).toBe((await hand.bounds()).last), { timeout: 10_000 });
    await hand.purge();
    await lineOf(host, "log_incomplete", "purged");
    await host.untilReadiness((reasons) => !reasons.some((reason) => reason.includes("log_incomplete")));
    const fresh = newcomer("purged");
    await fresh.line('"msg":"ready"');
    await client.handover({ to: "new-purged" });
    const stats = await client.stats({ consistent: true });
    expect(stats).toMatchObject({ leader: "new-purged", pending: 20 });
    expect(stats.stateHash).toBe(await witness.hashAt(stats.sequence));
  });

  test("is gone halts every node within half a minute, idle or not, and nothing is created in its place", async ({
    onTestFinished,
  }) => {
    const { hand } = await shardUnder("deleted", onTestFinished);
    await hand.remove();
    await expectHalted("deleted", "log_missing", hand, "restore it");
  });

  test("was created anew under a known id halts every node, and a newcomer refuses it", async ({ onTestFinished }) => {
    const { hand } = await shardUnder("recreated", onTestFinished);
    await hand.remove();
    await hand.create();
    await expectHalted("recreated", "log_tail_lost", hand, "acknowledged frames are lost");
    expect((await hand.bounds()).last).toBe(0);
  });

  test("gets 1,000 messages of a stranger under load goes on: they are stepped over, counted, and an alarm says so", async ({
    onTestFinished,
  }) => {
    const { witness, client, hand } = await shardUnder("strangers", onTestFinished);
    const noise = async (): Promise<void> => {
      for (let count = 0; count < 1_000; count += 1) await hand.publish(Buffer.from(`noise ${count}`));
    };
    const work = async (): Promise<void> => {
      for (let count = 0; count < 50; count += 1) await client.enqueueMany(ITEMS);
    };
    await Promise.all([noise(), work()]);
    const stats = await client.stats({ consistent: true });
    expect(stats.pending).toBe(20 + 500);
    expect(stats.stateHash).toBe(await witness.hashAt(stats.sequence));
    expect(witness.voids).toBe(1_000);
    expect(await host.detail()).toContain("strangers: void_messages: 1000 messages");
    expect((await host.readiness()).reasons.filter((reason) => reason.startsWith("shard strangers"))).toEqual([]);
  });

  test("forked halts every node with its state kept, and log verify names the place", async ({ onTestFinished }) => {
    const { hand } = await shardUnder("forked", onTestFinished);
    const { last } = await hand.bounds();
    await hand.publish(forgedAfter(await hand.read(last)), true);
    await expectHalted("forked", "log_fork", hand, "the log forked");
    for (const folder of [host.dataDir, mesh.dataDir("b")])
      expect(readdirSync(`${folder}/dumps`).filter((name) => name.includes(".forked."))).toEqual([
        expect.stringMatching(/\.log_fork\.jsonl$/),
      ]);
    const verify = startCli(["log", "verify", "--nats-url", mesh.server.url, "--shard", "forked"], onTestFinished);
    const { code, out, notes } = await verify.ended;
    expect(out + notes).toContain(`stream sequence ${last + 1}`);
    expect(code).toBe(1);
  });

  test("lost its tail is led by nobody, neither by a dispatcher that lived on nor by one that was killed and started again", async ({
    onTestFinished,
  }) => {
    const { server, ...own } = await testMesh(onTestFinished, { scope: "suite" });
    const args = ["--snapshot-events", "20", "--snapshot-ms", "0"];
    const [a, b] = await Promise.all([own.dispatcher("a", args), own.dispatcher("b", args)]);
    const client = await own.client("default");
    await client.enqueueMany(ITEMS);
    const streams = join(server.storeDir, "jetstream");
    const older = join(own.folder, "older");
    await server.stop();
    cpSync(streams, older, { recursive: true });
    await server.restart();
    for (let count = 0; count < 4; count += 1) await client.enqueueMany(ITEMS);
    await Promise.all([a, b].map((process) => process.line('"msg":"snapshot_published"')));
    await a.signal("SIGKILL");
    await server.stop();
    rmSync(streams, { recursive: true });
    cpSync(older, streams, { recursive: true });
    await server.restart();
    const again = own.start("a", args);
    expect(await again.line("omnirelay dispatcher:")).toMatch(
      /shard default: .* acknowledged frames are lost; restore/,
    );
    expect(await again.ended).toBe(1);
    expect(await lineOf(b, "halted", "default")).toMatchObject({ code: "log_tail_lost" });
    await expect(client.stats({ timeoutMs: 500 })).rejects.toMatchObject({ code: "unavailable" });
  });
});

/** Leader and standby halt and say why, the readiness too, and a newcomer does not make another log. */
async function expectHalted(shard: string, code: string, hand: LogHand, advice: string): Promise<void> {
  const reasons = await host.untilReadiness((all) => all.some((reason) => reason.includes(`${shard}: ${code}`)));
  expect(reasons.find((reason) => reason.includes(code))).toContain(advice);
  for (const process of [host, other]) expect(await lineOf(process, "halted", shard)).toMatchObject({ code });
  const before = await hand.bounds().catch(String);
  const fresh = newcomer(shard);
  expect(await fresh.line("omnirelay dispatcher:")).toContain(`shard ${shard}`);
  expect(await fresh.ended).toBe(1);
  expect(await hand.bounds().catch(String)).toEqual(before);
}
