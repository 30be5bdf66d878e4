/** The tables that a replay goes through for each event, against plain maps and sorted lists. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TOKEN_EPOCH_STEP } from "../../contracts/limits.ts";
import { Hasher } from "../../services/core/hasher.ts";
import { itemIdOfNumber, numberOfItemId } from "../../services/core/item-id.ts";
import { ItemTable } from "../../services/core/item-table.ts";
import { RankQueue } from "../../services/core/rank-queue.ts";
import { RequestIndex } from "../../services/core/request-index.ts";
import { jsonLength } from "../../services/core/sizes.ts";
import { anyText } from "../support/any-text.ts";

describe("a table of items", () => {
  const sequence = fc.oneof(fc.nat({ max: 200 }), fc.integer({ min: 1, max: TOKEN_EPOCH_STEP - 1 }));

  test("is a map by id, at any distance of the sequences", () => {
    const step = fc.record({ sequence, add: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: "max" }), (steps) => {
        const table = new ItemTable<{ number: number }>();
        const model = new Map<string, { number: number }>();
        for (const { sequence: place, add } of steps) {
          const itemId = place.toString(36);
          assert.equal(table.get(itemId), model.get(itemId));
          if (add) {
            const entry = { number: place };
            table.set(entry);
            model.set(itemId, entry);
          } else assert.equal(table.delete({ number: place }), model.delete(itemId));
          assert.equal(table.get(itemId), model.get(itemId));
          assert.equal(table.size, model.size);
        }
        expect(new Set(table.values())).toEqual(new Set(model.values()));
      }),
    );
  });

  test("tells ids of the same sequence apart", () => {
    const table = new ItemTable<{ number: number }>();
    const entry = { number: 3 * TOKEN_EPOCH_STEP + 77 };
    const itemId = entry.number.toString(36);
    table.set(entry);
    expect(table.get(itemId)).toBe(entry);
    for (const number of [77, TOKEN_EPOCH_STEP + 77]) {
      expect(table.get(number.toString(36))).toBeUndefined();
      expect(table.delete({ number })).toBe(false);
    }
    expect(table.get(`0${itemId}`)).toBeUndefined();
    expect(table.size).toBe(1);
  });

  test("takes no text for an id that is none", () => {
    const table = new ItemTable<{ number: number }>();
    for (const itemId of ["", "-1", "A", "é", "1 ", "__proto__", "zzzzzzzzzzz", "zzzzzzzzzzzz"]) {
      expect(table.get(itemId)).toBeUndefined();
    }
    expect(table.size).toBe(0);
  });
});

test("the id of a number is the number in base 36, and the other way", () => {
  const number = fc.oneof(
    fc.nat({ max: 100_000 }),
    fc.maxSafeNat(),
    fc.constantFrom(35, 36, 1_295, 1_296, 46_655, 46_656),
  );
  fc.assert(
    fc.property(fc.array(number, { minLength: 1, maxLength: 20 }), (numbers) => {
      for (const one of [...numbers, ...numbers.toReversed()]) {
        expect(itemIdOfNumber(one)).toBe(one.toString(36));
        expect(numberOfItemId(one.toString(36))).toBe(one);
      }
    }),
  );
});

test("a rank queue gives its entries by rank, in whatever order they come and go", () => {
  interface Entry {
    rank: number;
    tie: number;
    slot: number;
  }
  // Runs, so that the line grows long enough to be moved up; ranks rise with few exceptions, as they do in a lane.
  const run = fc.record({
    action: fc.constantFrom("push", "push", "pop", "remove"),
    count: fc.integer({ min: 1, max: 900 }),
    place: fc.nat(),
    late: fc.nat({ max: 30 }),
  });
  fc.assert(
    fc.property(fc.array(run, { maxLength: 12 }), (runs) => {
      const queue = new RankQueue<Entry>();
      const model: Entry[] = [];
      let rank = 0;
      let pushed = 0;
      for (const { action, count, place, late } of runs)
        for (let index = 0; index < count; index += 1) {
          if (action === "push") {
            rank += 1;
            pushed += 1;
            // Several of one rank, as many items come in one millisecond.
            const place = Math.floor(rank / 3);
            const entry = { rank: index % 31 === late ? Math.max(0, place - late * 7) : place, tie: pushed, slot: -1 };
            queue.push(entry);
            model.splice(model.findLastIndex((other) => other.rank <= entry.rank) + 1, 0, entry);
          } else if (model.length > 0) {
            const entry = action === "pop" ? queue.top() : model[(place + index * 7) % model.length];
            if (entry === undefined) throw new Error("there are entries");
            assert(entry.rank >= (model[0]?.rank ?? 0), "what is taken is not below the lowest rank");
            queue.remove(entry);
            model.splice(model.indexOf(entry), 1);
            assert.equal(entry.slot, -1);
          }
          assert.equal(queue.top(), model[0]);
        }
      expect(queue.size).toBe(model.length);
      expect(new Set(queue.values())).toEqual(new Set(model));
    }),
    { numRuns: 30 },
  );
});

describe("a request index", () => {
  interface Entry {
    principal: string;
    requestId: string;
    sameId: Entry | undefined;
  }

  test("is a map by principal and id, whether ids end in a number or not", () => {
    const ids = [
      "a",
      "a/",
      "a/0",
      "a/1",
      "a/2",
      "a/3",
      "a/7",
      "a/07",
      "a/999",
      "a/1000",
      "a/.0",
      "a/.1",
      "b/0",
      "b1",
      "/1",
    ];
    const step = fc.record({
      principal: fc.constantFrom("p", "q"),
      requestId: fc.constantFrom(...ids),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80, size: "max" }), (steps) => {
        const index = new RequestIndex<Entry>();
        const model = new Map<string, Entry>();
        for (const { principal, requestId } of steps) {
          const key = `${principal} ${requestId}`;
          const known = model.get(key);
          const fresh: Entry = { principal, requestId, sameId: undefined };
          if (known === undefined) index.add(fresh);
          else index.remove(known);
          if (known === undefined) model.set(key, fresh);
          else model.delete(key);
          for (const one of ["p", "q"])
            for (const id of ids) assert.equal(index.find(one, id), model.get(`${one} ${id}`), id);
          expect(index.size).toBe(model.size);
          expect(new Set(index.values())).toEqual(new Set(model.values()));
        }
      }),
    );
  });

  test("refuses a second entry of one principal and id, and is as it was", () => {
    const index = new RequestIndex<Entry>();
    const first = { principal: "p", requestId: "a/0", sameId: undefined };
    index.add(first);
    const second = { principal: "p", requestId: "a/0", sameId: undefined };
    expect(index.addNew(second)).toBe(false);
    expect(() => index.add(second)).toThrow("one effect");
    expect([...index.values()]).toEqual([first]);
  });
});

test("a text that is measured has the hash of the text, and its length as JSON", () => {
  const text = fc.oneof(
    anyText(),
    fc.string({ unit: fc.constantFrom("\n", "\u0000", '"', "\\", "a", "é", "€", "😀", "\u007f", "\u2028") }),
  );
  fc.assert(
    fc.property(text, (one) => {
      const measured = new Hasher();
      expect(measured.begin().measured(one)).toBe(jsonLength(one));
      expect(measured.hex()).toBe(new Hasher().begin().text(one).hex());
    }),
  );
});
