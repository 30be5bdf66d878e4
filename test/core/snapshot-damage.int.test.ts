/** Damaged snapshots: whatever is wrong with one, it is refused with a typed error, and no state comes out. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import { canonicalState } from "../../services/core/canonical.ts";
import { ENDINGS } from "../../services/core/ended-record.ts";
import { SnapshotCut } from "../../services/core/snapshot-cut.ts";
import { ROW_ITEM, ROW_RECORD, SNAPSHOT_FORMAT } from "../../services/core/snapshot-format.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import type { ShardState } from "../../services/core/state.ts";
import { ShardWorld } from "./shard-world.ts";

function textOf(state: ShardState): string {
  const cut = new SnapshotCut(state);
  let text = "";
  for (let slice = cut.next(5); slice !== undefined; slice = cut.next(5)) text += slice;
  return text;
}

/** Pending, leased, requeued, dead-lettered and halted items, three records after an eviction, lease requests. */
function sample(): ShardWorld {
  const world = new ShardWorld({ at: 1_700_000_000_000, options: { recordsMax: 3, maxAttempts: 2 } });
  world.seed(5);
  for (let index = 0; index < 5; index += 1) world.send("complete", { leases: [world.take()] });
  world.seed(2, { body: '{"rows":[1,2]}', attributes: { zone: "b", área: "norte" }, maxAttempts: 7 });
  for (let index = 0; index < 3; index += 1) world.seed(1, { exclusivity: "partition", partitionKey: "p" });
  for (const requestId of ["q1", "q2"]) world.seed(1, { requestId, exclusivity: "resource", payloadEncoding: "a/b" });
  world.send("lease", { maxItems: 2, requestId: "l" });
  world.send("fail", { leases: [{ ...world.take(), reason: "no", code: "x", requeue: false }] });
  world.expire(world.take().itemId);
  return world;
}

const GOOD = textOf(sample().state);
const LINES = GOOD.trimEnd().split("\n");
const STATE = canonicalText(load(GOOD));

function canonicalText(state: ShardState): string {
  return [...canonicalState(state)].join("\n");
}

function load(text: string): ShardState {
  const loader = new SnapshotLoader();
  loader.add(text);
  return loader.finish();
}

/** The error that a text is refused with; undefined when a state comes out. */
function refusalOf(text: string): OperatingError | undefined {
  try {
    load(text);
    return undefined;
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    expect(error.definite).toBe(true);
    return error;
  }
}

const joined = (lines: readonly string[]): string => `${lines.join("\n")}\n`;
const codeOf = (text: string): string | undefined => refusalOf(text)?.code;

/** The sample with another value in its header, and a footer that agrees, as a program with a fault would write it. */
function withHeader(change: Readonly<Record<string, unknown>>): string {
  const header = { ...(JSON.parse(LINES[0] ?? "") as object), ...change };
  return joined([JSON.stringify(header), ...LINES.slice(1)]);
}

describe("text that was changed", () => {
  test("the sample has rows of every kind", () => {
    expect(LINES.length).toBeGreaterThan(10);
    for (const part of ["halt", '"l"', '"q1"', "área", "the lease ran out"]) expect(GOOD).toContain(part);
    expect(refusalOf(GOOD)).toBeUndefined();
  });

  test("truncated anywhere it is refused", () => {
    for (let length = 0; length < GOOD.length; length += 1)
      expect(codeOf(GOOD.slice(0, length)), `${length} characters`).toBe("snapshot_damaged");
  });

  test("with any one character flipped it is refused", () => {
    for (let index = 0; index < GOOD.length; index += 1)
      for (const flip of [1, 2, 4, 8, 16, 32, 64]) {
        const flipped = String.fromCharCode(GOOD.charCodeAt(index) ^ flip);
        const text = GOOD.slice(0, index) + flipped + GOOD.slice(index + 1);
        expect(["snapshot_damaged", "snapshot_version"], `character ${index} -> ${flipped}`).toContain(codeOf(text));
      }
  });

  test("with any line missing, doubled or in another place it is refused", () => {
    for (let index = 0; index < LINES.length; index += 1) {
      const line = LINES[index] as string;
      expect(codeOf(joined(LINES.toSpliced(index, 1))), `without line ${index}`).toBe("snapshot_damaged");
      expect(codeOf(joined(LINES.toSpliced(index, 0, line))), `line ${index} twice`).toBe("snapshot_damaged");
      for (let other = index + 1; other < LINES.length; other += 1) {
        const swapped = LINES.with(index, LINES[other] as string).with(other, line);
        expect(codeOf(joined(swapped)), `lines ${index} and ${other} swapped`).toBe("snapshot_damaged");
      }
    }
  });

  test("any value in the place of any field is refused or changes nothing", () => {
    const values = fc.oneof(
      fc.jsonValue(),
      fc.constantFrom(-1, -0, 0.5, 1e300, 2 ** 53, null, "", "__proto__", [], {}),
    );
    fc.assert(
      fc.property(
        fc.nat({ max: LINES.length - 1 }),
        fc.nat(),
        fc.option(fc.nat()),
        values,
        (place, field, inner, value) => {
          const row = JSON.parse(LINES[place] as string) as unknown;
          const keys = Object.keys(row as object);
          const key = keys[field % keys.length] as string;
          const holder = (row as Record<string, unknown>)[key];
          if (inner !== null && typeof holder === "object" && holder !== null && Object.keys(holder).length > 0) {
            const names = Object.keys(holder);
            (holder as Record<string, unknown>)[names[inner % names.length] as string] = value;
          } else (row as Record<string, unknown>)[key] = value;
          const text = joined(LINES.with(place, JSON.stringify(row)));
          const refusal = refusalOf(text);
          if (refusal === undefined) expect(canonicalText(load(text))).toBe(STATE);
        },
      ),
      { numRuns: 3_000 },
    );
  });

  test("text after the end is refused", () => {
    expect(codeOf(`${GOOD}x`)).toBe("snapshot_damaged");
    expect(codeOf(`${GOOD}\n`)).toBe("snapshot_damaged");
    expect(codeOf(GOOD + GOOD)).toBe("snapshot_damaged");
  });

  test("garbage is refused, whatever it is", () => {
    for (const text of ["", "\n", "{}\n", "[]\n", "null\n", '{"kind":"state"}\n', "PK\u0003\u0004\u0000\n"])
      expect(codeOf(text), JSON.stringify(text)).toBe("snapshot_damaged");
    const loader = new SnapshotLoader();
    expect(() => {
      for (let count = 0; count < 5_000; count += 1) loader.add("x".repeat(1_000));
    }).toThrow("without an end");
  });
});

describe("headers that lie", () => {
  test("a newer format or log version names itself and says what to do", () => {
    const format = refusalOf(withHeader({ format: SNAPSHOT_FORMAT + 1, hash: 7 }));
    expect([format?.code, format?.message]).toEqual([
      "snapshot_version",
      expect.stringContaining(`format ${SNAPSHOT_FORMAT + 1}`),
    ]);
    const version = refusalOf(withHeader({ logVersion: LOG_VERSION_MAX + 1, options: {} }));
    expect([version?.code, version?.details["supported"]]).toEqual(["snapshot_version", LOG_VERSION_MAX]);
  });

  test("another hash is refused, with both in the message", () => {
    const lines = textOf(sample().state).trimEnd().split("\n");
    const other = textOf(new ShardWorld().state).split("\n");
    const hashOf = (line: string | undefined) => (JSON.parse(line ?? "") as { hash: string }).hash;
    const header = (lines[0] ?? "").replace(hashOf(lines[0]), hashOf(other[0]));
    expect(codeOf(joined([header, ...lines.slice(1)]))).toBe("snapshot_damaged");
  });

  test.each([
    [{ pending: 0 }, "header accounts for"],
    [{ records: 9 }, "records"],
    [{ at: "now" }, "at of the header"],
    [{ paused: 1 }, "paused of the header"],
    [{ options: { exclusivity: "some" } }, "options of the header"],
    [{ options: { leaseDurationMsMax: 200 } }, "leaseDurationMsDefault (30000)"],
    [{ format: 0 }, "format is 0"],
    [{ at: 5 }, "header is not the one"],
  ])("%j is refused", (change, message) => {
    const refusal = refusalOf(withHeader(change));
    expect([refusal?.code, refusal?.message]).toEqual(["snapshot_damaged", expect.stringContaining(message)]);
  });

  test("a snapshot that was refused hands out no state", () => {
    const loader = new SnapshotLoader();
    expect(() => loader.add("{}\n")).toThrow(OperatingError);
    expect(() => loader.add(GOOD)).toThrow("was refused");
    expect(() => loader.finish()).toThrow("was refused");
  });
});

describe("rows that lie", () => {
  const ROW_OF = { item: ROW_ITEM, record: ROW_RECORD };
  const [NUMBER, REQUEST_ID, DIGEST, SETTLE_DIGEST, ENDED_SEQUENCE, ENDING, RESULT] = [1, 3, 4, 7, 8, 9, 10];

  test.each([
    ["item", { [NUMBER]: 1 }, "item 1 at sequence"],
    ["record", { [REQUEST_ID]: "q1", [DIGEST]: "0123456789abcdef" }, "request id q1 has two items"],
    ["record", { [REQUEST_ID]: "r", [DIGEST]: "0123456789ABCDEF" }, "the digest of"],
    ["record", { [SETTLE_DIGEST]: "0" }, "the digest of the end of"],
    ["record", { [ENDING]: 0, [RESULT]: "7" }, "is not its own"],
  ] as const)("of an %s with %j is refused", (kind, change, message) => {
    const place = LINES.findIndex((line) => line.startsWith(`[${ROW_OF[kind]},`));
    const row = Object.values(Object.assign({ ...(JSON.parse(LINES[place] as string) as unknown[]) }, change));
    const refusal = refusalOf(joined(LINES.with(place, JSON.stringify(row))));
    expect([refusal?.code, refusal?.message]).toEqual(["snapshot_damaged", expect.stringContaining(message)]);
  });

  test("of a record that is there twice, as one event may end many, is refused", () => {
    const place = LINES.findIndex((line) => line.startsWith(`[${ROW_OF.record},`));
    const row = JSON.parse(LINES[place] as string) as unknown[];
    const discarded = JSON.stringify([...row.slice(0, ENDED_SEQUENCE + 1), ENDINGS.indexOf("discarded")]);
    const refusal = refusalOf(joined(LINES.toSpliced(place, 1, discarded, discarded)));
    expect([refusal?.code, refusal?.message]).toEqual(["snapshot_damaged", expect.stringContaining("has ended twice")]);
  });
});
