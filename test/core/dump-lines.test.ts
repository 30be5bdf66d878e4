/** Dumps: written whatever the state, and read leniently: the same lines as the state itself, whatever the state contradicts, and nothing for half a dump. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalState } from "../../services/core/canonical.ts";
import { DumpLines } from "../../services/core/dump-lines.ts";
import { dumpText } from "../../services/core/dump-text.ts";
import { stateHash } from "../../services/core/hash.ts";
import { SnapshotCut } from "../../services/core/snapshot-cut.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import { richWorld, textOf } from "../cli/stored-log.ts";
import { ShardWorld } from "./shard-world.ts";

function read(...texts: readonly string[]) {
  const reader = new DumpLines();
  const lines = texts.flatMap((text) => [...reader.add(text)]);
  return { lines, header: reader.finish() };
}

const FOLLOWER = { kind: "sink", logVersionMax: 1, keepBytes: 5, keepMs: 7 } as const;
const world = richWorld();
world.send("configure", { followers: { zeta: FOLLOWER, alpha: FOLLOWER } });
const GOOD = textOf(world.state);

test("the lines of a text are those of its state, however it is cut", () => {
  const expected = [...canonicalState(world.state)];
  expect(new Set(expected.map((line) => line.slice(0, line.indexOf(" "))))).toEqual(
    new Set(["meta", "counts", "options", "follower", "item", "record", "leaseRequest"]),
  );
  expect(read(GOOD)).toMatchObject({ lines: expected, header: { hash: stateHash(world.state) } });
  fc.assert(
    fc.property(fc.array(fc.nat(GOOD.length), { maxLength: 5 }), (cuts) => {
      const places = [0, ...cuts.sort((a, b) => a - b), GOOD.length];
      expect(read(...places.slice(1).map((end, index) => GOOD.slice(places[index], end))).lines).toEqual(expected);
    }),
    { numRuns: 30 },
  );
});

test("the lines of an empty state are read", () => {
  const { state } = new ShardWorld();
  expect(read(textOf(state)).lines).toEqual([...canonicalState(state)]);
});

test("a dump has the text of a snapshot, also while one is being cut", () => {
  const { state } = richWorld();
  const text = textOf(state);
  const cut = new SnapshotCut(state);
  expect([...dumpText(state)].join("")).toBe(text);
  cut.cancel();
});

describe("a state that contradicts itself is shown as it is", () => {
  const diverged = () => {
    const state = richWorld().state;
    const strict = () => {
      const loader = new SnapshotLoader();
      loader.add(textOf(state));
      return loader.finish();
    };
    return { state, strict };
  };

  test.each([-2, 2])("counters from which a cut would miss or seek items: %i", (change) => {
    const { state } = diverged();
    state.pending += change;
    const text = [...dumpText(state)].join("");
    expect(read(text).lines).toEqual([...canonicalState(state)]);
  });

  test("a counter that was not kept up", () => {
    const { state, strict } = diverged();
    state.completedTotal += 1;
    expect(strict).toThrow(/snapshot is damaged/);
    expect(read(textOf(state)).lines).toEqual([...canonicalState(state)]);
  });

  test("a field that changed without its hash", () => {
    const { state, strict } = diverged();
    const [item] = state.unfinished.after(0);
    if (item !== undefined) item.attempt += 3;
    expect(strict).toThrow(/its state has the hash/);
    expect(read(textOf(state)).lines).toEqual([...canonicalState(state)]);
  });

  test("a lease on an item that is pending, and one that is missing", () => {
    const { state, strict } = diverged();
    for (const item of state.items.values()) if (item.status === "leased") item.status = "pending";
    expect(strict).toThrow(/a lease of a pending item/);
    expect(read(textOf(state)).lines).toEqual([...canonicalState(state)]);
  });
});

describe("what is not a whole dump is refused", () => {
  const lines = GOOD.trimEnd().split("\n");
  const joined = (texts: readonly string[]): string => `${texts.join("\n")}\n`;
  const header = (change: object): string => JSON.stringify({ ...JSON.parse(lines[0] ?? ""), ...change });
  const cases: [string, string, RegExp][] = [
    ["an empty text", "", /truncated/],
    ["a text that is cut off", GOOD.slice(0, -20), /truncated/],
    ["a text without its last lines", joined(lines.slice(0, -2)), /truncated/],
    ["a line that is missing", joined(lines.toSpliced(3, 1)), /the end counts/],
    ["text behind the end", `${GOOD}{}\n`, /a line after the end/],
    ["another file", '{"resourceType":"t"}\n', /does not begin with a header/],
    ["no JSON at all", "hello\n", /not JSON/],
    ["a row of another kind", joined(lines.with(2, "[9]")), /unknown kind/],
    ["a newer format", joined(lines.with(0, header({ format: 99 }))), /format 99.*upgrade/],
    ["a newer log version", joined(lines.with(0, header({ logVersion: 99 }))), /logVersion 99.*upgrade/],
  ];
  test.each(cases)("%s", (_what, text, message) => {
    expect(() => read(text)).toThrow(message);
  });
});
