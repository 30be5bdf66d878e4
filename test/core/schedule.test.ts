/** Schedules: what is put, listed and deleted, what their ticks make, and what becomes of the ticks that were missed. */
import { describe, expect, test } from "vitest";
import type { RequestInput } from "../../contracts/commands.ts";
import { FRAME_BYTES_MAX, SCHEDULES_MAX } from "../../contracts/limits.ts";
import { assertInvariants, canonicalState } from "../../services/core/canonical.ts";
import { DumpLines } from "../../services/core/dump-lines.ts";
import { dumpText } from "../../services/core/dump-text.ts";
import { stateHash } from "../../services/core/hash.ts";
import { writeTicks } from "../../services/core/schedule-ticks.ts";
import { SnapshotCut } from "../../services/core/snapshot-cut.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import type { ShardState } from "../../services/core/state.ts";
import { nextTick } from "../../services/runtime/cron.ts";
import { type AnyReply, ShardWorld } from "./shard-world.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** 2030-01-01, a Tuesday, 08:00:30 in UTC. */
const START = Date.UTC(2030, 0, 1, 8, 0, 30);
const report = { resourceType: "report", resourceId: "daily" } as const;
const EVERY_MINUTE = { name: "minutely", cron: "* * * * *", item: report } as const;

function snapshotText(state: ShardState, rows = 3): string {
  const cut = new SnapshotCut(state);
  let text = "";
  for (let part = cut.next(rows); part !== undefined; part = cut.next(rows)) text += part;
  return text;
}

function loaded(text: string): ShardState {
  const loader = new SnapshotLoader();
  loader.add(text);
  return loader.finish();
}

/** A world whose state is checked, folded anew, and read back from a snapshot, after each step. */
class ScheduleWorld extends ShardWorld {
  isChecked = true;

  constructor(options: ConstructorParameters<typeof ShardWorld>[0] = {}) {
    super({ at: START, ...options });
  }

  override frame<Result>(body: Parameters<ShardWorld["frame"]>[0]): Result {
    const result = super.frame(body) as Result;
    if (this.isChecked !== true) return result;
    assertInvariants(this.state);
    const lines = [...canonicalState(this.state)];
    for (const copy of [this.fold(), loaded(snapshotText(this.state))]) {
      assertInvariants(copy);
      expect([...canonicalState(copy)]).toEqual(lines);
      expect(stateHash(copy)).toBe(stateHash(this.state));
    }
    return result;
  }

  put(spec: RequestInput<"schedule-put">, principal = "planner"): AnyReply {
    return this.send("schedule-put", spec, { principal, nextTick });
  }

  /** The leader's turn at a time; the ids that it made. */
  turn(at: number, bytesLeft = FRAME_BYTES_MAX): string[] {
    this.at = at;
    const before = this.frames.length;
    this.frame((sink) => writeTicks(this.state, at, bytesLeft, nextTick, sink));
    const events = this.frames.slice(before).flatMap((frame) => frame.events);
    return events.flatMap((event) => (event.type === "enqueued" ? [event.itemId] : []));
  }

  ticksOf(ids: readonly string[]): unknown[] {
    if (ids.length === 0) return [];
    const items = this.send("get", { itemIds: [...ids] })["results"] as { schedule?: unknown }[];
    return items.map(({ schedule }) => schedule);
  }

  nextOf(name: string): number | undefined {
    return this.state.schedules.byName.get(name)?.next;
  }

  list(): AnyReply[] {
    return this.send("schedule-list", {})["schedules"];
  }
}

const issuePath = (reply: AnyReply): unknown => {
  const issues = reply.error?.details?.["issues"] as { path: string }[] | undefined;
  return issues?.[0]?.path;
};

describe("put, list and delete", () => {
  test("a schedule is put once: the same again changes nothing, another spec or another principal does", () => {
    const world = new ScheduleWorld();
    const first = world.put(EVERY_MINUTE);
    expect(first).toMatchObject({ name: "minutely", next: START + 30_000, duplicate: false });
    const { sequence } = world.state;
    expect(world.put({ ...EVERY_MINUTE, timeZone: "UTC", catchUp: "last", paused: false })).toMatchObject({
      next: START + 30_000,
      duplicate: true,
    });
    expect(world.last?.confirm).toBe(true);
    expect(world.state.sequence).toBe(sequence);
    expect(world.put({ ...EVERY_MINUTE, item: { ...report, body: "2" } })["duplicate"]).toBe(false);
    expect(world.put({ ...EVERY_MINUTE, item: { ...report, body: "2" } }, "other")["duplicate"]).toBe(false);
    expect(world.list()).toEqual([
      {
        ...{ name: "minutely", cron: "* * * * *", timeZone: "UTC", catchUp: "last", paused: false },
        ...{ next: START + 30_000, item: { ...report, body: "2" }, putBy: "other" },
      },
    ]);
  });

  test("a change of the item alone loses no tick that is due, one of the cron counts from now", () => {
    const world = new ScheduleWorld();
    world.put(EVERY_MINUTE);
    world.at = START + 31_000;
    expect(world.put({ ...EVERY_MINUTE, item: { ...report, priority: 1 } })["next"]).toBe(START + 30_000);
    expect(world.put({ ...EVERY_MINUTE, cron: "*/2 * * * *" })["next"]).toBe(Date.UTC(2030, 0, 1, 8, 2));
  });

  test("a paused schedule does not tick, and goes on from when it is put again", () => {
    const world = new ScheduleWorld();
    world.put(EVERY_MINUTE);
    expect(world.put({ ...EVERY_MINUTE, paused: true })["next"]).toBeUndefined();
    expect(world.put({ ...EVERY_MINUTE, paused: true })["duplicate"]).toBe(true);
    expect(world.turn(START + HOUR)).toEqual([]);
    expect(world.put(EVERY_MINUTE)["next"]).toBe(START + HOUR + 30_000);
  });

  test("a deleted schedule ticks no more, and deleting it again changes nothing", () => {
    const world = new ScheduleWorld();
    world.put(EVERY_MINUTE);
    expect(world.send("schedule-delete", { name: "minutely" })["deleted"]).toBe(true);
    expect(world.send("schedule-delete", { name: "minutely" })["deleted"]).toBe(false);
    expect(world.last?.confirm).toBe(true);
    expect(world.turn(START + HOUR)).toEqual([]);
    expect(world.list()).toEqual([]);
  });

  test("pages go on behind the last name, and end where a reply would be too long", () => {
    const world = new ScheduleWorld({ options: { itemBytesMax: 512 * 1024 } });
    world.isChecked = false;
    const body = "x".repeat(300 * 1024);
    for (const name of ["d", "b", "a", "c", "é"]) world.put({ ...EVERY_MINUTE, name, item: { ...report, body } });
    const names: string[][] = [];
    for (let cursor: string | undefined = ""; cursor !== undefined; ) {
      const page: AnyReply = world.send("schedule-list", { limit: 3, ...(cursor === "" ? {} : { cursor }) });
      expect(JSON.stringify(page).length).toBeLessThan(FRAME_BYTES_MAX);
      names.push(page["schedules"].map(({ name }: { name: string }) => name));
      cursor = page["cursor"];
    }
    expect(names).toEqual([["a", "b"], ["c", "d"], ["é"]]);
  });
});

describe("refusals", () => {
  test.each([
    ["cron", { cron: "0 0 30 2 *" }],
    ["cron", { cron: "61 * * * *" }],
    ["cron", { cron: "* * * *" }],
    ["cron", { cron: "0 0 1 1 * 5 2030" }],
    ["cron", { cron: "@reboot" }],
    ["timeZone", { timeZone: "Mars/Olympus" }],
    ["leaseDurationMs", { item: { ...report, leaseDurationMs: 3_600_000 } }],
  ])("refuses a bad %s by its name: %j", (path, change) => {
    const world = new ScheduleWorld({ options: { leaseDurationMsMax: 60_000 } });
    const reply = world.put({ ...EVERY_MINUTE, ...change });
    expect([reply.error?.code, issuePath(reply)]).toEqual(["invalid_argument", path]);
    expect(world.state.schedules.size).toBe(0);
  });

  test("refuses a log of state version 1, a body above the shard's limit, and a log near its byte limit", () => {
    const world = new ScheduleWorld({ options: { itemBytesMax: 10 } });
    const long = { ...EVERY_MINUTE, item: { ...report, body: "x".repeat(20) } };
    expect(world.put(long).error?.code).toBe("payload_too_large");
    const near = world.send("schedule-put", EVERY_MINUTE, { nextTick, logPressure: "high" });
    expect(near.error?.code).toBe("backpressure");
    const full = world.send("schedule-put", EVERY_MINUTE, { nextTick, frameBytesLeft: 100 });
    expect(full.error?.code).toBe("unavailable");
    world.state.logVersion = 1;
    world.isChecked = false;
    expect(world.put(EVERY_MINUTE).error?.code).toBe("unsupported_version");
  });

  test("takes no more schedules than a shard may have, but other ones in their places", () => {
    const world = new ScheduleWorld();
    world.isChecked = false;
    for (let index = 0; index < SCHEDULES_MAX; index += 1) world.put({ ...EVERY_MINUTE, name: `s${index}` });
    expect(world.put(EVERY_MINUTE).error?.code).toBe("resource_exhausted");
    expect(world.put({ ...EVERY_MINUTE, name: "s7", catchUp: "all" })["duplicate"]).toBe(false);
    world.isChecked = true;
    world.send("schedule-delete", { name: "s8" });
    expect(world.put(EVERY_MINUTE)["duplicate"]).toBe(false);
  });
});

describe("ticks", () => {
  test("one tick makes one item, in the name of who put the schedule, and moves the schedule in the same event", () => {
    const world = new ScheduleWorld();
    world.put({ ...EVERY_MINUTE, item: { ...report, body: "{}", priority: 3 } });
    expect(world.turn(START + 29_999)).toEqual([]);
    const made = world.turn(START + 30_000);
    expect(world.turn(START + 30_000)).toEqual([]);
    expect(world.lastEvents()).toMatchObject([
      { type: "enqueued", schedule: { name: "minutely", tick: START + 30_000, next: START + 90_000 } },
    ]);
    const [item] = world.send("get", { itemIds: made })["results"];
    expect(item).toMatchObject({
      ...{ status: "pending", enqueuedBy: "planner", priority: 3, item: { body: "{}" } },
      schedule: { name: "minutely", tick: START + 30_000 },
    });
    const [lease] = world.send("lease", {})["leases"];
    expect(lease.itemId).toBe(made[0]);
  });

  test("ticks are not refused by backpressure, by a pause, or by a limit that was lowered since", () => {
    const world = new ScheduleWorld({ options: { pendingHigh: 1 } });
    world.put({ ...EVERY_MINUTE, item: { ...report, body: "long enough" } });
    world.seed(1);
    world.send("pause", {});
    world.send("configure", { options: { itemBytesMax: 1 } });
    expect(world.turn(START + MINUTE)).toHaveLength(1);
    expect(world.turn(START + 2 * MINUTE)).toHaveLength(1);
    expect(world.send("lease", {})["reason"]).toBe("paused");
  });

  test("a tick makes no item while an unfinished one has its unique key", () => {
    const world = new ScheduleWorld();
    world.put({ ...EVERY_MINUTE, item: { ...report, uniqueKey: "only" } });
    expect(world.turn(START + MINUTE)).toHaveLength(1);
    expect(world.turn(START + 2 * MINUTE)).toEqual([]);
    expect(world.lastEvents()).toEqual([
      { type: "tickSkipped", name: "minutely", tick: START + 90_000, next: START + 150_000, reason: "unique" },
    ]);
    world.send("complete", { leases: [world.take()] });
    expect(world.turn(START + 3 * MINUTE)).toHaveLength(1);
  });

  test("the oldest tick comes first, and what does not fit waits for the next turn", () => {
    const world = new ScheduleWorld();
    for (const [name, cron] of [
      ["b", "* * * * *"],
      ["a", "* * * * *"],
      ["early", "50 * * * * *"],
    ] as const)
      world.put({ name, cron, item: { ...report, body: "x".repeat(1_000) } });
    const names = (ids: readonly string[]) => (world.ticksOf(ids) as { name: string }[]).map(({ name }) => name);
    expect(names(world.turn(START + 30_000, 3_000))).toEqual(["early"]);
    expect(names(world.turn(START + 30_000))).toEqual(["b", "a"]);
  });

  test("a zone that the leader does not know stops the schedule, which shows; put again it goes on", () => {
    const world = new ScheduleWorld();
    world.put(EVERY_MINUTE);
    world.at = START + MINUTE;
    world.frame((sink) =>
      writeTicks(world.state, world.at, FRAME_BYTES_MAX, () => ({ path: "timeZone", message: "is not known" }), sink),
    );
    expect(world.state.pending).toBe(1);
    expect(world.list()).toMatchObject([{ name: "minutely", paused: false }]);
    expect(world.nextOf("minutely")).toBeUndefined();
    expect(world.put(EVERY_MINUTE)).toMatchObject({ duplicate: false, next: START + 90_000 });
  });
});

describe("ticks that were missed", () => {
  const hourly = { name: "hourly", cron: "0 * * * *", item: report } as const;
  const NINE = Date.UTC(2030, 0, 1, 9);

  function missed(catchUp: "none" | "last" | "all", lateMs: number) {
    const world = new ScheduleWorld();
    world.put({ ...hourly, catchUp });
    const ids = world.turn(NINE + 5 * HOUR + lateMs);
    const ticks = (world.ticksOf(ids) as { tick: number }[]).map(({ tick }) => (tick - NINE) / HOUR);
    return { ticks, next: ((world.nextOf("hourly") ?? 0) - NINE) / HOUR };
  }

  test.each([
    ["all", 10 * MINUTE, [0, 1, 2, 3, 4, 5]],
    ["last", 10 * MINUTE, [5]],
    ["none", 10 * MINUTE, []],
    ["none", 30_000, [5]],
  ] as const)("%s, %d ms late: ticks %j", (catchUp, lateMs, ticks) => {
    expect(missed(catchUp, lateMs)).toEqual({ ticks, next: 6 });
  });

  test("many are caught up on some at a time, in order, with none left out", () => {
    const world = new ScheduleWorld();
    world.isChecked = false;
    world.put({ ...EVERY_MINUTE, catchUp: "all" });
    const ids: string[] = [];
    for (let made = world.turn(START + 250 * MINUTE); made.length > 0; made = world.turn(START + 250 * MINUTE)) {
      expect(made.length).toBeLessThanOrEqual(100);
      ids.push(...made);
    }
    const ticks = (world.ticksOf(ids) as { tick: number }[]).map(({ tick }) => tick);
    expect(ticks).toEqual(Array.from({ length: 250 }, (_, index) => START + 30_000 + index * MINUTE));
  });

  test.each([
    ["* * * * * *", 365 * 24 * HOUR],
    ["*/7 3 * * *", 10 * 24 * HOUR],
    ["0 0 29 2 *", 9 * 365 * 24 * HOUR],
    ["*/10 * 31 12 *", 365 * 24 * HOUR],
  ])("the newest of many ticks of %s is found by few questions", (cron, awayMs) => {
    const world = new ScheduleWorld();
    world.put({ name: "x", cron, item: report });
    let questions = 0;
    const counted: typeof nextTick = (...question) => {
      questions += 1;
      return nextTick(...question);
    };
    world.at = START + awayMs;
    world.frame((sink) => writeTicks(world.state, world.at, FRAME_BYTES_MAX, counted, sink));
    expect(questions).toBeLessThan(100);
    const [event] = world.lastEvents();
    if (event?.type !== "enqueued" || event.schedule === undefined) throw new Error("a tick");
    const { tick, next } = event.schedule;
    expect(tick).toBeLessThanOrEqual(world.at);
    expect(nextTick(cron, "UTC", tick - 1)).toBe(tick);
    expect(nextTick(cron, "UTC", tick)).toBe(next);
    expect(next).toBeGreaterThan(world.at);
  });
});

describe("snapshots", () => {
  test("a snapshot holds the schedules of its moment, however it is sliced and whatever happens meanwhile", () => {
    const world = new ScheduleWorld();
    for (const name of ["c", "a", "b"]) world.put({ ...EVERY_MINUTE, name, item: { ...report, uniqueKey: name } });
    world.turn(START + MINUTE);
    const whole = snapshotText(world.state, 1_000);
    const lines = [...canonicalState(world.state)];
    world.isChecked = false;
    const cut = new SnapshotCut(world.state);
    let text = cut.next(1) ?? "";
    world.turn(START + 2 * MINUTE);
    world.send("schedule-delete", { name: "b" });
    for (let part = cut.next(1); part !== undefined; part = cut.next(1)) text += part;
    expect(text).toBe(whole);
    expect([...canonicalState(loaded(text))]).toEqual(lines);
  });

  test("a dump of schedules reads as the state itself", () => {
    const world = new ScheduleWorld();
    world.put(EVERY_MINUTE);
    world.put({ ...EVERY_MINUTE, name: "other", paused: true, timeZone: "Europe/Berlin", catchUp: "all" });
    world.turn(START + MINUTE);
    const dump = new DumpLines();
    const lines = [...dumpText(world.state)].flatMap((text) => [...dump.add(text)]);
    dump.finish();
    expect(lines).toEqual([...canonicalState(world.state)]);
  });

  test.each([
    ["twice", (row: string) => `${row}\n${row}`],
    ["with another cron", (row: string) => row.replace("* * * * *", "1 * * * *")],
    ["with another tick", (row: string) => row.replace(`${START + 30_000}`, `${START + 90_000}`)],
    ["with an item that is none", (row: string) => row.replace('"resourceId"', '"resource"')],
    ["left out", () => ""],
  ])("a schedule %s is a damaged snapshot", (_what, change) => {
    const world = new ScheduleWorld();
    world.put(EVERY_MINUTE);
    const lines = snapshotText(world.state).trimEnd().split("\n");
    const index = lines.findIndex((line) => line.startsWith("[3,"));
    const changed = [...lines.slice(0, index), ...change(lines[index] ?? "").split("\n"), ...lines.slice(index + 1)];
    const text = changed.filter((line) => line !== "").join("\n");
    const count = changed.filter((line) => line !== "").length - 1;
    expect(() => loaded(`${text.replace(/"lines":\d+/, `"lines":${count}`)}\n`)).toThrow(/snapshot is damaged/);
  });
});

test("an item that is made anew from an export keeps the tick that made it", () => {
  const source = new ScheduleWorld();
  source.put(EVERY_MINUTE);
  const [itemId = ""] = source.turn(START + MINUTE);
  const tick = { name: "minutely", tick: START + 30_000 };
  source.send("drain", { drainId: "d" });
  const { drained } = source.send("list", { drainId: "d" });
  expect(drained).toMatchObject([{ itemId, enqueuedBy: "planner", schedule: tick }]);

  const target = new ScheduleWorld();
  const origin = { logId: "log-0", region: "local", shard: "other" };
  const [made] = target.send("restore", { drainId: "d", origin, items: drained })["results"];
  expect(target.send("get", { itemIds: [made.itemId] })["results"]).toMatchObject([{ schedule: tick }]);
  target.send("drain", { drainId: "again" });
  expect(target.send("list", { drainId: "again" })["drained"]).toMatchObject([{ schedule: tick }]);
});
