/** Objects of any place as a subject of the suite, read back and checked one by one; and what tests of objects share. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import type { Reporter } from "../../contracts/ports.ts";
import type { SinkScope } from "../../services/replication/sink.ts";
import { decodeObject, type KnownObject } from "../../services/replication/sinks/objects-format.ts";
import { NO_SIGNAL, type ObjectPlace, objectName } from "../../services/replication/sinks/objects-place.ts";
import { ObjectsSink, type ObjectsSinkOptions } from "../../services/replication/sinks/objects-sink.ts";
import { createClock } from "../../services/runtime/clock.ts";
import type { SinkUnderTest } from "../../services/testing/mod.ts";
import type { Cleanup } from "../support/process.ts";

export const SCOPE: SinkScope = { sink: "archive", region: "eu", shard: "orders", logId: "the-log" };
export const FOLDER = "archive/eu/orders";

/** Few events per object, so that batches are cut. */
const OPTIONS: ObjectsSinkOptions = { prefix: undefined, eventsPerObject: 4, bytesPerObject: 1_000_000 };

const PAGE = 50;

export interface ReadObject extends KnownObject {
  readonly events: readonly ReplicationEvent[];
}

/** All objects of a folder, each checked by itself, and that each begins where the one before ended. */
export async function readAll(place: ObjectPlace, folder = FOLDER): Promise<ReadObject[]> {
  const objects: ReadObject[] = [];
  let covered = 0;
  for (let after = 0; ; ) {
    const page = await place.list(folder, after, PAGE);
    for (const first of page) {
      const name = objectName(folder, first);
      const bytes = await place.get(name, NO_SIGNAL);
      assert(bytes !== undefined, `${name} is listed and not there`);
      const known = decodeObject(name, place.where, bytes);
      assert.equal(known.after.sequence, covered, `${name} begins where the object before ended`);
      covered = known.upTo.sequence;
      const { events } = JSON.parse(Buffer.from(bytes).toString()) as { events: ReplicationEvent[] };
      assert.equal(events.length, known.count);
      objects.push({ ...known, events });
    }
    if (page.length < PAGE) return objects;
    after = page.at(-1) ?? 0;
  }
}

export interface ReportedLine {
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>> | undefined;
}

/** Keeps what is reported. */
export function listener(): Reporter & { readonly lines: ReportedLine[] } {
  const lines: ReportedLine[] = [];
  const keep = (event: string, fields?: Readonly<Record<string, unknown>>): void => void lines.push({ event, fields });
  return { lines, info: keep, warn: keep, error: keep };
}

export function sinkAt(
  place: ObjectPlace,
  options: Partial<ObjectsSinkOptions> = {},
  reporter = listener(),
): ObjectsSink {
  return new ObjectsSink(place, { ...OPTIONS, ...options }, { reporter, clock: createClock() });
}

/** `make`: a new place on the same objects, as another process would have it. */
export function objectsSubject(
  make: () => ObjectPlace,
  more: Partial<SinkUnderTest> & Pick<SinkUnderTest, "close">,
  eventsPerObject = OPTIONS.eventsPerObject,
): SinkUnderTest {
  const reading = make();
  const isPrepared = new WeakMap<ObjectPlace, Promise<void>>();
  return {
    make: () => sinkAt(make(), { eventsPerObject }),
    scope: SCOPE,
    guarantee: "exactly once",
    isFenced: true,
    delivered: async () => {
      const prepared = isPrepared.get(reading) ?? reading.prepare(FOLDER);
      isPrepared.set(reading, prepared);
      await prepared;
      const events = (await readAll(reading)).flatMap((object) => object.events);
      return events.map(({ sequenceNumber, resourceLeaseItemPayload: item }) => ({
        sequenceNumber,
        ...(item?.body === undefined ? {} : { body: item.body }),
      }));
    },
    ...more,
    close: async () => {
      await reading.close();
      await more.close();
    },
  };
}

/** In memory where the machine has that: a sync costs nothing there. */
export function temporaryFolder(cleanup: Cleanup): string {
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "omnirelay-objects-"));
  cleanup(async () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
