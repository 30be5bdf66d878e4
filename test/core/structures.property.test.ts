/** The structures under the state against plain arrays and maps. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Deadlines } from "../../services/core/deadlines.ts";
import { type HeapEntry, IndexedHeap } from "../../services/core/indexed-heap.ts";
import { SequenceIndex } from "../../services/core/sequence-index.ts";
import { jsonLength } from "../../services/core/sizes.ts";
import { RecallingMap, StripedMap } from "../../services/core/striped-map.ts";
import { anyText } from "../support/any-text.ts";

test("a heap gives its entries by rank, and of equal ones the older, whichever are removed or moved meanwhile", () => {
  const step = fc.record({
    action: fc.constantFrom("push", "remove", "move"),
    place: fc.nat(),
    rank: fc.nat({ max: 50 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      type Entry = HeapEntry & { rank: number };
      const heap = new IndexedHeap<Entry>();
      const model: Entry[] = [];
      let pushed = 0;
      for (const { action, place, rank } of steps) {
        const entry = model[place % Math.max(1, model.length)];
        if (action === "push" || entry === undefined) {
          const fresh = { rank, tie: ++pushed, slot: -1 };
          model.push(fresh);
          heap.push(fresh);
        } else if (action === "move") {
          entry.rank = rank;
          heap.moved(entry);
        } else {
          model.splice(model.indexOf(entry), 1);
          heap.remove(entry);
        }
        const [first] = model.toSorted((left, right) => left.rank - right.rank || left.tie - right.tie);
        expect(heap.top()).toBe(first);
        for (const one of model) expect(heap.entries[one.slot]).toBe(one);
      }
    }),
  );
});

test("a sequence index is a sorted list, at any length", () => {
  const run = fc.record({ from: fc.nat({ max: 4_000 }), count: fc.nat({ max: 1_200 }), add: fc.boolean() });
  fc.assert(
    fc.property(fc.array(run, { maxLength: 8 }), fc.nat({ max: 5_000 }), (runs, after) => {
      const index = new SequenceIndex<{ sequence: number }>();
      const model = new Map<number, { sequence: number }>();
      for (const { from, count, add } of runs) {
        for (let sequence = from; sequence < from + count; sequence += 1) {
          const known = model.get(sequence);
          if (add && known === undefined) {
            const entry = { sequence };
            model.set(sequence, entry);
            index.insert(entry);
          } else if (!add && known !== undefined) {
            model.delete(sequence);
            index.remove(known);
          }
        }
      }
      const expected = [...model.keys()].filter((sequence) => sequence > after).sort((left, right) => left - right);
      expect([...index.after(after)].map((entry) => entry.sequence)).toEqual(expected);
      expect(index.size).toBe(model.size);
      // Chunks that were emptied by half are joined: a long life does not leave many short ones.
      expect(index.chunkCount).toBeLessThanOrEqual(2 + model.size / 64);
    }),
    { numRuns: 60 },
  );
});

test.each([StripedMap, RecallingMap])("a striped map is a map: %s", (Striped) => {
  const step = fc.record({ key: fc.string({ maxLength: 2 }), value: fc.option(fc.nat()) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const map = new Striped<number>();
      const model = new Map<string, number>();
      for (const { key, value } of steps) {
        expect(map.get(key)).toBe(model.get(key));
        if (value === null) expect(map.delete(key)).toBe(model.delete(key));
        else {
          map.set(key, value);
          model.set(key, value);
        }
        expect(map.get(key)).toBe(model.get(key));
        expect(map.size).toBe(model.size);
      }
      expect([...map.values()].sort()).toEqual([...model.values()].sort());
    }),
  );
});

test("the length of a text as JSON is that of the encoder", () => {
  const text = fc.oneof(
    anyText(),
    fc.string({ unit: "grapheme" }),
    fc.string({ unit: fc.constantFrom("\n", "\u0000", '"', "\\", "é", "€", "😀", "\u007f", "\u2028") }),
  );
  const encoder = new TextEncoder();
  fc.assert(
    fc.property(text, (one) => {
      const wellFormed = one.toWellFormed();
      expect(jsonLength(wellFormed)).toBe(encoder.encode(JSON.stringify(wellFormed)).length);
    }),
  );
});

describe("deadlines", () => {
  test("come up in order, after every renewal and removal", () => {
    const step = fc.record({
      action: fc.constantFrom("set", "set", "remove", "due"),
      token: fc.integer({ min: 1, max: 8 }),
      time: fc.nat({ max: 100 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const deadlines = new Deadlines();
        const model = new Map<number, number>();
        for (const { action, token, time } of steps) {
          if (action === "set") {
            deadlines.set(`i${token}`, token, time, "duration");
            model.set(token, time);
          } else if (action === "remove") {
            deadlines.remove(token);
            model.delete(token);
          }
          const earliest = model.size === 0 ? undefined : Math.min(...model.values());
          expect(deadlines.earliest()).toBe(earliest);
          const due = deadlines.due(time);
          if (earliest === undefined || earliest > time) expect(due).toBeUndefined();
          else expect(model.get(due?.token ?? 0)).toBe(earliest);
          expect(deadlines.remaining(token, time)).toBe(Math.max(0, (model.get(token) ?? 0) - time));
          expect(deadlines.size).toBe(model.size);
        }
      }),
    );
  });

  test("an unknown lease has nothing left, and clearing forgets all", () => {
    const deadlines = new Deadlines();
    expect(deadlines.remaining(1, 0)).toBe(0);
    deadlines.set("a", 1, 50, "age");
    expect(deadlines.due(49)).toBeUndefined();
    expect(deadlines.due(50)).toMatchObject({ itemId: "a", token: 1, reason: "age" });
    deadlines.clear();
    expect(deadlines.size).toBe(0);
    expect(deadlines.due(1_000)).toBeUndefined();
  });
});
