/** What a dispatcher does with the data folder that it finds: none, an old copy, another shard's, another mesh's. */
import { cpSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { LeaseClient } from "../../services/client/mod.ts";
import { type LogHand, logHand } from "../support/log-hand.ts";
import { type LogWitness, witnessLog } from "../support/log-witness.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, natsServer, skipWithoutNats } from "../support/nats.ts";
import { allow, denying } from "../support/nats-rights.ts";
import type { Cleanup, RunningProcess } from "../support/process.ts";
import { sharedSnapshots } from "../support/shared-snapshots.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

const OFTEN = ["--snapshot-events", "40", "--snapshot-ms", "0"];
const LEADING = '"msg":"leading"';
const READY = '"msg":"ready"';
const SNAPSHOT_LOADED = '"msg":"snapshot_loaded"';

/** Works until this process has published so many more snapshots; a part of the items is completed, a part stays leased. */
async function work(client: LeaseClient, leader: RunningProcess, snapshots: number): Promise<void> {
  const published = (): number => leader.lines.filter((line) => line.includes('"msg":"snapshot_published"')).length;
  const wanted = published() + snapshots;
  while (published() < wanted) {
    await client.enqueueMany(
      Array.from({ length: 10 }, (_, index) => ({ resourceType: "table", resourceId: `t-${index}` })),
    );
    const { leases } = await client.lease({ maxItems: 5 });
    await client.completeMany(leases.slice(0, 4));
  }
}

/** The shard is led, and its state is what the log says, to the bit. */
async function expectTrueState(client: LeaseClient, witness: LogWitness, leader: string): Promise<void> {
  const stats = await client.stats({ consistent: true });
  expect(stats.leader).toBe(leader);
  expect(stats.stateHash).toBe(await witness.hashAt(stats.sequence));
}

/** Up to where a leader trims that keeps nothing for readers it does not know: the older of the two newest shared snapshots. */
async function trimmable(servers: string, cleanup: Cleanup): Promise<number> {
  const { list } = await sharedSnapshots(servers, cleanup);
  return (await list("default"))[1]?.label.streamSequence ?? 0;
}

async function trim(servers: string, hand: LogHand, cleanup: Cleanup): Promise<number> {
  const keepFrom = await trimmable(servers, cleanup);
  await hand.purge(keepFrom);
  expect((await hand.bounds()).first).toBe(keepFrom);
  return keepFrom;
}

const countOf = (process: RunningProcess, text: string): number =>
  process.lines.filter((line) => line.includes(text)).length;

test("an empty data folder is filled from the shared snapshot, and an old copy of one catches up, past what was trimmed since", async ({
  onTestFinished,
}) => {
  const mesh = await testMesh(onTestFinished);
  const a = await mesh.dispatcher("a", OFTEN, LEADING);
  const { url } = mesh.server;
  const witness = await witnessLog(url, "default", onTestFinished);
  const hand = await logHand(url, { shard: "default" }, onTestFinished);
  const client = await mesh.client("default");
  await work(client, a, 2);
  await a.signal("SIGKILL");
  const copy = join(mesh.folder, "copy-of-a");
  cpSync(mesh.dataDir("a"), copy, { recursive: true });
  const seenByCopy = witness.streamSequence;

  const b = await mesh.dispatcher("b", OFTEN, LEADING);
  expect(countOf(b, SNAPSHOT_LOADED)).toBe(1);
  await expectTrueState(client, witness, "b");
  // One of a snapshot that was under way when the other leader died may come in between.
  do await work(client, b, 2);
  while ((await trimmable(url, onTestFinished)) <= seenByCopy);
  expect(await trim(url, hand, onTestFinished)).toBeGreaterThan(seenByCopy);
  await b.signal("SIGKILL");

  const c = await mesh.dispatcher("c", OFTEN, LEADING);
  expect(countOf(c, SNAPSHOT_LOADED)).toBe(1);
  await expectTrueState(client, witness, "c");
  const old = mesh.start("a", OFTEN, { dataDir: copy });
  await old.line(READY);
  await c.signal("SIGKILL");
  await old.line(LEADING);
  await expectTrueState(client, witness, "a");
});

const LISTING = "$JS.API.STREAM.INFO.OBJ_omnirelay-snapshots";

test("an empty data folder behind a trimmed log waits for a store that cannot be asked, and goes on by itself when it can", async ({
  onTestFinished,
}) => {
  const mesh = await testMesh(onTestFinished, { extraConfig: denying(LISTING, "denied") });
  const a = await mesh.dispatcher("a", OFTEN, LEADING);
  const witness = await witnessLog(mesh.server.url, "default", onTestFinished);
  const hand = await logHand(mesh.server.url, { shard: "default" }, onTestFinished);
  const client = await mesh.client("default");
  await work(client, a, 2);
  await trim(mesh.server.url, hand, onTestFinished);
  const late = mesh.start("late", OFTEN, { servers: mesh.server.url.replace("//", "//denied:p@") });
  expect(await late.line('"code":"snapshots_unreachable"')).toContain("bring their store back");
  expect(countOf(late, READY)).toBe(0);
  allow(mesh.server, LISTING);
  await late.line(READY);
  expect(countOf(late, SNAPSHOT_LOADED)).toBe(1);
  await a.signal("SIGKILL");
  await late.line(LEADING);
  await expectTrueState(client, witness, "late");
});

test("a folder of another shard, or of another mesh's log, is refused with a sentence, and the live log is left alone", async ({
  onTestFinished,
}) => {
  const mesh = await testMesh(onTestFinished);
  const elsewhere = await natsServer({ cleanup: onTestFinished });
  const stranger = mesh.start("b", [], { servers: elsewhere.url });
  await Promise.all([mesh.dispatcher("a", [], LEADING), stranger.line(LEADING)]);
  await stranger.signal("SIGTERM");
  const hand = await logHand(mesh.server.url, { shard: "default" }, onTestFinished);
  const client = await mesh.client("default");
  await client.enqueue({ resourceType: "table", resourceId: "t" });
  const before = await hand.bounds();
  const folders = readdirSync(mesh.dataDir("b")).sort();

  const foreignLog = mesh.start("b");
  expect(await foreignLog.line("the data folder knows shard default as log")).toContain("use the right folder");
  expect(await foreignLog.ended).toBe(1);
  const foreignShard = mesh.start("b", ["--shards", "other"]);
  expect(await foreignShard.line("belongs to local/default, not to local/other")).toContain("a folder of its own");
  expect(await foreignShard.ended).toBe(1);

  expect(await hand.bounds()).toEqual(before);
  expect(await client.stats({ consistent: true })).toMatchObject({ leader: "a", pending: 1 });
  expect(readdirSync(mesh.dataDir("b")).sort()).toEqual(folders);
  const other = await logHand(mesh.server.url, { shard: "other" }, onTestFinished);
  await expect(other.bounds()).rejects.toThrow("stream not found");
});
