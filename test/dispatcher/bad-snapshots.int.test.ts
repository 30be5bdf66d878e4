/** What a dispatcher does with snapshots that are damaged, another shard's or a later release's: said by name, and stepped over. */
import { existsSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openSqlite } from "../../services/persistence/mod.ts";
import { logHand } from "../support/log-hand.ts";
import { witnessLog } from "../support/log-witness.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import type { Cleanup, RunningProcess } from "../support/process.ts";
import { type Damage, sharedSnapshots, spoilLocal } from "../support/shared-snapshots.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

type Line = Readonly<Record<string, string | number>>;

const linesOf = (process: RunningProcess, msg: string, shard: string | undefined): Line[] =>
  process.lines
    .filter((line) => line.includes(`"msg":"${msg}"`))
    .map((line) => JSON.parse(line) as Line)
    .filter((line) => line["shard"] === shard);

/** A dispatcher that has taken two snapshots of each shard, with a tail behind them. */
async function shardsWithSnapshots(shards: readonly string[], cleanup: Cleanup) {
  const mesh = await testMesh(cleanup);
  const args = ["--shards", shards.join(","), "--snapshot-events", "30", "--snapshot-ms", "0"];
  const leader = await mesh.dispatcher("a", args);
  const parts = await Promise.all(
    shards.map(async (shard) => {
      const witness = await witnessLog(mesh.server.url, shard, cleanup);
      const client = await mesh.client(shard);
      const items = (count: number) => Array.from({ length: count }, () => ({ resourceType: "t", resourceId: shard }));
      const count = (msg: string): number => linesOf(leader, msg, shard).length;
      while (count("snapshot_begun") < 2) await client.enqueueMany(items(10));
      // Published in both stores; the requests only pass the time until then.
      while (count("snapshot_published") < count("snapshot_begun")) await client.stats({ consistent: true });
      await client.enqueueMany(items(3));
      return { shard, witness, client };
    }),
  );
  const shared = await sharedSnapshots(mesh.server.url, cleanup);
  return { mesh, args, leader, parts, shared };
}

const DAMAGES: readonly Damage[] = ["flipped", "truncated", "newer", "foreign"];
const CODES: Readonly<Record<Damage, string>> = {
  flipped: "snapshot_damaged",
  truncated: "snapshot_damaged",
  newer: "snapshot_version",
  foreign: "snapshot_foreign",
};

test("each bad snapshot is named, the next older one or the log is used, and the state is the right one", async ({
  onTestFinished,
}) => {
  const shards = [...DAMAGES, "all"];
  const { mesh, args, leader, parts, shared } = await shardsWithSnapshots(shards, onTestFinished);
  await leader.signal("SIGKILL");
  const folder = mesh.dataDir("a");
  const listed = await Promise.all(shards.map(shared.list));
  for (const damage of DAMAGES) {
    spoilLocal(folder, damage, 0, damage);
    await shared.spoil(damage, 0, damage);
  }
  for (const index of [0, 1]) {
    spoilLocal(folder, "all", index, "flipped");
    await shared.spoil("all", index, "truncated");
  }
  const again = await mesh.dispatcher("a", args);
  for (const [index, { shard, witness, client }] of parts.entries()) {
    const unusable = linesOf(again, "snapshot_unusable", shard);
    const [newest, older] = listed[index] ?? [];
    const loaded = linesOf(again, "snapshot_loaded", shard);
    if (shard === "all") {
      expect(unusable.map(({ code }) => code)).toEqual(Array.from({ length: 4 }, () => "snapshot_damaged"));
      expect(loaded).toEqual([]);
    } else {
      const sequence = newest?.label.sequence;
      expect(unusable).toMatchObject([
        { code: CODES[shard as Damage], sequence, where: expect.stringContaining("snapshots.sqlite") },
        { code: CODES[shard as Damage], sequence, where: expect.stringContaining("object store") },
      ]);
      expect(loaded).toMatchObject([{ sequence: older?.label.sequence }]);
    }
    const stats = await client.stats({ consistent: true });
    expect(stats.leader).toBe("a");
    expect(stats.stateHash).toBe(await witness.hashAt(stats.sequence));
  }
});

test("a damaged snapshot file is set aside, the shared store stands in for it also behind a trimmed log, and a new file is begun", async ({
  onTestFinished,
}) => {
  const { mesh, args, leader, parts, shared } = await shardsWithSnapshots(["default"], onTestFinished);
  await leader.signal("SIGKILL");
  const file = join(mesh.dataDir("a"), "snapshots.sqlite");
  // Opened and closed once, so that everything stands in the file and nothing in the log beside it.
  openSqlite(file).close();
  truncateSync(file, statSync(file).size >> 1);
  const hand = await logHand(mesh.server.url, { shard: "default" }, onTestFinished);
  const [newest, older] = await shared.list("default");
  await hand.purge(older?.label.streamSequence);
  const again = await mesh.dispatcher("a", args);
  const [aside] = linesOf(again, "snapshots_set_aside", undefined);
  expect(aside).toMatchObject({ code: "store_corrupt", message: expect.stringContaining("snapshots.sqlite") });
  expect(existsSync(String(aside?.["file"]))).toBe(true);
  expect(linesOf(again, "snapshot_loaded", "default")).toMatchObject([{ sequence: newest?.label.sequence }]);
  const [{ witness, client } = expect.fail("no shard")] = parts;
  const stats = await client.stats({ consistent: true });
  expect(stats.stateHash).toBe(await witness.hashAt(stats.sequence));
  await client.enqueueMany(Array.from({ length: 40 }, () => ({ resourceType: "t", resourceId: "r" })));
  await again.line('"msg":"snapshot_published"');
});
