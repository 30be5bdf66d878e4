/** The SQLite sink against the suite of all sinks, and what its file promises. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import Sqlite from "better-sqlite3";
import { beforeEach, describe, expect, test } from "vitest";
import type { Sink, SinkScope } from "../../services/replication/sink.ts";
import { sqliteKind } from "../../services/replication/sinks/sqlite-sink.ts";
import { FakeClock } from "../../services/testing/fake-clock.ts";
import { EventFeed, sinkConformance } from "../../services/testing/mod.ts";
import { SCOPE, SqliteBed, sqliteSubject } from "./sqlite-subject.ts";

sinkConformance({ describe, test }, "SqliteSink", sqliteSubject);

const SEED = 5;
const feed = new EventFeed({ seed: SEED, logId: SCOPE.logId, count: 200 });
const { signal } = new AbortController();
const bring = (sink: Sink, after: number, upTo: number, scope: SinkScope = SCOPE): Promise<void> =>
  sink.apply(feed.batch(scope, after, upTo), signal);
const range = (first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index);

let bed: SqliteBed;
beforeEach(async ({ onTestFinished }) => {
  bed = await SqliteBed.make();
  onTestFinished(() => bed.close());
});

test("a row says in columns what the event says, character by character", async () => {
  const sink = bed.sink();
  await sink.open(SCOPE, undefined);
  await bring(sink, 0, 200);
  const rows = bed.rows();
  expect(rows).toHaveLength(200);
  for (const [index, row] of rows.entries()) {
    const event = feed.events[index];
    expect(JSON.parse(row.event)).toEqual(event);
    expect(row).toEqual({
      ...{ region: "eu", shard: "orders", sequence: index + 1, timestamp: event?.timestamp },
      ...{ event_type: event?.eventType, item_id: event?.itemId ?? null, resource_type: event?.resourceType ?? null },
      ...{ resource_id: event?.resourceId ?? null, owner_peer_id: event?.ownerPeerId ?? null },
      ...{ ownership_token: event?.ownershipToken ?? null, event: row.event },
    });
  }
  expect(bed.other.pragma("integrity_check", { simple: true })).toBe("ok");
});

test("shards, and sinks with tables of their own, share a file without touching each other", async () => {
  const other = { ...SCOPE, shard: "returns" };
  const audit = { ...SCOPE, sink: "audit" };
  const [one, two, named] = [bed.sink(), bed.sink(), bed.sink({ table: "audit" })];
  await one.open(SCOPE, undefined);
  await two.open(other, undefined);
  await named.open(audit, undefined);
  for (let after = 0; after < 60; after += 20) {
    await bring(one, after, after + 20);
    await bring(two, after, after + 20, other);
  }
  await bring(named, 0, 7, audit);
  expect([bed.sequences("orders"), bed.sequences("returns")]).toEqual([range(1, 60), range(1, 60)]);
  expect(bed.rows("audit").map(({ sequence }) => sequence)).toEqual(range(1, 7));
  await one.close();
  expect(await bed.sink().open(SCOPE, undefined)).toEqual(feed.place(60));
  expect(await bed.sink({ table: "audit" }).open(audit, undefined)).toEqual(feed.place(7));
});

test("an error in the middle of a batch leaves nothing of it, and the same batch is taken later", async () => {
  const sink = bed.sink();
  await sink.open(SCOPE, undefined);
  await bring(sink, 0, 10);
  bed.other.exec(
    "CREATE TRIGGER full BEFORE INSERT ON events WHEN NEW.sequence = 15 BEGIN SELECT RAISE(FAIL, 'no'); END",
  );
  await expect(bring(sink, 10, 20)).rejects.toThrow("no");
  expect(bed.sequences()).toEqual(range(1, 10));
  bed.other.exec("DROP TRIGGER full");
  await bring(sink, 10, 20);
  expect(bed.sequences()).toEqual(range(1, 20));
});

test("events that come again after a seek fill what was left out and stand once", async () => {
  const sink = bed.sink();
  await sink.open(SCOPE, undefined);
  await bring(sink, 0, 10);
  await sink.seek(feed.place(20));
  await bring(sink, 20, 30);
  await sink.seek(feed.place(5));
  bed.other.exec("UPDATE events SET event = '{}' WHERE sequence = 7");
  await bring(sink, 5, 25);
  expect(bed.sequences()).toEqual(range(1, 30));
  expect(JSON.parse(bed.rows()[6]?.event ?? "")).toEqual(feed.events[6]);
});

describe("retention", () => {
  test("keeps the newest events, and gets rid of a backlog in bounded steps", async () => {
    const first = bed.sink();
    await first.open(SCOPE, undefined);
    const many = new EventFeed({ seed: SEED, logId: SCOPE.logId, count: 3_000, bodyLength: 1 });
    await first.apply(many.batch(SCOPE, 0, 2_000), signal);
    await first.close();
    const sink = bed.sink({ keepEvents: 100 });
    await sink.open(SCOPE, undefined);
    await sink.apply(many.batch(SCOPE, 2_000, 2_010), signal);
    // 500, and twice the batch: not all at once.
    expect(bed.sequences()).toEqual(range(521, 2_010));
    for (let after = 2_010; after < 2_110; after += 10) await sink.apply(many.batch(SCOPE, after, after + 10), signal);
    expect(bed.sequences()).toEqual(range(2_011, 2_110));
  });

  test("keeps what is younger than the days, and another shard's events", async () => {
    const clock = new FakeClock(Date.UTC(2026, 0, 10));
    const daily = new EventFeed({ seed: SEED, logId: SCOPE.logId, stepMs: 6 * 60 * 60 * 1_000 });
    const other = { ...SCOPE, shard: "returns" };
    const [keeper, sink] = [bed.sink({}, clock), bed.sink({ keepDays: 3 }, clock)];
    await keeper.open(other, undefined);
    await keeper.apply(daily.batch(other, 0, 60), signal);
    await sink.open(SCOPE, undefined);
    await sink.apply(daily.batch(SCOPE, 0, 60), signal);
    const kept = bed.rows().filter(({ shard }) => shard === SCOPE.shard);
    const wanted = daily.events.slice(0, 60).filter(({ timestamp }) => timestamp >= "2026-01-07T00:00:00.000Z");
    expect(kept.map(({ sequence }) => sequence)).toEqual(wanted.map(({ sequenceNumber }) => sequenceNumber));
    expect(wanted.length).toBeGreaterThan(5);
    expect(wanted.length).toBeLessThan(55);
    expect(bed.sequences("returns")).toEqual(range(1, 60));
  });

  test("leaves the place alone when it takes everything", async () => {
    const sink = bed.sink({ keepDays: 1 }, new FakeClock(Date.UTC(2030, 0, 1)));
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 50);
    expect(bed.sequences()).toEqual([]);
    await sink.close();
    expect(await bed.sink().open(SCOPE, undefined)).toEqual(feed.place(50));
  });
});

describe("a file", () => {
  test("that has another log's events of the shard is refused to any sink", async () => {
    const sink = bed.sink();
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 5);
    const stranger = { ...SCOPE, sink: "another", logId: "another-log" };
    await expect(bed.sink().open(stranger, undefined)).rejects.toMatchObject({
      code: "sink_foreign_log",
      definite: true,
    });
    await bed.sink({ table: "another" }).open(stranger, undefined);
    expect(bed.sequences()).toEqual(range(1, 5));
  });

  test("whose table belongs to somebody else, or to a newer release, is refused and left as it is", async () => {
    const sink = bed.sink();
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 5);
    await sink.close();
    bed.other.exec("CREATE TABLE theirs (x)");
    await expect(bed.sink({ table: "theirs" }).open(SCOPE, undefined)).rejects.toMatchObject({
      code: "store_foreign",
      definite: true,
    });
    bed.other.exec("UPDATE replication_layout SET user_version = 99");
    await expect(bed.sink().open(SCOPE, undefined)).rejects.toMatchObject({ code: "store_newer", definite: true });
    expect(bed.sequences()).toEqual(range(1, 5));
  });

  test("that is no database, is another application's, or cannot be made is refused", async () => {
    const text = join(bed.root, "text.db");
    await writeFile(text, "this is no database, and long enough not to be taken for the beginning of one");
    await expect(bed.sink({ path: text }).open(SCOPE, undefined)).rejects.toMatchObject({ code: "store_corrupt" });
    const theirs = join(bed.root, "theirs.db");
    new Sqlite(theirs).exec("CREATE TABLE a (b)").close();
    await expect(bed.sink({ path: theirs }).open(SCOPE, undefined)).rejects.toMatchObject({ code: "store_foreign" });
    const beside = bed.sink({ path: join(text, "events.db") });
    await expect(beside.open(SCOPE, undefined)).rejects.toMatchObject({ code: "store_unusable", definite: true });
    const below = bed.sink({ path: join(text, "folder", "events.db") });
    await expect(below.open(SCOPE, undefined)).rejects.toMatchObject({ code: "sink_unusable", definite: true });
  });

  test("that another process is writing to is tried again: nothing is lost by it", async () => {
    const sink = bed.sink();
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 5);
    bed.other.exec("BEGIN IMMEDIATE");
    await expect(bring(sink, 5, 10)).rejects.toMatchObject({ code: "store_busy", definite: false });
    await expect(bed.sink().open(SCOPE, undefined)).rejects.toMatchObject({ code: "store_busy", definite: false });
    bed.other.exec("ROLLBACK");
    await bring(sink, 5, 10);
    expect(bed.sequences()).toEqual(range(1, 10));
  });
});

test("options have defaults, and all that is wrong is told at once", () => {
  const { options } = sqliteKind;
  const defaults = { table: "events", durability: "full", keepEvents: 0, keepDays: 0, busyMs: 250 };
  expect(options.parse({ path: "x" })).toEqual({ path: "x", ...defaults });
  const problems = options.safeParse({ path: "", table: 'a"; DROP', durability: "none", keepEvents: -1, extra: 1 });
  expect(problems.error?.issues.map(({ path }) => path.join("."))).toEqual([
    "path",
    "table",
    "durability",
    "keepEvents",
    "",
  ]);
  for (const table of ["sqlite_master", "sink_place", "replication_layout", "Event", "1a", "", "a".repeat(64)])
    expect(options.safeParse({ path: "x", table }).success, table).toBe(false);
});
