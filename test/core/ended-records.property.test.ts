/** The ended items that a shard remembers, against a plain list; and the tables that find them. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TOKEN_EPOCH_STEP } from "../../contracts/limits.ts";
import { CountedTexts } from "../../services/core/counted-texts.ts";
import { ENDINGS, EndedRecord, type Ending } from "../../services/core/ended-record.ts";
import { EndedRecords } from "../../services/core/ended-records.ts";
import { hashRecord } from "../../services/core/hash.ts";
import { HashSum } from "../../services/core/hasher.ts";
import { PositionTable } from "../../services/core/position-table.ts";
import { CHUNK_RECORDS } from "../../services/core/record-chunk.ts";
import { anyText } from "../support/any-text.ts";

const hex = fc.stringMatching(/^[0-9a-f]{16}$/);
const principal = fc.constantFrom("p", "q", "");

interface Fields {
  readonly principal: string;
  readonly requestId: string | undefined;
  readonly digest: string | undefined;
  readonly settledBy: string;
  readonly settleDigest: string;
  readonly epoch: number;
  readonly ending: Ending;
  readonly result: string | undefined;
}

const fields: fc.Arbitrary<Fields> = fc.record({
  principal,
  requestId: fc.oneof(
    fc.constant(undefined),
    fc.constantFrom("a", "a/1", "b/2", "a/", "a/01", "/1", "a.1", "a/1000"),
    // The entries of some requests, as they come one after the other.
    fc
      .tuple(fc.constantFrom("r/", "r/.", "ü/", "\u{1f642}/", "rr/"), fc.nat(1_100))
      .map(([id, number]) => `${id}${number}`),
    anyText(300),
    fc.string({ maxLength: 300, size: "max", unit: fc.constantFrom("a", "é", "ÿ") }),
    fc.constantFrom("\ud800", "a\udc00b"),
  ),
  digest: fc.option(hex, { nil: undefined }),
  settledBy: principal,
  settleDigest: fc.oneof(fc.constant(""), hex),
  epoch: fc.constantFrom(0, 0, 1, 3),
  ending: fc.constantFrom(...ENDINGS),
  result: fc.option(fc.constantFrom("", "1", '{"a":1}'), { nil: undefined }),
});

const recordOf = (one: Fields, sequence: number): EndedRecord =>
  new EndedRecord(
    { ...one, number: one.epoch * TOKEN_EPOCH_STEP + 3 * sequence },
    sequence,
    one.settledBy,
    one.settleDigest,
    sequence,
    one.ending,
    one.result,
  );

/** What a list does. */
class Model {
  records: EndedRecord[] = [];

  push(record: EndedRecord): void {
    this.records.push(record);
  }

  made(by: string | undefined, requestId: string): EndedRecord | undefined {
    return this.records.find((one) => one.requestId === requestId && (by === undefined || one.principal === by));
  }

  /** Takes the result from the oldest record that has one. */
  dropResult(): void {
    const at = this.records.findIndex(({ result }) => result !== undefined);
    const record = this.records[at];
    assert(record !== undefined);
    this.records[at] = new EndedRecord(
      record,
      record.token,
      record.settledBy,
      record.settleDigest,
      record.endedSequence,
      record.ending,
      undefined,
    );
  }
}

function check(records: EndedRecords, model: Model): void {
  expect([...records.values()]).toEqual(model.records);
  const sum = new HashSum();
  for (const record of model.records) {
    expect(records.get(record.itemId)).toEqual(record);
    if (record.requestId !== undefined) {
      expect(records.made(record.principal, record.requestId)).toEqual(record);
      expect(records.madeByAnyone(record.requestId)?.requestId).toBe(record.requestId);
    }
    const { high, low } = hashRecord(record);
    sum.add(high, low);
  }
  expect(records.sum).toEqual(sum);
  expect(records.size).toBe(model.records.length);
  const withResult = model.records.filter(({ result }) => result !== undefined);
  expect(records.resultCount).toBe(withResult.length);
  const { oldestResult } = records;
  expect(oldestResult === undefined ? undefined : records.at(oldestResult)).toEqual(withResult[0]);
}

function forgetOldest(records: EndedRecords, model: Model): EndedRecord {
  if (records.oldestResult === records.first) {
    records.dropResult(records.first);
    model.dropResult();
  }
  const gone = model.records.shift();
  assert(gone !== undefined);
  expect(records.shift()).toBe(gone.endedSequence);
  return gone;
}

describe("the records of ended items", () => {
  test.each([
    ["the first ones", 0],
    ["at the end of a chunk", CHUNK_RECORDS - 2],
    ["where positions begin again", 2 ** 30 - 3],
    ["far beyond that", 5 * 2 ** 30 + 7],
  ])("are what was taken in, oldest first, and are found by id and by request: %s", (_name, first) => {
    const step = fc.record({ fields, forget: fc.nat({ max: 2 }), dropResult: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25, size: "max" }), (steps) => {
        const records = new EndedRecords();
        const model = new Model();
        records.first = first;
        for (const [index, one] of steps.entries()) {
          const known =
            one.fields.requestId === undefined ? undefined : model.made(one.fields.principal, one.fields.requestId);
          const record = recordOf(
            known === undefined ? one.fields : { ...one.fields, requestId: undefined },
            index + 1,
          );
          const { high, low } = hashRecord(record);
          records.push(record, high, low);
          model.push(record);
          if (one.dropResult && records.oldestResult !== undefined) {
            records.dropResult(records.oldestResult);
            model.dropResult();
          }
          for (let count = one.forget; count > 0 && records.size > 0; count -= 1) {
            const gone = forgetOldest(records, model);
            expect(records.get(gone.itemId)).toBeUndefined();
            if (gone.requestId !== undefined) expect(records.made(gone.principal, gone.requestId)).toBeUndefined();
          }
          check(records, model);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("outlive chunks that are used again, long request ids and all", () => {
    const records = new EndedRecords();
    const model = new Model();
    const kept = 700;
    for (let index = 1; index <= 5 * CHUNK_RECORDS; index += 1) {
      const requestId =
        index % 3 === 0 ? undefined : `${"long".repeat(index % 90)}${index % 7 === 0 ? "€" : "é"}/${index}`;
      const one = { principal: `p${index % 5}`, requestId, digest: undefined, settledBy: "w", settleDigest: "" };
      const record = recordOf({ ...one, epoch: 0, ending: "completed", result: undefined }, index);
      const { high, low } = hashRecord(record);
      records.push(record, high, low);
      model.push(record);
      if (records.size > kept) forgetOldest(records, model);
      if (index % CHUNK_RECORDS === 1) check(records, model);
    }
    check(records, model);
    while (records.size > 0) forgetOldest(records, model);
    check(records, model);
    expect(records.get("1")).toBeUndefined();
  });

  test("keep the result of a record only until it is forgotten, and never forget a record before its result", () => {
    const records = new EndedRecords();
    const record = recordOf(
      {
        principal: "p",
        requestId: "a",
        digest: undefined,
        settledBy: "w",
        settleDigest: "",
        epoch: 0,
        ending: "completed",
        result: "1",
      },
      1,
    );
    records.push(record, 1, 2);
    expect(() => records.shift()).toThrow("a result is forgotten before its record");
    records.dropResult(0);
    expect(records.get(record.itemId)?.result).toBeUndefined();
    expect(() => records.dropResult(0)).toThrow("oldest first");
    expect(records.shift()).toBe(1);
    expect(() => records.shift()).toThrow("there are records");
  });
});

test("a table of positions finds all with a hash, however many share it or a slot", () => {
  // Few hashes, in one stripe and in two, so that runs of slots meet and wrap.
  const hash = fc.oneof(fc.nat({ max: 9 }), fc.constantFrom(6, 7, 14, 15, 2 ** 31 + 7, 2 ** 32 - 1));
  fc.assert(
    fc.property(fc.array(hash, { maxLength: 120, size: "max" }), fc.infiniteStream(fc.nat()), (hashes, draws) => {
      const table = new PositionTable();
      let entries: { hash: number; position: number }[] = [];
      for (const [position, one] of hashes.entries()) {
        table.add(one, position);
        entries.push({ hash: one, position });
        const draw = draws.next().value;
        if (draw % 3 === 0) {
          const gone = entries[draw % entries.length];
          assert(gone !== undefined);
          table.remove(gone.hash, gone.position);
          entries = entries.filter((entry) => entry !== gone);
          expect(() => table.remove(gone.hash, gone.position)).toThrow("not in the table");
        }
        for (const sought of new Set(hashes)) {
          const found = new Set<number>();
          for (let at = table.first(sought); at !== -1; at = table.next()) found.add(at);
          expect(found).toEqual(
            new Set(entries.filter((entry) => entry.hash === sought).map((entry) => entry.position)),
          );
        }
      }
    }),
  );
});

test("a shared text keeps its number as long as somebody has it, and numbers are used again", () => {
  const texts = new CountedTexts();
  const [first, second] = [texts.take("a"), texts.take("b")];
  expect(texts.take("a")).toBe(first);
  texts.giveBack(first);
  expect(texts.text(first)).toBe("a");
  texts.giveBack(first);
  expect(() => texts.text(first)).toThrow("nobody has the text");
  expect(texts.take("c")).toBe(first);
  expect([texts.text(first), texts.text(second), texts.size]).toEqual(["c", "b", 2]);
});
