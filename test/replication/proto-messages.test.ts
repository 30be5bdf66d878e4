/** The protobuf contract: nothing of an event is lost on the way, and what is written once stays readable. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadSync, type MessageTypeDefinition } from "@grpc/proto-loader";
import fc from "fast-check";
import { expect, test } from "vitest";
import { OUTWARD_TYPES, ReplicationEvent } from "../../contracts/envelope.ts";
import {
  checkpointFromProto,
  checkpointToProto,
  eventFromProto,
  eventToProto,
  type ProtoMessage,
} from "../../services/replication/proto-messages.ts";
import { EventFeed, HOSTILE_TEXTS } from "../../services/testing/mod.ts";
import { anyText } from "../support/any-text.ts";

const ROOT = join(import.meta.dirname, "../..");
const types = loadSync(join(ROOT, "contracts/schemas/replication.proto"), { longs: Number });
const typeOf = (name: string) =>
  types[`omnirelay.replication.v1.${name}`] as MessageTypeDefinition<ProtoMessage, ProtoMessage>;
const EVENT = typeOf("ReplicationEvent");
const golden = (name: string): string => readFileSync(join(import.meta.dirname, "golden", name), "utf8");

const encoded = (event: ReplicationEvent): Buffer => EVENT.serialize(eventToProto(event));
const decoded = (bytes: Buffer): unknown => eventFromProto(EVENT.deserialize(bytes));
const copyOf = (event: unknown): unknown => JSON.parse(JSON.stringify(event));

test("an event of the first version is these bytes, and these bytes are that event", () => {
  const event = ReplicationEvent.parse(JSON.parse(golden("replication-event-v1.json")));
  const hex = golden("replication-event-v1.hex").replaceAll(/\s/g, "");
  expect(encoded(event).toString("hex")).toBe(hex);
  expect(decoded(Buffer.from(hex, "hex"))).toEqual(event);
});

test("every event of a log comes back as it was, hostile texts and all", () => {
  const feed = new EventFeed({ seed: 5, count: 200 });
  for (const event of feed.events) expect(decoded(encoded(event))).toEqual(copyOf(event));
});

test("a place comes back as it was, and what else stands in a checkpoint stays behind", () => {
  const checkpoint = typeOf("Checkpoint");
  const feed = new EventFeed({ seed: 5, count: 40 });
  for (let sequence = 0; sequence <= feed.lastSequence; sequence += 1) {
    const place = feed.place(sequence);
    const message = checkpointToProto({ ...place, owner: "somebody", paused: true });
    expect(checkpointFromProto(checkpoint.deserialize(checkpoint.serialize(message)))).toEqual(place);
  }
});

test("integers up to 2^53 - 1, texts that UTF-8 cannot carry and fields of a later release are not lost", () => {
  const [base] = new EventFeed({ count: 10 }).events;
  const event = {
    ...base,
    sequenceNumber: Number.MAX_SAFE_INTEGER,
    ownershipToken: Number.MAX_SAFE_INTEGER - 1,
    eventType: "OfALaterRelease",
    itemId: "lone \ud800 surrogate",
    ownerPeerId: "",
    error: { code: "x", message: "\udc00", later: { deep: [1, null, "\ud800"] } },
    details: JSON.parse('{"__proto__": {"polluted": true}, "n": 9007199254740991, "f": 1e300}'),
    later: "field",
    metadata: { ...base?.metadata, "log.term": -1, "queue.pending": 0, "trace.parent": "", later: false },
    deterministic: { effectId: "e", later: 1 },
  } as unknown as ReplicationEvent;
  const back = decoded(encoded(event));
  expect(JSON.stringify(copyOf(back))).toBe(JSON.stringify(back));
  expect(back).toEqual(copyOf(event));
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});

test("any event comes back as it was", () => {
  const texts = fc.oneof(anyText(40), fc.constantFrom(...HOSTILE_TEXTS), fc.constant("\ud800"));
  const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
    fc.option(arbitrary, { nil: undefined });
  const integer = fc.maxSafeNat();
  const json = fc.dictionary(texts, fc.jsonValue({ maxDepth: 3 }), { maxKeys: 4 });
  const events = fc.record({
    schemaVersion: fc.constant(1),
    sequenceNumber: integer,
    timestamp: texts,
    eventType: fc.constantFrom(...Object.values(OUTWARD_TYPES)),
    itemId: optional(texts),
    resourceType: optional(texts),
    resourceId: optional(texts),
    ownerPeerId: optional(texts),
    ownershipToken: optional(integer),
    resourceLeaseItemPayload: optional(json),
    error: optional(fc.record({ code: texts, message: texts })),
    details: optional(json),
    metadata: fc.record({ "shard.id": texts, "queue.pending": integer, "rpc.peer": optional(texts), other: texts }),
    deterministic: fc.record({ effectId: texts }),
    [`x${"y".repeat(3)}`]: fc.jsonValue({ maxDepth: 2 }),
  });
  fc.assert(
    fc.property(events, (event) => {
      const copy = copyOf(event);
      expect(decoded(encoded(event as unknown as ReplicationEvent))).toEqual(copy);
    }),
    { numRuns: 100 },
  );
});
