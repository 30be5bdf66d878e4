/** The outward event: what it says of each event of the log for ever, and that nothing of the log is lost on the way. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OUTWARD_TYPES, ReplicationEvent } from "../../contracts/envelope.ts";
import { type Actor, EVENTS, type EventType, type LogEvent } from "../../contracts/events.ts";
import { Frame } from "../../contracts/frame.ts";
import { upcastEvent } from "../../contracts/upcast-event.ts";
import { schemaFiles } from "../../infra/schemas.ts";
import { outwardEvents } from "../../services/replication/outward.ts";
import { EVENT_TYPES, FULL_EVENTS, optionalFields, without } from "./full-events.ts";

const GOLDEN = new URL("golden/envelope-v1.jsonl", import.meta.url).pathname;
const ACTORS: readonly Actor[] = [
  { principal: "worker", peerId: "worker--1", trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" },
  { principal: "operator", peerId: "operator" },
];
const CHAIN = "ab".repeat(32);

/** The events of a frame at a fixed place. */
function outwardOf(events: readonly LogEvent[], first = 7, after = 0): ReplicationEvent[] {
  const frame: Frame = {
    ...{
      schema: 1,
      logId: "log-1",
      region: "local",
      shard: "default",
      term: 5,
      writer: "dispatcher--a",
      append: "a/1",
    },
    ...{ first, count: events.length, at: 1_700_000_000_123, prev: "cd".repeat(32), pending: 3, active: 1 },
    ...{ actors: [...ACTORS], events: [...events] },
  };
  expect(Frame.parse(frame)).toEqual(frame);
  return outwardEvents({ frame, streamSequence: 40, chain: CHAIN, tokenEpoch: 2 }, after);
}

const bare = (type: EventType): LogEvent => without(FULL_EVENTS[type], () => false);

/** A log begins with its creation. */
const firstOf = (type: EventType): number => (type === "logCreated" ? 1 : 7);

/** Each type with all of its fields, then with none that it may lack. */
const goldenEvents = () =>
  EVENT_TYPES.flatMap((type) => [FULL_EVENTS[type], bare(type)].flatMap((event) => outwardOf([event], firstOf(type))));

describe("the golden events of version 1", () => {
  /**
   * Read the difference before it is written anew. A field more is an addition within the version; whatever else changes or goes needs a
   * new version, a file of its own, and an upcaster from this one.
   */
  test("are what the present code makes, byte for byte", async () => {
    await expect(
      goldenEvents()
        .map((event) => `${JSON.stringify(event)}\n`)
        .join(""),
    ).toMatchFileSnapshot(GOLDEN);
  });

  test("are read by the schema and by the upcaster, and lose nothing there", () => {
    const lines = readFileSync(GOLDEN, "utf8").trimEnd().split("\n");
    expect(new Set(lines.map((line) => JSON.parse(line).eventType))).toEqual(new Set(Object.values(OUTWARD_TYPES)));
    for (const line of lines) {
      const value: unknown = JSON.parse(line);
      expect(ReplicationEvent.parse(value)).toEqual(value);
      expect(upcastEvent(value)).toEqual(value);
    }
  });

  test("have every field that an event may have once, and lack it once", () => {
    for (const type of EVENT_TYPES) {
      EVENTS[type].parse(FULL_EVENTS[type]);
      EVENTS[type].parse(bare(type));
      expect([type, optionalFields(FULL_EVENTS[type]).absent]).toEqual([type, []]);
      expect([type, optionalFields(bare(type)).present]).toEqual([type, []]);
    }
  });

  test("name only fields that the published JSON Schema names", () => {
    const { properties } = JSON.parse(schemaFiles().get("replication-event.json") ?? "{}");
    for (const event of goldenEvents()) {
      expect(Object.keys(properties)).toEqual(expect.arrayContaining(Object.keys(event)));
      expect(Object.keys(properties.metadata.properties)).toEqual(expect.arrayContaining(Object.keys(event.metadata)));
    }
  });
});

/** The event of the log that an outward event tells of, without its actor; as far as it can be told from outside. */
function logEventOf(outward: ReplicationEvent): Record<string, unknown> {
  const { eventType, itemId, resourceType, resourceId, ownershipToken, resourceLeaseItemPayload, details } = outward;
  const type = EVENT_TYPES.find((candidate) => OUTWARD_TYPES[candidate] === eventType);
  const names = { itemId, resourceType, resourceId };
  if (type === "enqueued") return { type, itemId, item: resourceLeaseItemPayload, ...details };
  if (type === "leased") return { type, ...names, ...details };
  if (type === "restored" && details?.["entry"] !== undefined)
    return { type, ...details, entry: { ...(details["entry"] as object), item: resourceLeaseItemPayload } };
  return { type, ...names, token: ownershipToken, ...details };
}

/** An event of some type with some of the fields that it may lack. */
const anyEvent = fc
  .constantFrom(...EVENT_TYPES)
  .chain((type) => {
    const { present } = optionalFields(FULL_EVENTS[type]);
    return fc.record({ type: fc.constant(type), kept: fc.subarray([...new Set(present)]) });
  })
  .map(({ type, kept }) => without(FULL_EVENTS[type], (path) => kept.includes(path)));

test("no field of any event is lost: the event can be told from the outward one", () => {
  fc.assert(
    fc.property(fc.array(anyEvent, { minLength: 1, maxLength: 8 }), (events) => {
      const outward = outwardOf(events.filter((event) => event.type !== "logCreated"));
      for (const [index, event] of events.filter(({ type }) => type !== "logCreated").entries()) {
        const made = outward[index];
        if (made === undefined) throw new Error("an event is missing");
        const { actor, askedBy, ...rest } = event as Record<string, unknown>;
        expect(logEventOf(made)).toEqual(rest);
        const by = ACTORS[(actor ?? askedBy ?? -1) as number];
        expect([made.metadata["rpc.principal"], made.metadata["rpc.peer"], made.metadata["trace.parent"]]).toEqual([
          ...[by?.principal, by?.peerId, by?.trace],
        ]);
        expect(made.sequenceNumber).toBe(7 + index);
        expect(made.deterministic.effectId).toBe(`log-1/seq/${7 + index}`);
        expect(ReplicationEvent.parse(JSON.parse(JSON.stringify(made)))).toEqual(JSON.parse(JSON.stringify(made)));
      }
    }),
  );
});

test("the fields of the log's creation are not lost either", () => {
  for (const event of [FULL_EVENTS.logCreated, bare("logCreated")]) {
    const [made] = outwardOf([event], 1);
    expect(logEventOf(made as ReplicationEvent)).toEqual(event);
  }
});

test("a grant has its fencing token, in the epoch that a term before it in the frame has begun", () => {
  const [before, , behind] = outwardOf([FULL_EVENTS.leased, FULL_EVENTS.termStarted, FULL_EVENTS.leased]);
  expect([before?.ownershipToken, behind?.ownershipToken]).toEqual([2 * 2 ** 40 + 7, 4 * 2 ** 40 + 9]);
});

test("the owner of a lease is who holds it, and not the operator or leader that takes it away", () => {
  const own = bare("released");
  const ownerOf = (event: LogEvent) => outwardOf([event])[0]?.ownerPeerId;
  expect(ownerOf({ ...own, actor: 0 } as LogEvent)).toBe("worker--1");
  expect(ownerOf({ ...own, actor: 1, reason: "evicted" } as LogEvent)).toBeUndefined();
  expect(ownerOf({ ...own, reason: "drained" } as LogEvent)).toBeUndefined();
  expect(ownerOf(FULL_EVENTS.completed)).toBe("worker--1");
  expect(ownerOf(FULL_EVENTS.cancelled)).toBeUndefined();
});

test("an item whose end was only asked for has no error yet", () => {
  const [requested] = outwardOf([{ ...FULL_EVENTS.cancelled, outcome: "requested" }]);
  expect(requested).not.toHaveProperty("error");
  expect(outwardOf([FULL_EVENTS.cancelled])[0]?.error?.code).toBe("cancelled");
});

test("events up to a sequence are left out, without any change of the others", () => {
  const events = [FULL_EVENTS.leased, FULL_EVENTS.termStarted, FULL_EVENTS.leased, FULL_EVENTS.paused];
  const all = outwardOf(events);
  for (let after = 6; after <= 10; after += 1) expect(outwardOf(events, 7, after)).toEqual(all.slice(after - 6));
});

test.each([253_402_300_800_000, 8.64e15 + 1])("refuses a log time that no timestamp can tell: %s", (at) => {
  const frame = Frame.parse({
    ...{
      schema: 1,
      logId: "log-1",
      region: "local",
      shard: "default",
      term: 5,
      writer: "dispatcher--a",
      append: "a/1",
    },
    ...{ first: 7, count: 1, at, prev: CHAIN, pending: 3, active: 1, actors: [], events: [bare("tickSkipped")] },
  });
  expect(() => outwardEvents({ frame, streamSequence: 40, chain: CHAIN, tokenEpoch: 2 })).toThrow(
    expect.objectContaining({ code: "log_time_invalid", definite: true, details: { at, sequence: 7 } }),
  );
});
