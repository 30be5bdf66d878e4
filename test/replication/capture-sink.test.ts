/** Deterministic capture: each event once under its effect id, and never another one in its place. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import { SqliteDeterministicStore } from "../../services/persistence/mod.ts";
import type { Sink, SinkScope } from "../../services/replication/sink.ts";
import { captureKind } from "../../services/replication/sinks/capture-sink.ts";
import { EventFeed, sinkConformance } from "../../services/testing/mod.ts";
import { deliveredEvent, folder, makeSink, optionProblemsOf, outcomeOf, refusalOf } from "./outside-bed.ts";

const feed = new EventFeed({ seed: 8, count: 60 });
const scope = feed.scope("capture");
const signal = (): AbortSignal => new AbortController().signal;
let path: string;
beforeEach(() => {
  path = join(folder(onTestFinished), "effects.db");
});

async function opened(more: object = {}, own: SinkScope = scope): Promise<Sink> {
  const sink = makeSink(captureKind, { path, durability: "normal", ...more });
  onTestFinished(() => sink.close());
  await sink.open(own, undefined);
  return sink;
}
interface Row {
  readonly effect_id: string;
  readonly body: string;
  readonly recorded_at_ms: number;
}
function rowsOf(file: string): readonly Row[] {
  const db = new Database(file, { readonly: true });
  const rows = db.prepare<[], Row>("SELECT * FROM effect_record ORDER BY rowid").all();
  db.close();
  return rows;
}
const bring = (sink: Sink, after: number, upTo: number): Promise<void> =>
  sink.apply(feed.batch(scope, after, upTo), signal());

test("each event is kept as it was, under its own effect id, at its log time", async () => {
  await bring(await opened(), 0, 60);
  const rows = rowsOf(path);
  expect(rows.map((row) => row.effect_id)).toEqual(
    feed.events.slice(0, 60).map((event) => event.deterministic.effectId),
  );
  expect(rows.map(({ body }) => JSON.parse(body))).toEqual(JSON.parse(JSON.stringify(feed.events.slice(0, 60))));
  expect(rows.map((row) => new Date(row.recorded_at_ms).toISOString())).toEqual(
    feed.events.slice(0, 60).map(({ timestamp }) => timestamp),
  );
});

test("effect ids by resource hold the resource, however hostile it is, and stay apart", async () => {
  await bring(await opened({ effectIds: "resource", changeId: "billing-2026" }), 0, 60);
  const rows = rowsOf(path);
  expect(rows.map((row) => row.effect_id)).toEqual(
    feed.events
      .slice(0, 60)
      .map(({ resourceId, sequenceNumber }) =>
        resourceId === undefined
          ? `billing-2026/seq/${sequenceNumber}`
          : `billing-2026/resource/${resourceId}/seq/${sequenceNumber}`,
      ),
  );
  const store = SqliteDeterministicStore.open(path);
  onTestFinished(() => store.close());
  for (const { effect_id, body } of rows) expect(store.get(effect_id)?.body).toBe(body);
});

test("another event under the same id is refused, and what is kept stays; nothing of its batch is kept", async () => {
  const sink = await opened();
  await bring(sink, 0, 10);
  const batch = feed.batch(scope, 5, 20);
  const changed = batch.events.map((event) => (event.sequenceNumber === 8 ? { ...event, itemId: "another" } : event));
  const error = await refusalOf(sink.apply({ ...batch, events: changed as ReplicationEvent[] }, signal()));
  expect([...outcomeOf(error), error.details]).toEqual([
    "effect_conflict",
    true,
    { ...scope, effectId: `${feed.logId}/seq/8`, sequence: 8 },
  ]);
  expect(rowsOf(path)).toHaveLength(10);
  await bring(sink, 5, 20);
  expect(rowsOf(path).map(({ body }) => JSON.parse(body).itemId)).toEqual(
    feed.events.slice(0, 20).map(({ itemId }) => itemId),
  );
});

test("the same event in another order of fields is the same", async () => {
  const sink = await opened();
  const batch = feed.batch(scope, 0, 4);
  await sink.apply(batch, signal());
  const turned = batch.events.map(
    (event) => Object.fromEntries(Object.entries(event).reverse()) as unknown as ReplicationEvent,
  );
  await sink.apply({ ...batch, events: turned }, signal());
  expect(rowsOf(path)).toHaveLength(4);
});

test("two logs in one file need change ids of their own", async () => {
  await bring(await opened({ changeId: "one" }), 0, 10);
  const other = new EventFeed({ seed: 9, count: 20, logId: "other", shard: "other" });
  const own = other.scope("capture");
  const clash = await opened({ changeId: "one" }, own);
  expect(outcomeOf(await refusalOf(clash.apply(other.batch(own, 0, 10), signal())))).toEqual(["effect_conflict", true]);
  await (await opened({ changeId: "two" }, own)).apply(other.batch(own, 0, 10), signal());
  expect(rowsOf(path)).toHaveLength(20);
});

test("a file that is not there, or not ours, is told", async () => {
  for (const [file, code] of [
    ["/not/there/effects.db", "store_unusable"],
    [import.meta.filename, "store_corrupt"],
  ]) {
    const sink = makeSink(captureKind, { path: file });
    expect(outcomeOf(await refusalOf(sink.open(scope, undefined)))).toEqual([code, true]);
    await sink.close();
  }
  expect(optionProblemsOf(captureKind, {}).join()).toContain("path");
  expect(optionProblemsOf(captureKind, { path: "x", effectIds: "own" }).join()).toContain("effectIds");
  expect(optionProblemsOf(captureKind, { path: "x", changeId: "\ud800" }).join()).toContain("well-formed");
});

describe("the deterministic state store", () => {
  const record = (body: string) => ({ kind: "test", version: 1, body, recordedAtMs: 5 });
  function store(): SqliteDeterministicStore {
    const one = SqliteDeterministicStore.open(path, { durability: "normal" });
    onTestFinished(() => one.close());
    return one;
  }

  test("remembers the first of those that try to add, and the last of those that set", () => {
    const [one, two] = [store(), store()];
    expect([one.tryAdd("a", record("1")), two.tryAdd("a", record("2")), two.get("a")]).toEqual([
      true,
      false,
      record("1"),
    ]);
    two.set("a", record("3"));
    one.set("b", record("4"));
    expect([one.get("a"), two.get("b"), one.get("c")]).toEqual([record("3"), record("4"), undefined]);
  });

  test("takes any text as an id and as a body, and tells ids apart by every character", () => {
    const one = store();
    const ids = ["a", "A", "a\u0000", "a\u0000b", "'; DROP TABLE effect_record; --", "\u00e9", "e\u0301", "%", "_"];
    for (const id of ids) expect(one.tryAdd(id, record(`${id}\u0000 body`))).toBe(true);
    for (const id of ids) expect(one.get(id)).toEqual(record(`${id}\u0000 body`));
  });

  test("refuses an id that is empty or too long", () => {
    const one = store();
    for (const id of ["", "x".repeat(1_025)])
      expect(() => one.tryAdd(id, record(""))).toThrow(
        expect.objectContaining({ code: "effect_id_invalid", definite: true }),
      );
  });
});

sinkConformance({ describe, test }, "capture", async () => {
  const disposals: (() => Promise<void>)[] = [];
  const file = join(
    folder((dispose) => void disposals.push(dispose)),
    "effects.db",
  );
  const sinks: Sink[] = [];
  return {
    scope,
    guarantee: captureKind.guarantee,
    isFenced: true,
    make: () => {
      const sink = makeSink(captureKind, { path: file, durability: "normal" });
      sinks.push(sink);
      return sink;
    },
    delivered: async () => rowsOf(file).map(({ body }) => deliveredEvent(JSON.parse(body))),
    crash: async (sink) => sink.close(),
    close: async () => {
      for (const sink of sinks) await sink.close();
      for (const dispose of disposals) await dispose();
    },
  };
});
