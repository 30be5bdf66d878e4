/** The audit table: what it says is what the shard's own state says, and it says so once, however events come again. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import { applyFrame } from "../../services/core/apply.ts";
import { createState } from "../../services/core/state.ts";
import type { Sink, SinkScope } from "../../services/replication/sink.ts";
import { governanceKind } from "../../services/replication/sinks/governance-sink.ts";
import { EventFeed, sinkConformance } from "../../services/testing/mod.ts";
import { goldenBatches, goldenScope } from "./golden-events.ts";
import { folder, makeSink, optionProblemsOf, outcomeOf, refusalOf } from "./outside-bed.ts";

const feed = new EventFeed({ seed: 12, count: 60 });
const scope = feed.scope("governance");
const golden = goldenScope("governance");
const signal = (): AbortSignal => new AbortController().signal;
let path: string;
beforeEach(() => {
  path = join(folder(onTestFinished), "audit.db");
});

async function opened(more: object = {}, own: SinkScope = golden): Promise<Sink> {
  const sink = makeSink(governanceKind, { path, durability: "normal", ...more });
  onTestFinished(() => sink.close());
  await sink.open(own, undefined);
  return sink;
}
type Row = Readonly<Record<string, string | number | null>>;
function query(sql: string, ...values: unknown[]): readonly Row[] {
  const db = new Database(path, { readonly: true });
  const rows = db.prepare(sql).all(...values) as Row[];
  db.close();
  return rows;
}
const RECORDS = "SELECT * FROM audit_record ORDER BY sequence, part";
const ITEMS = "SELECT item_id, status, owner, attempt FROM audit_item ORDER BY item_id";
/** The part of a record that is told from the events alone. */
const stateOf = (row: Row | undefined, when: "before" | "after"): unknown[] =>
  ["status", "owner", "attempt"].map((name) => row?.[`${when}_${name}`]);

test("after each frame the items that are remembered are those of the shard, with status, owner and attempt", async () => {
  const sink = await opened();
  const state = createState();
  let seen = 0;
  for (const { frame, batch } of goldenBatches(golden)) {
    await sink.apply(batch, signal());
    applyFrame(state, frame);
    const items = [...state.items.values()].map(({ itemId, status, lease, attempt }) => ({
      ...{ item_id: itemId, status, owner: lease?.peerId ?? null, attempt },
    }));
    seen += items.length;
    expect(query(ITEMS)).toEqual(items.sort((a, b) => (a.item_id < b.item_id ? -1 : 1)));
  }
  expect(seen).toBeGreaterThan(500);
});

test("each record begins where the one before it on the same item ended, and the last is how the item ended", async () => {
  const sink = await opened({ heartbeats: true });
  for (const { batch } of goldenBatches(golden)) await sink.apply(batch, signal());
  const last = new Map<unknown, Row>();
  const actions = new Set<unknown>();
  for (const row of query(RECORDS)) {
    actions.add(row["action"]);
    if (row["item_id"] === null) continue;
    const before = last.get(row["item_id"]);
    const wanted = before === undefined ? [null, null, null] : stateOf(before, "after");
    expect([row["sequence"], ...stateOf(row, "before")]).toEqual([row["sequence"], ...wanted]);
    last.set(row["item_id"], row);
  }
  const ends = [...last.values()].map((row) => row["after_status"]);
  for (const status of ["completed", "cancelled", "purged", "discarded", "deadLettered", "pending"])
    expect(ends).toContain(status);
  expect(actions.size).toBeGreaterThan(20);
  expect(actions).not.toContain("StateHash");
});

test("a record says who, what, when, why, and in which trace", async () => {
  const sink = await opened();
  const failures: ReplicationEvent[] = [];
  const configured: ReplicationEvent[] = [];
  for (const { batch } of goldenBatches(golden)) {
    failures.push(...batch.events.filter(({ eventType }) => eventType === "Failed"));
    configured.push(...batch.events.filter(({ eventType }) => eventType === "Configured"));
    await sink.apply(batch, signal());
  }
  const [failed] = failures;
  expect(query("SELECT * FROM audit_record WHERE action = 'Failed'")[0]).toMatchObject({
    ...{ sink: "governance", region: "local", shard: "default", log_id: "log-1", sequence: failed?.sequenceNumber },
    ...{ at: failed?.timestamp, principal: "worker", peer: failed?.ownerPeerId, item_id: failed?.itemId },
    ...{ resource_type: failed?.resourceType, resource_id: failed?.resourceId, code: "io.full", reason: "disk full" },
    ...{ before_status: "leased", before_owner: "worker--1", before_attempt: 1 },
    ...{ after_status: "pending", after_owner: null, after_attempt: 1, details: null },
  });
  const changes = query(
    "SELECT principal, details, item_id FROM audit_record WHERE action = 'Configured' ORDER BY sequence",
  );
  expect(changes.map(({ details }) => JSON.parse(String(details)))).toEqual(configured.map(({ details }) => details));
  expect(changes[0]).toMatchObject({ principal: "operator", item_id: null });
  expect(query("SELECT DISTINCT trace FROM audit_record WHERE trace IS NOT NULL")).not.toEqual([]);
});

test("everything that comes again after a seek to the beginning finds its records as they are", async () => {
  const sink = await opened();
  const batches = [...goldenBatches(golden)].map(({ batch }) => batch);
  for (const batch of batches) await sink.apply(batch, signal());
  const [records, items] = [query(RECORDS), query(ITEMS)];
  for (const back of [0, 40]) {
    const [first] = batches.slice(back);
    if (first !== undefined) await sink.seek?.(first.after);
    for (const batch of batches.slice(back)) await sink.apply(batch, signal());
    expect(query(RECORDS)).toEqual(records);
    expect(query(ITEMS).map(({ item_id }) => item_id)).toEqual(items.map(({ item_id }) => item_id));
  }
});

test("records that were not made before are made as if they always had been, when all events come again", async () => {
  const sink = await opened();
  const batches = [...goldenBatches(golden)].map(({ batch }) => batch);
  for (const batch of batches) await sink.apply(batch, signal());
  const without = query(RECORDS);
  await sink.close();
  const wider = await opened({ heartbeats: true });
  const [first] = batches;
  if (first !== undefined) await wider.seek?.(first.after);
  for (const batch of batches) await wider.apply(batch, signal());
  const beats = query("SELECT * FROM audit_record WHERE action = 'Heartbeat'");
  expect(beats.length).toBeGreaterThan(0);
  for (const beat of beats) expect(stateOf(beat, "before")).toEqual(stateOf(beat, "after"));
  expect(beats.every((beat) => beat["before_attempt"] !== null && beat["resource_id"] !== null)).toBe(true);
  expect(query("SELECT * FROM audit_record WHERE action <> 'Heartbeat' ORDER BY sequence, part")).toEqual(without);
});

test("where events are left out, what was before is told only as far as the event itself says it", async () => {
  const sink = await opened();
  const batches = [...goldenBatches(golden)].map(({ batch }) => batch);
  const isFailure = ({ eventType }: ReplicationEvent): boolean => eventType === "Failed";
  const at = batches.findIndex(({ events }) => events.some(isFailure));
  const batch = batches[at];
  if (batch === undefined) throw new Error("the golden log has a failure");
  for (const early of batches.slice(0, 3)) await sink.apply(early, signal());
  await sink.seek?.(batch.after);
  expect(query(ITEMS)).toEqual([]);
  await sink.apply(batch, signal());
  const [row] = query("SELECT * FROM audit_record WHERE action = 'Failed'");
  expect(stateOf(row, "before")).toEqual(["leased", batch.events.find(isFailure)?.ownerPeerId, null]);
  expect(stateOf(row, "after")).toEqual(["pending", null, null]);
});

test("hostile texts stand in the table as they were", async () => {
  const many = new EventFeed({ seed: 14, count: 300 });
  const sink = await opened({}, many.scope("governance"));
  await sink.apply(many.batch(many.scope("governance"), 0, many.lastSequence), signal());
  const byReason = (event: ReplicationEvent): boolean => event.eventType === "Failed";
  const wanted = many.events.filter(byReason).map(({ resourceId, error }) => [resourceId, error?.message]);
  expect(wanted.length).toBeGreaterThan(10);
  const rows = query("SELECT resource_id, reason FROM audit_record WHERE action = 'Failed' ORDER BY sequence");
  expect(rows.map((row) => [row["resource_id"], row["reason"]])).toEqual(wanted);
});

test("the memory of items is bounded, also where a filter lets no end of an item through", async () => {
  const many = new EventFeed({ seed: 13, count: 6_000, bodyLength: 1 });
  const own = many.scope("governance");
  const sink = await opened({ itemsMax: 1_000 }, own);
  let sizes = 0;
  for (let after = 0; after < 6_000; after += 500) {
    const batch = many.batch(own, after, after + 500);
    await sink.apply({ ...batch, events: batch.events.filter(({ eventType }) => eventType === "Enqueue") }, signal());
    const [row] = query("SELECT count(*) AS count, max(sequence) AS newest FROM audit_item");
    sizes = Math.max(sizes, Number(row?.["count"]));
    expect(Number(row?.["newest"])).toBeGreaterThan(after);
  }
  expect(sizes).toBeGreaterThanOrEqual(900);
  expect(sizes).toBeLessThanOrEqual(1_000);
});

test("refuses a file that cannot be, and options that are none", async () => {
  const sink = makeSink(governanceKind, { path: "/not/there/audit.db" });
  expect(outcomeOf(await refusalOf(sink.open(scope, undefined)))).toEqual(["store_unusable", true]);
  expect(optionProblemsOf(governanceKind, { path: "x", itemsMax: 1 }).join()).toContain("itemsMax");
  expect(optionProblemsOf(governanceKind, { paths: "x" })).toHaveLength(2);
});

sinkConformance({ describe, test }, "governance", async () => {
  const disposals: (() => Promise<void>)[] = [];
  path = join(
    folder((dispose) => void disposals.push(dispose)),
    "audit.db",
  );
  const sinks: Sink[] = [];
  return {
    scope,
    guarantee: governanceKind.guarantee,
    isFenced: true,
    wants: ({ eventType }) => eventType !== "StateHash",
    make: () => {
      const sink = makeSink(governanceKind, { path, durability: "normal", heartbeats: true });
      sinks.push(sink);
      return sink;
    },
    delivered: async () => query(RECORDS).map(({ sequence }) => ({ sequenceNumber: Number(sequence) })),
    crash: async (sink) => sink.close(),
    close: async () => {
      for (const sink of sinks) await sink.close();
      for (const dispose of disposals) await dispose();
    },
  };
});
