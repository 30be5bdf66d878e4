/** `omnirelay state` against a real server: dumps of diverged nodes, snapshots and the log, compared with each other. */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { canonicalState } from "../../services/core/canonical.ts";
import { stateHash } from "../../services/core/hash.ts";
import { SNAPSHOT_FORMAT } from "../../services/core/snapshot-format.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import { foldFrames, type ShardWorld } from "../core/shard-world.ts";
import { failOnLeakedServers, natsAvailability } from "../support/nats.ts";
import { richWorld, StoredLog, textOf } from "./stored-log.ts";

const nats = await natsAvailability();
const skipNote = nats.available ? "" : `, skipped: ${nats.reason}`;
afterEach(failOnLeakedServers);

async function setup() {
  const world = richWorld();
  const log = await StoredLog.create(onTestFinished, world.frames);
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-state-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return { world, log, file: (name: string) => join(folder, name) };
}

/** The state of a node that went wrong at two items and one counter, as it writes it down when it halts. */
function divergedText(world: ShardWorld): { text: string; ids: readonly string[] } {
  const state = foldFrames(world.frames);
  const [first, second] = [...state.unfinished.after(0)];
  if (first === undefined || second === undefined) throw new Error("there are unfinished items");
  first.attempt += 2;
  second.status = "deadLettered";
  state.completedTotal += 1;
  return { text: textOf(state), ids: [first.itemId, second.itemId] };
}

describe.skipIf(!nats.available)(`omnirelay state${skipNote}`, () => {
  test("dump writes the state of the log, which reads back, and diff finds it equal", async () => {
    const { world, log, file } = await setup();
    const path = file("state.jsonl");
    const dumped = await log.askJson("state", "dump", "--output", path);
    const hash = stateHash(world.state);
    expect(dumped).toEqual({ file: path, sequence: world.state.sequence, logId: "log-1", hash });
    const loader = new SnapshotLoader();
    loader.add(readFileSync(path, "utf8"));
    expect([...canonicalState(loader.finish())]).toEqual([...canonicalState(world.state)]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const compared = await log.ask("state", "diff", path);
    expect(compared).toMatchObject({ code: 0, notes: "" });
    expect(compared.out).toMatch(new RegExp(`^left {3}.*state\\.jsonl: sequence \\d+, state hash ${hash}$`, "m"));
    expect(compared.out).toMatch(/^right {2}log of local\/default at sequence \d+, folded from its beginning: /m);
    expect(compared.out).toMatch(/^equal: all \d+ records and the state hash$/m);
    expect(await log.ask("state", "dump", "--output", path)).toMatchObject({
      code: 1,
      notes: expect.stringMatching(/cannot write .*EEXIST/),
    });
    expect(readFileSync(path, "utf8")).toBe(textOf(world.state));
  });

  test("the dump of a diverged node is shown record by record and field by field", async () => {
    const { world, log, file } = await setup();
    const path = file("local-default-diverged.jsonl");
    const { text, ids } = divergedText(world);
    writeFileSync(path, text);
    const report = await log.ask("state", "diff", path, "--json");
    expect(report.code).toBe(1);
    const { equal, left, right, counts, differences } = JSON.parse(report.out);
    expect({ equal, sequences: [left.sequence, right.sequence] }).toEqual({
      equal: false,
      sequences: [world.state.sequence, world.state.sequence],
    });
    expect(counts).toMatchObject({ onlyLeft: 0, onlyRight: 0, both: 3 });
    const [inCounts, first, second] = differences;
    expect(inCounts).toMatchObject({ table: "counts", fields: [{ name: "completedTotal" }] });
    expect(first).toMatchObject({ table: "item", id: ids[0], kind: "both" });
    expect(first.fields).toEqual([{ name: "attempt", left: first.right.attempt + 2, right: first.right.attempt }]);
    expect(second).toMatchObject({ table: "item", id: ids[1], fields: [{ name: "status", left: "deadLettered" }] });
    expect(left.notes).toEqual([expect.stringMatching(/^it contradicts itself: .* items were enqueued/)]);
    const shown = await log.ask("state", "diff", path, "--limit", "1");
    expect(shown.out).toMatch(
      /^differs: counts {2}completedTotal: 13 \| 12\nand 2 more: --limit shows them\n3 records differ: /m,
    );
    expect(shown.notes).toMatch(/^omnirelay: left: it contradicts itself: /);
    expect((await log.ask("state", "diff", path)).out).toContain(`differs: item ${ids[0]}  attempt: `);
  });

  test("a hash that was not kept up with equal records is a difference", async () => {
    const { world, log, file } = await setup();
    const state = foldFrames(world.frames);
    state.itemSum.add(1, 1);
    writeFileSync(file("dump"), textOf(state));
    const report = await log.ask("state", "diff", file("dump"));
    expect(report.code).toBe(1);
    expect(report.out).toMatch(/all \d+ records are equal, but the state hashes differ: one of them was not kept up/);
    expect(report.notes).toMatch(/it contradicts itself: its state has the hash/);
  });

  test("a sequence inside of a frame is compared at exactly that event", async () => {
    const { world, log, file } = await setup();
    const frame = world.frames.find(({ count }) => count > 4);
    const sequence = (frame?.first ?? 0) + 2;
    await log.askJson("state", "dump", "--at", String(sequence), "--output", file("inside"));
    const report = await log.ask("state", "diff", file("inside"), "--json");
    expect(report.code).toBe(0);
    expect(report.notes).toMatch(
      /right: sequence \d+ lies inside of the frame with the sequences \d+ to \d+ \(stream sequence \d+\): only the beginning/,
    );
    expect(JSON.parse(report.out)).toMatchObject({ equal: true, left: { sequence }, right: { sequence } });
    const between = await log.askJson("state", "diff", `log@${sequence}`, `log@${sequence + 1}`);
    expect(between.counts).toMatchObject({ onlyLeft: 0, onlyRight: 1, both: 2 });
  });

  test("a snapshot is compared with the log from before it, never with itself", async () => {
    const { world, log } = await setup();
    await log.putSnapshot(foldFrames(world.frames.slice(0, 10)), 10);
    const wrong = foldFrames(world.frames.slice(0, 20));
    wrong.paused = true;
    const bad = await log.putSnapshot(wrong, 20);
    for (const [left, ...right] of [
      ["snapshot:newest"],
      [`snapshot:${bad.label.sequence}`, `log@${bad.label.sequence}`],
    ]) {
      const report = await log.askJson("state", "diff", left ?? "", ...right);
      expect(report).toMatchObject({
        equal: false,
        right: { source: expect.stringMatching(/folded from the snapshot at/) },
      });
      expect(report.differences).toMatchObject([
        { table: "meta", fields: [{ name: "paused", left: true, right: false }] },
      ]);
    }
    const other = await log.askJson("state", "diff", `log@${bad.label.sequence}`, "snapshot:newest");
    expect(other.differences).toMatchObject([
      { table: "meta", fields: [{ name: "paused", left: false, right: true }] },
    ]);
  });

  test("over a trimmed log a state is folded from a snapshot, or refused with what to do", async () => {
    const { world, log, file } = await setup();
    const early = foldFrames(world.frames.slice(0, 5));
    writeFileSync(file("early"), textOf(early));
    await log.putSnapshot(foldFrames(world.frames.slice(0, 20)), 20);
    await log.trim(15);
    await log.askJson("state", "dump", "--output", file("late"));
    expect(await log.ask("state", "diff", file("late"))).toMatchObject({ code: 0 });
    const refused = await log.ask("state", "diff", file("early"));
    expect(refused).toMatchObject({ code: 1, out: "" });
    expect(refused.notes).toMatch(
      /trimmed below stream sequence 15, and no good snapshot from there leads to sequence \d+ \(snapshots at: \d+\).*--data-dir/,
    );
    expect(await log.ask("state", "dump", "--at", "100000", "--output", file("none"))).toMatchObject({
      code: 1,
      notes: expect.stringMatching(/ends at sequence \d+: it does not lead to sequence 100000/),
    });
    expect(existsSync(file("none"))).toBe(false);
  });

  test("what is no dump is refused, each with its own words", async () => {
    const { world, log, file } = await setup();
    const text = textOf(world.state);
    const cases: [string, string | undefined, RegExp][] = [
      ["missing", undefined, /cannot read .*missing: ENOENT/],
      ["truncated", text.slice(0, -40), /truncated: the snapshot is damaged: it was truncated/],
      ["items", '{"resourceType":"t"}\n', /the snapshot is damaged: line 1: it does not begin with a header/],
      [
        "newer",
        text.replace(`"format":${SNAPSHOT_FORMAT}`, '"format":8'),
        /the snapshot has format 8; this release reads up to \d: upgrade/,
      ],
    ];
    for (const [name, content, message] of cases) {
      if (content !== undefined) writeFileSync(file(name), content);
      const refused = await log.ask("state", "diff", file(name));
      expect(refused).toMatchObject({ code: 1, out: "" });
      expect(refused.notes).toMatch(message);
    }
    expect(await log.ask("state", "diff", "snapshot:7")).toMatchObject({
      code: 1,
      notes: expect.stringContaining("there is no snapshot of local/default at sequence 7; there are: none"),
    });
    for (const spec of ["snapshot:x", "log@", "log@1.5", ""])
      expect(await log.ask("state", "diff", spec)).toMatchObject({ code: 2 });
  });

  test("a flipped byte in a dump shows as a difference and as a contradiction", async () => {
    const { world, log, file } = await setup();
    writeFileSync(file("flipped"), textOf(world.state).replace('"norte"', '"nortf"'));
    const report = await log.ask("state", "diff", file("flipped"), "--json");
    expect(report.code).toBe(1);
    expect(JSON.parse(report.out)).toMatchObject({
      counts: { both: 1 },
      differences: [{ table: "item", fields: [{ name: "attributes.área", left: "nortf", right: "norte" }] }],
    });
    expect(report.notes).toMatch(/it contradicts itself: its state has the hash/);
  });
});
