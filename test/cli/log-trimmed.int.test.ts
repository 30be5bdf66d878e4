/** `omnirelay log` over logs whose beginning was trimmed away, also while they are read. */
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { auditLog } from "../../services/cli/audit-log.ts";
import { foldLog } from "../../services/cli/fold-log.ts";
import { runCli } from "../../services/cli/program.ts";
import { SnapshotPlaces } from "../../services/cli/snapshot-places.ts";
import { stateHash } from "../../services/core/hash.ts";
import { foldFrames } from "../core/shard-world.ts";
import { failOnLeakedServers, natsAvailability } from "../support/nats.ts";
import { richWorld, StoredLog, writeHash } from "./stored-log.ts";

const nats = await natsAvailability();
const skipNote = nats.available ? "" : `, skipped: ${nats.reason}`;
afterEach(failOnLeakedServers);

async function setup(snapshotsAt: readonly number[] = []) {
  const world = richWorld();
  const log = await StoredLog.create(onTestFinished, world.frames);
  for (const at of snapshotsAt) await log.putSnapshot(foldFrames(world.frames.slice(0, at)), at);
  return { world, log };
}

describe.skipIf(!nats.available)(`omnirelay log over a trimmed log${skipNote}`, () => {
  test("verify is anchored by the oldest snapshot whose tail is there, and comes to the state of the whole log", async () => {
    const { world, log } = await setup([10, 20, 30]);
    const before = await log.askJson("log", "verify");
    expect(before).toMatchObject({ ok: true, verdict: "whole", isFolded: true });
    expect(before).not.toHaveProperty("trimmedBelow");
    await log.trim(15);
    const report = await log.askJson("log", "verify");
    expect(report).toMatchObject({
      ok: true,
      verdict: "whole",
      trimmedBelow: 15,
      trustedFrame: 15,
      anchoredBy: { streamSequence: 20, where: "object store bucket omnirelay-snapshots" },
      isFolded: true,
      stateHash: stateHash(world.state),
      counts: before.counts,
      head: before.head,
      stream: { first: 15, last: log.messages.length },
    });
    const text = (await log.ask("log", "verify")).out;
    expect(text).toMatch(/^log +log-1 of local\/default: whole$/m);
    expect(text).toMatch(/^trimmed +below stream sequence 15$/m);
    expect(text).toMatch(/^state +continues the snapshot at sequence \d+ \(stream sequence 20\)/m);
    expect(text).toMatch(/^not proven +the first frame, at stream sequence 15, is taken at its word/m);
    // With the snapshot's frame right before what is left, that snapshot proves the first frame.
    await log.trim(21);
    const beside = await log.askJson("log", "verify");
    expect(beside).toMatchObject({ verdict: "whole", trimmedBelow: 21, anchoredBy: { streamSequence: 20 } });
    expect(beside).not.toHaveProperty("trustedFrame");
    await log.trim(log.messages.length);
    expect(await log.askJson("log", "verify")).toMatchObject({ verdict: "incomplete" });
  });

  test("without a snapshot that leads into it the verdict is incomplete, with what to do", async () => {
    const { log } = await setup([10]);
    await log.trim(20);
    const verified = await log.ask("log", "verify");
    expect(verified.code).toBe(1);
    expect(verified.out).toMatch(/^log +log-1 of local\/default: INCOMPLETE$/m);
    expect(verified.notes).toMatch(
      /trimmed below stream sequence 20, and no good snapshot leads into what is left.*--data-dir/,
    );
    expect(await log.askJson("log", "verify")).toMatchObject({ ok: false, verdict: "incomplete", isFolded: false });
    expect(await log.ask("log", "verify", "--from", "20")).toMatchObject({ code: 0, notes: "" });
    expect(await log.ask("log", "verify", "--from", "19")).toMatchObject({
      code: 2,
      notes: expect.stringContaining("--from 19 is not in the stream, which holds 20 to "),
    });
  });

  test("a bad snapshot is passed over for the next one", async () => {
    const { world, log } = await setup([30]);
    await log.putSnapshot(foldFrames(world.frames.slice(0, 20)), 20, { hash: "0123456789abcdef" });
    await log.putSnapshot(foldFrames(world.frames.slice(0, 25)), 25, { chain: "ab".repeat(32) });
    await log.trim(18);
    const report = await log.askJson("log", "verify");
    expect(report).toMatchObject({
      verdict: "whole",
      anchoredBy: { streamSequence: 30 },
      passedSnapshots: [{ code: "snapshot_damaged" }, { code: "snapshot_foreign" }],
    });
    expect((await log.ask("log", "verify")).notes).toMatch(/its label says hash.*\n.*not of this log/);
  });

  test("what is wrong in what is left is told: a hole, a fork, a state that diverged, a tail that is gone", async () => {
    const { world, log } = await setup([20, 30]);
    const before = world.frames.length;
    writeHash(world);
    const wrong = world.frames.at(-1);
    if (wrong === undefined) throw new Error("there is a frame");
    await log.append([{ ...wrong, events: [{ type: "stateHash", hash: "0".repeat(16) }] }]);
    await log.trim(15);
    const broken = await log.ask("log", "verify", "--json");
    expect(broken.code).toBe(1);
    expect(JSON.parse(broken.out)).toMatchObject({
      ok: false,
      verdict: "broken",
      problem: { code: "state_diverged", streamSequence: before + 1 },
    });
    expect(broken.notes).toMatch(/is not whole, at stream sequence \d+: state_diverged/);
    await log.remove(25);
    expect(await log.askJson("log", "verify")).toMatchObject({
      verdict: "broken",
      problem: { code: "log_gap", message: expect.stringContaining("25 is missing"), streamSequence: 26 },
    });
    // Behind the hole the snapshot at 30 is the oldest that helps.
    await log.trim(26);
    expect(await log.askJson("log", "verify")).toMatchObject({
      anchoredBy: { streamSequence: 30 },
      problem: { code: "state_diverged" },
    });
  });

  test("a snapshot that reaches further than the stream tells of a lost tail", async () => {
    const { world, log } = await setup([20]);
    const before = world.frames.length;
    world.seed(1);
    await log.append(world.frames.slice(before));
    await log.askJson("snapshot", "create");
    await log.removeStream();
    await log.recreate(before);
    await log.trim(15);
    expect(await log.askJson("log", "verify")).toMatchObject({
      verdict: "broken",
      problem: { code: "log_tail_lost", streamSequence: before + 1 },
    });
  });

  test("a copy of the past as the first message that is left is not believed", async () => {
    const { world, log } = await setup();
    const before = world.frames.length;
    const copy = log.messages[9];
    await log.publish(copy?.payload ?? "", copy?.chainHeader);
    world.seed(2);
    world.seed(1);
    await log.appendBehind(1, world.frames.slice(before));
    const snapshot = await log.askJson("snapshot", "create");
    await log.trim(before + 1);
    expect(await log.askJson("log", "verify")).toMatchObject({
      verdict: "whole",
      anchoredBy: { sequence: snapshot.sequence },
      trustedFrame: before + 2,
      voids: { count: 1, first: [{ streamSequence: before + 1, reason: "no part of the chain that follows" }] },
      stateHash: stateHash(world.state),
    });
  });

  /** So many messages that the reader asks for the last ones only after the trim. */
  async function longLog() {
    const { world, log } = await setup([20]);
    const before = world.frames.length;
    for (let index = 0; index < 300; index += 1) world.seed(1);
    await log.append(world.frames.slice(before));
    await log.putSnapshot(foldFrames(world.frames.slice(0, before + 260)), before + 260);
    await log.trim(15);
    return { world, log, keepFrom: before + 250 };
  }

  test("verify begins again when the log is trimmed while it reads", async () => {
    const { world, log, keepFrom } = await longLog();
    const totals = new Set<number>();
    let trimmed: Promise<void> | undefined;
    const request = { region: "local", shard: "default" };
    const onProgress = (_read: number, total: number) => {
      totals.add(total);
      trimmed ??= log.trim(keepFrom);
    };
    const report = await auditLog(log.connection, { ...request, onProgress });
    await trimmed;
    expect(report).toMatchObject({ verdict: "whole", trimmedBelow: keepFrom, stateHash: stateHash(world.state) });
    expect(totals.size).toBe(2);
  });

  test("a fold begins again from another snapshot when the log is trimmed while it reads", async () => {
    const { world, log, keepFrom } = await longLog();
    const places = await SnapshotPlaces.open(log.connection);
    onTestFinished(() => places.close());
    const newest = (await places.list({ region: "local", shard: "default" }))[0]?.info.label.sequence ?? 0;
    let trimmed: Promise<void> | undefined;
    let calls = 0;
    const request = { region: "local", shard: "default", isStrict: true };
    const onProgress = () => {
      calls += 1;
      if (calls === 1) trimmed = log.trim(keepFrom);
    };
    // Only the older snapshot may be used, and behind the trim its tail is gone.
    await expect(
      foldLog(log.connection, places, { ...request, snapshotsBelow: newest, onProgress }),
    ).rejects.toMatchObject({ code: "state_unreachable" });
    await trimmed;
    const { fold, base } = await foldLog(log.connection, places, request);
    expect([stateHash(fold.state), base?.info.label.sequence]).toEqual([stateHash(world.state), newest]);
  });

  test("tail shows what is left, from the first line that there is", async () => {
    const { log } = await setup();
    await log.trim(30);
    const tail = await log.ask("log", "tail", "-n", "1000", "--json");
    expect(tail.code).toBe(0);
    const lines = tail.out.split("\n").map((line) => JSON.parse(line));
    expect(lines.map(({ streamSequence }) => streamSequence)).toEqual(
      Array.from({ length: log.messages.length - 29 }, (_, index) => 30 + index),
    );
    for (const line of lines) expect(line).toHaveProperty("frame");
  });

  test("tail goes on with what is left when the log is trimmed while it prints", async () => {
    const { log, keepFrom } = await longLog();
    const shown: number[] = [];
    let trimmed: Promise<void> | undefined;
    const out = (line: string): void => {
      shown.push(JSON.parse(line).streamSequence);
      expect(JSON.parse(line)).toHaveProperty("frame");
      trimmed ??= log.trim(keepFrom);
    };
    const args = ["log", "tail", "-n", "1000", "--json", "--nats-url", log.url];
    expect(await runCli(args, { out, note: () => undefined, isInteractive: false })).toBe(0);
    await trimmed;
    const jump = shown.findIndex((streamSequence, index) => streamSequence !== 15 + index);
    expect(shown.slice(jump)).toEqual(
      Array.from({ length: log.messages.length - keepFrom + 1 }, (_, index) => keepFrom + index),
    );
  });
});
