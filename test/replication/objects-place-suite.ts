/** What every place of objects must do: one suite for a folder, the object store and S3. */
import { expect } from "vitest";
import {
  LowestSequences,
  NO_SIGNAL,
  type ObjectPlace,
  objectName,
} from "../../services/replication/sinks/objects-place.ts";
import { seededNumbers } from "../../services/runtime/seeded-numbers.ts";
import type { SuiteRunner } from "../../services/testing/mod.ts";

export interface PlacesUnderTest {
  /** A new place on the same objects. */
  make(): ObjectPlace;
  close(): Promise<void>;
}

const SEED = 7_1216;
const FOLDER = "a/eu/orders";
const bytesOf = (text: string): Uint8Array => Buffer.from(text);

export function placeSuite(runner: SuiteRunner, name: string, open: () => Promise<PlacesUnderTest>): void {
  const check = (claim: string, body: (places: PlacesUnderTest, place: ObjectPlace) => Promise<void>): void =>
    runner.test(claim, async () => {
      const places = await open();
      const place = places.make();
      try {
        await place.prepare(FOLDER);
        await body(places, place);
      } finally {
        await place.close();
        await places.close();
      }
    });

  runner.describe(`${name}: a place of objects`, () => {
    check("keeps what was put first, and says so", async (_, place) => {
      const object = objectName(FOLDER, 1);
      expect(await place.get(object, NO_SIGNAL)).toBe(undefined);
      expect(await place.put(object, bytesOf("first"), NO_SIGNAL)).toBe("created");
      expect(await place.put(object, bytesOf("second"), NO_SIGNAL)).toBe("taken");
      expect(Buffer.from((await place.get(object, NO_SIGNAL)) ?? []).toString()).toBe("first");
    });

    check("keeps bytes as they are, of any length", async (_, place) => {
      const draw = seededNumbers(SEED);
      for (const [index, length] of [0, 1, 511, 600_000, 1_500_000].entries()) {
        const bytes = Buffer.alloc(length);
        for (let at = 0; at < length; at += 1) bytes[at] = draw() & 255;
        const object = objectName(FOLDER, index + 1);
        expect(await place.put(object, bytes, NO_SIGNAL)).toBe("created");
        expect(Buffer.compare(Buffer.from((await place.get(object, NO_SIGNAL)) ?? [1]), bytes)).toBe(0);
      }
    });

    check("lets one of many win that put the same name at once", async (places, place) => {
      const others = Array.from({ length: 5 }, () => places.make());
      await Promise.all(others.map((other) => other.prepare(FOLDER)));
      for (const sequence of [1, 2, 3]) {
        const object = objectName(FOLDER, sequence);
        const outcomes = await Promise.all(
          others.map((other, index) => other.put(object, bytesOf(`of ${index}`), NO_SIGNAL)),
        );
        expect(outcomes.filter((outcome) => outcome === "created")).toHaveLength(1);
        const kept = Buffer.from((await place.get(object, NO_SIGNAL)) ?? []).toString();
        expect(kept).toBe(`of ${outcomes.indexOf("created")}`);
      }
      for (const other of others) await other.close();
    });

    check(`lists pages upwards, and finds the last below a bound (seed ${SEED})`, async (_, place) => {
      const draw = seededNumbers(SEED);
      const known = new Set<number>([1, 1_000_000_000_000]);
      while (known.size < 25) known.add(1 + (draw() % 3_000));
      expect(await place.list(FOLDER, 0, 10)).toEqual([]);
      expect(await place.last(FOLDER, Number.MAX_SAFE_INTEGER)).toBe(undefined);
      const strangers = [
        `${FOLDER}/manifest.json`,
        `${FOLDER}/00.json`,
        objectName(`${FOLDER}x`, 5),
        objectName("a", 6),
      ];
      for (const stranger of strangers.slice(0, 2)) await place.put(stranger, bytesOf("{}"), NO_SIGNAL);
      for (const stranger of strangers.slice(2)) {
        await place.prepare(stranger.slice(0, stranger.lastIndexOf("/")));
        await place.put(stranger, bytesOf("{}"), NO_SIGNAL);
      }
      for (const sequence of known) await place.put(objectName(FOLDER, sequence), bytesOf("{}"), NO_SIGNAL);
      for (const after of [0, 1, 500, 2_999, 3_000, 2_000_000_000_000])
        for (const limit of [1, 3, 1_000]) {
          const lowest = new LowestSequences(after, limit);
          for (const sequence of known) lowest.add(sequence);
          expect([after, limit, await place.list(FOLDER, after, limit)]).toEqual([after, limit, lowest.rising()]);
        }
      for (const upTo of [1, 2, 77, 1_500, 3_000, 999_999_999_999, Number.MAX_SAFE_INTEGER]) {
        const last = Math.max(...[...known].filter((sequence) => sequence <= upTo));
        expect([upTo, await place.last(FOLDER, upTo)]).toEqual([upTo, last]);
      }
    });
  });
}
