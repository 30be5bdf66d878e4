/** One event of every type with every field that it may have, and how to leave out those that it may lack. */
import { z } from "zod";
import type { ItemPayload } from "../../contracts/commands.ts";
import { EVENTS, type EventOf, type EventType, type LogEvent } from "../../contracts/events.ts";
import type { ShardOptions } from "../../contracts/options.ts";

type Full = { readonly [T in EventType]: Required<EventOf<T>> };
type ScheduleItem = EventOf<"scheduled">["item"];
type RestoredItem = NonNullable<EventOf<"restored">["entry"]>["item"];

const TEXT = "zwölf \u2028\u0000 😀 </b>";
const DIGEST = "00ff00ff00ff00ff";
const AT = 1_700_000_100_000;
const named = { itemId: "1", resourceType: "table", resourceId: "sales/orders" };
const settled = { ...named, actor: 0, token: 17, digest: DIGEST };
const result = { itemId: "3", outcome: "completed", result: TEXT, truncated: true } as const;

const options: Required<ShardOptions> = {
  ...{
    exclusivity: "partition",
    onDeadLetter: "continue",
    leaseDurationMsDefault: 20_000,
    leaseDurationMsMax: 600_000,
  },
  ...{ leaseAgeMsMax: 7_200_000, leasesPerPeerMax: 100, maxAttempts: 3, ageingMs: 60_000, retry: "exponential" },
  ...{ retryFirstMs: 500, retryMaxMs: 60_000, fairness: "groups", itemBytesMax: 65_536, pendingHigh: 1_000 },
  ...{ pendingLow: 800, bodyBytesHigh: 1_000_000, bodyBytesLow: 800_000, backpressureCooldownMs: 2_000 },
  ...{ recordsMax: 10_000, resultsMax: 100, logTrim: "off", logKeepEvents: 5_000, logKeepMs: 3_600_000 },
};

const scheduleItem: Required<ScheduleItem> = {
  resourceType: "table",
  resourceId: "sales/orders",
  partitionKey: "eu/1",
  payloadEncoding: "text/plain",
  body: TEXT,
  attributes: { zone: "b", área: "norte" },
  exclusivity: "partition",
  maxAttempts: 2,
  priority: 9,
  leaseDurationMs: 20_000,
  retry: { kind: "list", delaysMs: [100, 200] },
  uniqueKey: "u",
  group: "g",
  quotaKey: "db",
};
const restoredItem: Required<RestoredItem> = {
  ...scheduleItem,
  notBefore: AT + 1,
  notAfter: AT + 2,
  onDependencyFailure: "cancel",
};
const item: Required<ItemPayload> = { ...restoredItem, dependsOn: [{ itemId: "3" }] };

/** Fixed: what these become outward stands in a golden file. */
export const FULL_EVENTS: Full = {
  logCreated: { type: "logCreated", logId: "log-1", logVersion: 2, options, tokenEpoch: 3, base: "backup 7" },
  termStarted: { type: "termStarted", term: 5, leader: "dispatcher--a", tokenEpoch: 4 },
  termReleased: { type: "termReleased", term: 5, leader: "dispatcher--a", successor: "dispatcher--b", askedBy: 1 },
  configured: {
    ...{ type: "configured", actor: 1, options, logVersion: 2 },
    followers: { lake: { kind: "sink", logVersionMax: 2, keepBytes: 1_000, keepMs: 60_000 }, gone: null },
    quotas: { "group/g": { leasesMax: 4, rate: { count: 10, perMs: 1_000, burst: 20 }, weight: 2 }, "key/db": null },
  },
  enqueued: {
    ...{ type: "enqueued", actor: 0, itemId: "1", item, requestId: "r/0", digest: DIGEST },
    schedule: { name: "nightly", tick: AT, next: AT + 60_000 },
  },
  leased: { type: "leased", actor: 0, ...named, attempt: 2, durationMs: 20_000, expiresAt: AT + 20_000 },
  renewed: {
    ...{ type: "renewed", actor: 0 },
    leases: [{ itemId: "1", token: 17, durationMs: 20_000, expiresAt: AT + 20_000, progress: TEXT }],
  },
  completed: { type: "completed", ...settled, result: TEXT },
  failed: {
    ...{ type: "failed", ...settled, reason: TEXT, code: "io.full", outcome: "requeued", notBefore: AT + 5 },
    charged: false,
  },
  expired: { type: "expired", ...named, token: 17, reason: "age", outcome: "cancelled", notBefore: AT + 5 },
  deadLettered: { type: "deadLettered", ...named, reason: TEXT, code: "lapsed" },
  released: { type: "released", actor: 0, ...named, token: 17, outcome: "cancelled", reason: "evicted" },
  cancelled: { type: "cancelled", actor: 0, ...named, reason: TEXT, outcome: "ended" },
  redriven: { type: "redriven", actor: 1, ...named, notBefore: AT + 5 },
  purged: { type: "purged", actor: 1, ...named },
  paused: { type: "paused", actor: 1 },
  resumed: { type: "resumed", actor: 1 },
  drained: { type: "drained", actor: 1, drainId: "monday", leases: "expire" },
  restored: {
    ...{ type: "restored", actor: 1, drainId: "monday" },
    entry: {
      ...{ itemId: "1", origin: { logId: "log-0", itemId: "9" }, enqueuedAt: AT, enqueuedBy: "loader", attempt: 3 },
      ...{
        charged: 2,
        redrives: 1,
        dependencies: [result],
        item: restoredItem,
        schedule: { name: "nightly", tick: AT },
      },
      lastError: { reason: TEXT, code: "io.full", attempt: 3, peerId: "worker--1", at: AT },
    },
  },
  discarded: { type: "discarded", actor: 1, drainId: "monday", itemIds: ["1", "2"] },
  scheduled: {
    ...{ type: "scheduled", actor: 1, name: "nightly", cron: "0 3 * * *", timeZone: "Europe/Berlin", catchUp: "all" },
    ...{ item: scheduleItem, paused: true, next: AT + 60_000 },
  },
  unscheduled: { type: "unscheduled", actor: 1, name: "nightly" },
  tickSkipped: { type: "tickSkipped", name: "nightly", tick: AT, next: AT + 60_000, reason: "unique" },
  stateHash: { type: "stateHash", hash: DIGEST },
};

export const EVENT_TYPES = Object.keys(EVENTS) as EventType[];

type Schema = z.core.JSONSchema.BaseSchema;
const SCHEMAS = new Map(EVENT_TYPES.map((type) => [type, z.toJSONSchema(EVENTS[type], { io: "output" }) as Schema]));
const schemaOf = (type: EventType): Schema => SCHEMAS.get(type) ?? {};

/** Paths of the fields that an event of this type may lack: those that this one has, and those that it lacks. */
export function optionalFields(event: LogEvent): { readonly present: string[]; readonly absent: string[] } {
  const found = { present: [] as string[], absent: [] as string[] };
  walk(schemaOf(event.type), event, "", found);
  return found;
}

function walk(schema: Schema, value: unknown, path: string, found: { present: string[]; absent: string[] }): void {
  if (schema.items !== undefined && Array.isArray(value))
    for (const inner of value) walk(schema.items as Schema, inner, `${path}[]`, found);
  for (const [name, inner] of Object.entries(schema.properties ?? {})) {
    const field = (value as Record<string, unknown>)[name];
    const at = `${path}.${name}`;
    if (schema.required?.includes(name) !== true) found[field === undefined ? "absent" : "present"].push(at);
    if (field !== undefined) walk(inner as Schema, field, at, found);
  }
  const named = schema.additionalProperties;
  if (typeof named === "object" && typeof value === "object" && value !== null)
    for (const inner of Object.values(value)) walkNamed(named, inner, path, found);
}

/** A value of a table, where null removes one. */
function walkNamed(schema: Schema, value: unknown, path: string, found: { present: string[]; absent: string[] }): void {
  if (value === null) return;
  for (const choice of schema.anyOf ?? [schema])
    if ((choice as Schema).type === "object") walk(choice as Schema, value, `${path}{}`, found);
}

/** The event without the optional fields that `isKept` does not keep, at any depth. */
export function without(event: LogEvent, isKept: (path: string) => boolean): LogEvent {
  const copy = structuredClone(event);
  strip(schemaOf(event.type), copy, "", isKept);
  return copy;
}

function strip(schema: Schema, value: unknown, path: string, isKept: (path: string) => boolean): void {
  if (schema.items !== undefined && Array.isArray(value))
    for (const inner of value) strip(schema.items as Schema, inner, `${path}[]`, isKept);
  const fields = value as Record<string, unknown>;
  for (const [name, inner] of Object.entries(schema.properties ?? {})) {
    const at = `${path}.${name}`;
    if (schema.required?.includes(name) !== true && !isKept(at)) delete fields[name];
    if (fields[name] !== undefined) strip(inner as Schema, fields[name], at, isKept);
  }
}
