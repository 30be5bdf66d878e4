/** `omnirelay snapshot` against a real server: snapshots made without a dispatcher, and every way in which one can be bad. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { stateHash } from "../../services/core/hash.ts";
import { SNAPSHOT_FORMAT } from "../../services/core/snapshot-format.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { SNAPSHOT_BUCKET } from "../../services/jetstream/object-snapshots.ts";
import { copySnapshot, type SnapshotInfo, SqliteSnapshotStore } from "../../services/persistence/mod.ts";
import { chainOf } from "../../services/runtime/frame-codec.ts";
import { foldFrames, ShardWorld } from "../core/shard-world.ts";
import { api } from "../jetstream/stream-subject.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, natsAvailability, natsServer } from "../support/nats.ts";
import { cli } from "./fake-terminal.ts";
import { richWorld, StoredLog, textOf, writeHash } from "./stored-log.ts";

const nats = await natsAvailability();
const skipNote = nats.available ? "" : `, skipped: ${nats.reason}`;
afterEach(failOnLeakedServers);

async function setup() {
  const world = richWorld();
  const log = await StoredLog.create(onTestFinished, world.frames);
  return { world, log };
}

/** The stored pieces of a snapshot, for tests that break them. */
async function pieces(log: StoredLog, info: SnapshotInfo): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const piece of log.bucket.read({ id: info.id })) parts.push(piece);
  return Buffer.concat(parts);
}

async function replacePieces(log: StoredLog, info: SnapshotInfo, bytes: Uint8Array): Promise<void> {
  await api(log.connection, `STREAM.PURGE.OBJ_${SNAPSHOT_BUCKET}`, { filter: log.bucket.pieceSubject(info.id) });
  await log.connection.request(log.bucket.pieceSubject(info.id), bytes);
}

/** Changes what stands beside the object's name. */
async function changeMeta(log: StoredLog, info: SnapshotInfo, name: string, change: (value: string) => string) {
  const { region, shard, sequence } = info.label;
  const objectName = `${region}/${shard}/${String(sequence).padStart(20, "0")}`;
  const object = await log.bucket.find(objectName);
  if (object === undefined) throw new Error(`no object ${objectName}`);
  const metadata = { ...object.metadata, [name]: change(object.metadata[name] ?? "") };
  await log.connection.request(log.bucket.metaSubject(objectName), log.bucket.meta({ ...object, metadata }, 1, ""));
}

const newest = async (log: StoredLog): Promise<SnapshotInfo> => {
  const [info] = await log.store.list("local", "default");
  if (info === undefined) throw new Error("there is no snapshot");
  return info;
};

describe.skipIf(!nats.available)(`omnirelay snapshot${skipNote}`, () => {
  test("create writes the log's end without a dispatcher, list shows it, verify proves it", async () => {
    const { world, log } = await setup();
    expect(await log.ask("snapshot", "list")).toEqual({ code: 0, out: "", notes: "omnirelay: there is no snapshot" });
    expect(await log.ask("snapshot", "verify")).toMatchObject({
      code: 1,
      notes: expect.stringContaining("there is no snapshot of local/default"),
    });
    const created = await log.askJson("snapshot", "create");
    const last = log.messages.length;
    const expected = {
      sequence: world.state.sequence,
      streamSequence: last,
      hash: stateHash(world.state),
      chain: chainOf(log.messages[last - 1]?.payload ?? new Uint8Array(0)),
      logId: "log-1",
      where: "object store bucket omnirelay-snapshots",
    };
    expect(created).toMatchObject({ created: true, foldedFrom: 0, ...expected });
    expect(await log.askJson("snapshot", "list")).toMatchObject(expected);
    expect((await log.ask("snapshot", "list")).out).toMatch(
      new RegExp(`^sequence .*\\n +${world.state.sequence} +${last} +1 +20.*${expected.hash} +object store bucket`),
    );
    expect(await log.askJson("snapshot", "verify")).toMatchObject({
      ok: true,
      snapshots: [{ ...expected, ok: true, anchor: "anchored", folded: { streamSequence: last, stateHashes: 0 } }],
    });
    expect(await log.ask("snapshot", "create")).toMatchObject({
      code: 0,
      out: expect.stringMatching(/is there already and whole/),
    });
  });

  test("a later create begins with the newest snapshot, and verify folds the log over both", async () => {
    const { world, log } = await setup();
    const first = await log.askJson("snapshot", "create");
    const before = world.frames.length;
    world.seed(3);
    writeHash(world);
    await log.append(world.frames.slice(before));
    await log.publish("hello");
    const second = await log.askJson("snapshot", "create");
    expect(second).toMatchObject({ created: true, foldedFrom: first.sequence, hash: stateHash(world.state) });
    // The last message is a stranger's: the snapshot stands behind the last frame.
    expect(second.streamSequence).toBe(log.messages.length);
    const { snapshots } = await log.askJson("snapshot", "verify");
    expect(snapshots).toMatchObject([
      { sequence: second.sequence, ok: true, folded: { stateHashes: 0, voids: 1 } },
      { sequence: first.sequence, ok: true, folded: { stateHashes: 1, voids: 1, sequence: second.sequence } },
    ]);
    expect(await log.askJson("snapshot", "verify", "--sequence", String(first.sequence))).toMatchObject({
      snapshots: [{ sequence: first.sequence }],
    });
    expect(await log.ask("snapshot", "verify", "--sequence", "5")).toMatchObject({
      code: 1,
      notes: expect.stringContaining("no snapshot of local/default at sequence 5"),
    });
  });

  test("create is refused when the log is not whole, and writes nothing", async () => {
    const { world, log } = await setup();
    await log.remove(20);
    const refused = await log.ask("snapshot", "create");
    expect(refused).toMatchObject({ code: 1, out: "" });
    expect(refused.notes).toMatch(
      /not whole, at stream sequence 19: log_gap: .*; see: omnirelay log verify --region local/,
    );
    expect(await log.store.list("local", "default")).toEqual([]);
    // A snapshot behind the hole leads around it.
    await log.putSnapshot(foldFrames(world.frames.slice(0, 25)), 25);
    expect(await log.askJson("snapshot", "create")).toMatchObject({ created: true });
  });

  test("create passes over a bad snapshot with a word, and leaves it where it is", async () => {
    const { world, log } = await setup();
    const good = await log.putSnapshot(foldFrames(world.frames.slice(0, 10)), 10);
    const bad = await log.putSnapshot(foldFrames(world.frames.slice(0, 20)), 20);
    const bytes = await pieces(log, bad);
    await replacePieces(log, bad, bytes.subarray(0, bytes.length - 30));
    const created = await log.ask("snapshot", "create", "--json");
    expect(JSON.parse(created.out)).toMatchObject({ created: true, foldedFrom: good.label.sequence });
    expect(created.notes).toMatch(/the snapshot of local\/default at sequence \d+ is damaged: it ends in chunk 1 of 1/);
    expect((await log.store.list("local", "default")).map(({ label }) => label.streamSequence)).toEqual([
      log.messages.length,
      20,
      10,
    ]);
  });

  describe("verify refuses", () => {
    const cases: [string, (log: StoredLog, world: ShardWorld) => Promise<unknown>, RegExp][] = [
      [
        "a truncated one",
        async (log) => {
          const info = await newest(log);
          await replacePieces(log, info, (await pieces(log, info)).subarray(0, -30));
        },
        /^omnirelay: snapshot_damaged: .*it ends in chunk 1 of 1; use an older one$/m,
      ],
      [
        "one with a flipped byte",
        async (log) => {
          const info = await newest(log);
          const bytes = await pieces(log, info);
          bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
          await replacePieces(log, info, bytes);
        },
        /^omnirelay: snapshot_damaged: .*chunk 1 is not what was written; use an older one$/m,
      ],
      [
        "one that says it is another shard's",
        (log) =>
          newest(log).then((info) =>
            changeMeta(log, info, "omnirelay-label", (text) => text.replace('"default"', '"other"')),
          ),
        /^omnirelay: snapshot_foreign: .*is in truth the snapshot of local\/other at sequence \d+; remove it$/m,
      ],
      [
        "one of a newer format",
        (log) => newest(log).then((info) => changeMeta(log, info, "omnirelay-format", () => "2")),
        /^omnirelay: snapshot_version: .*written by a newer release \(format 2,.*; start the newer release, or use an older/m,
      ],
      [
        "one whose state has a newer format",
        async (log, world) => {
          await log.store.remove(await newest(log));
          const text = textOf(world.state).replace(`"format":${SNAPSHOT_FORMAT}`, '"format":7');
          await log.putSnapshot(world.state, log.messages.length, {}, text);
        },
        /^omnirelay: snapshot_version: the snapshot has format 7; this release reads up to \d: upgrade, or use an older snapshot$/m,
      ],
      [
        "one of another log under the same name",
        async (log) => {
          await log.store.remove(await newest(log));
          const other = new ShardWorld({ at: 5 });
          other.seed(4);
          await log.putSnapshot(other.state, 3, { chain: "ab".repeat(32), logId: "log-1" });
        },
        /^omnirelay: snapshot_foreign: .*is of log log-1 and not of this log: the message at stream sequence 3 is not the frame/m,
      ],
      [
        "one whose label is not that of its contents",
        async (log, world) => {
          await log.store.remove(await newest(log));
          await log.putSnapshot(world.state, log.messages.length, { hash: "0123456789abcdef" });
        },
        /^omnirelay: snapshot_damaged: .*its label says hash 0123456789abcdef, its contents have [0-9a-f]{16}/m,
      ],
      [
        "one whose label is not that of its frame",
        async (log, world) => {
          await log.store.remove(await newest(log));
          await log.putSnapshot(foldFrames(world.frames.slice(0, 20)), 21);
        },
        /^omnirelay: snapshot_damaged: .*its label is not that of the frame it was cut behind/m,
      ],
      [
        "one of a state that the log does not lead to",
        async (log, world) => {
          await log.store.remove(await newest(log));
          const state = foldFrames(world.frames.slice(0, 20));
          state.paused = true;
          await log.putSnapshot(state, 20);
        },
        /^omnirelay: state_diverged: the log behind the snapshot at sequence \d+ does not follow from it.*omnirelay state diff --region local --shard default snapshot:\d+$/m,
      ],
      [
        "one that reaches further than the log",
        async (log, world) => {
          const before = world.frames.length;
          world.seed(1);
          await log.append(world.frames.slice(before));
          await log.askJson("snapshot", "create");
          // A server that lost the tail: the stream is made again, without the last frame.
          await log.removeStream();
          await log.recreate(before);
        },
        /^omnirelay: log_tail_lost: .*but the stream ends at \d+: the log lost its tail.*restore the stream before anybody leads$/m,
      ],
    ];
    test.each(cases)("%s", { timeout: 30_000 }, async (_what, spoil, message) => {
      const { world, log } = await setup();
      await log.askJson("snapshot", "create");
      await spoil(log, world);
      const verified = await log.ask("snapshot", "verify");
      expect(verified.notes).toMatch(message);
      expect(verified.code).toBe(1);
      expect(verified.out).toMatch(/NOT WHOLE: (snapshot|state|log)_/);
    });
  });

  test("over a trimmed log verify says what it can prove", async () => {
    const { world, log } = await setup();
    for (const at of [10, 20, 30]) await log.putSnapshot(foldFrames(world.frames.slice(0, at)), at);
    await log.trim(21);
    const { ok, snapshots } = await log.askJson("snapshot", "verify");
    expect(ok).toBe(true);
    expect(snapshots).toMatchObject([
      { streamSequence: 30, anchor: "anchored", folded: { sequence: world.state.sequence } },
      { streamSequence: 20, anchor: "trimmed", folded: { sequence: world.state.sequence } },
      { streamSequence: 10, anchor: "trimmed" },
    ]);
    expect(snapshots[2]).not.toHaveProperty("folded");
    expect((await log.ask("snapshot", "verify")).out).toMatch(/the log is trimmed there: not compared with it/);
    const created = await log.askJson("snapshot", "create");
    expect(created).toMatchObject({ created: true, hash: stateHash(world.state) });
  });

  test("create over a trimmed log without a snapshot says where one could come from, and takes it from a data folder", async () => {
    const { world, log } = await setup();
    const info = await log.putSnapshot(foldFrames(world.frames.slice(0, 30)), 30);
    const folder = mkdtempSync(join(tmpdir(), "omnirelay-snapshots-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const local = SqliteSnapshotStore.open(folder);
    await copySnapshot(log.store, info, local);
    await local.close();
    await log.store.remove(info);
    await log.trim(21);
    const refused = await log.ask("snapshot", "create");
    expect(refused).toMatchObject({
      code: 1,
      notes: expect.stringMatching(/trimmed below stream sequence 21.*--data-dir/),
    });
    expect(await log.ask("log", "verify")).toMatchObject({ code: 1, notes: expect.stringContaining("--data-dir") });
    expect(await log.askJson("log", "verify", "--data-dir", folder)).toMatchObject({ verdict: "whole" });
    expect(await log.askJson("snapshot", "create", "--data-dir", folder)).toMatchObject({ created: true });
    const listed = (await log.ask("snapshot", "list", "--data-dir", folder)).out;
    expect(listed).toMatch(/object store bucket.*\n.*snapshots\.sqlite/);
    expect(await log.ask("snapshot", "list", "--data-dir", join(folder, "none"))).toMatchObject({
      code: 1,
      notes: expect.stringMatching(/none has no snapshots\.sqlite/),
    });
  });

  test("list pages from the newest to the oldest, and tells what cannot be used", async () => {
    const { world, log } = await setup();
    for (const at of [5, 10, 15, 20]) await log.putSnapshot(foldFrames(world.frames.slice(0, at)), at);
    await changeMeta(log, await newest(log), "omnirelay-label", () => "{");
    const page = await log.ask("snapshot", "list", "--limit", "2");
    expect(page.out).toMatch(/ snapshot_damaged /);
    expect(page.notes).toMatch(/its label cannot be read; use an older one\nthere may be more: --below \d+$/);
    const below = /--below (\d+)/.exec(page.notes)?.[1] ?? "";
    const rest = (await log.ask("snapshot", "list", "--json", "--below", below)).out
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(rest.map(({ streamSequence }) => streamSequence)).toEqual([10, 5]);
  });

  test("beside a running dispatcher nothing changes for it", async () => {
    const mesh = await testMesh(onTestFinished);
    await mesh.dispatcher("d1");
    const ask = (...args: readonly string[]) => cli(...args, "--nats-url", mesh.server.url);
    await ask("enqueue", "--resource-type", "t", "--resource-id", "1", "--request-id", "r1");
    const created = JSON.parse((await ask("snapshot", "create", "--json")).out);
    expect(created).toMatchObject({ created: true });
    expect(await ask("snapshot", "verify")).toMatchObject({ code: 0, notes: "" });
    await ask("enqueue", "--resource-type", "t", "--resource-id", "2");
    const stats = JSON.parse((await ask("stats", "--json")).out);
    expect(stats).toMatchObject({ pending: 2, sequence: created.sequence + 1 });
    expect(await ask("log", "verify")).toMatchObject({ code: 0, notes: "" });
  });

  test("looking for snapshots makes no bucket for them", async () => {
    const server = await natsServer({ cleanup: onTestFinished });
    const connection = await connectNats({ servers: server.url, name: "look" });
    onTestFinished(() => connection.close());
    expect(await cli("snapshot", "list", "--nats-url", server.url)).toMatchObject({ code: 1, out: "" });
    expect(await cli("snapshot", "verify", "--nats-url", server.url)).toMatchObject({ code: 1 });
    await expect(api(connection, `STREAM.INFO.OBJ_${SNAPSHOT_BUCKET}`, undefined)).rejects.toMatchObject({
      message: expect.stringContaining("stream not found"),
    });
  });

  test("the snapshots of a log that is lost are listed", async () => {
    const { log } = await setup();
    const { sequence } = await log.askJson("snapshot", "create");
    await api(log.connection, "STREAM.DELETE.LEASE_LOG_local_default", undefined);
    expect(await log.askJson("snapshot", "list")).toMatchObject({ sequence });
  });

  test("what is not there is told: a stream that nobody made", async () => {
    const { log } = await setup();
    for (const command of [
      ["snapshot", "list"],
      ["snapshot", "list", "--json"],
      ["snapshot", "create"],
      ["state", "diff", "log", "log"],
    ])
      expect(await log.ask(...command, "--shard", "other")).toMatchObject({
        code: 1,
        notes: expect.stringContaining("there is no stream LEASE_LOG_local_other"),
      });
  });
});
