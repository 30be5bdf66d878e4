/** Schedules on a virtual clock: each tick once, whoever leads, and what becomes of the ticks that nobody led for. */
import { expect, test } from "vitest";
import type { RequestInput } from "../../contracts/commands.ts";
import type { LogEvent } from "../../contracts/events.ts";
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import { turnTimes } from "../../services/dispatcher/node/item-times.ts";
import type { OpenFrame } from "../../services/dispatcher/node/open-frame.ts";
import type { Upkeep } from "../../services/dispatcher/node/upkeep.ts";
import { nextTick } from "../../services/runtime/cron.ts";
import { type NodeUnit, NodeWorld } from "./node-world.ts";

const SECOND = 1_000;
const item = { resourceType: "report", resourceId: "r" } as const;

type Spec = Partial<RequestInput<"schedule-put">>;

/** The ticks of a schedule that stand in the log, in order, with the term that wrote each. */
function ticksOf(world: NodeWorld, name: string): { readonly tick: number; readonly term: number; at: number }[] {
  return world.frames().flatMap(({ events, term, at }) =>
    events.flatMap((event) => {
      const { schedule } = event.type === "enqueued" ? event : {};
      return schedule?.name === name ? [{ tick: schedule.tick, term, at }] : [];
    }),
  );
}

/** A shard that has a leader, and the present state version. */
function ledWorld(): { readonly world: NodeWorld; readonly leader: NodeUnit } {
  const world = new NodeWorld();
  const leader = world.leading(world.addNode("p0"));
  world.ask("configure", { logVersion: LOG_VERSION_MAX });
  return { world, leader };
}

function put(world: NodeWorld, name: string, spec: Spec): number {
  const reply = world.ask("schedule-put", { name, cron: "*/5 * * * * *", item, ...spec });
  if (reply.error !== undefined) throw new Error(JSON.stringify(reply.error));
  return (reply as unknown as { next: number }).next;
}

/** Every tick from the first one on, `count` of them. */
const everyFive = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, index) => first + index * 5 * SECOND);

test("a leader enqueues at each tick, soon behind it, and once", () => {
  const { world } = ledWorld();
  const first = put(world, "five", {});
  world.clock.advance(31 * SECOND);
  const ticks = ticksOf(world, "five");
  expect(ticks.map(({ tick }) => tick).slice(0, 6)).toEqual(everyFive(first, 6));
  for (const { tick, at } of ticks) expect(at - tick).toBeLessThanOrEqual(100);
  expect(world.ask("stats", {})).toMatchObject({ pending: ticks.length });
});

test("leaders that die between ticks, and at them, leave each tick enqueued once", () => {
  const led = ledWorld();
  const { world } = led;
  let { leader } = led;
  const first = put(world, "five", { catchUp: "all" });
  for (let round = 1; round <= 6; round += 1) {
    const next = world.addNode(`p${round}`);
    // At another place between two ticks each time.
    world.clock.advance(5 * SECOND + round * 830);
    world.kill(leader);
    leader = world.leading(next);
  }
  world.clock.advance(10 * SECOND);
  const ticks = ticksOf(world, "five");
  expect(ticks.map(({ tick }) => tick)).toEqual(everyFive(first, ticks.length));
  expect(ticks.length).toBeGreaterThan(8);
  expect(new Set(ticks.map(({ term }) => term)).size).toBeGreaterThan(5);
});

test.each(["lose_ack", "vanish"] as const)(
  "a tick whose append is unclear (%s) is enqueued once, by whoever leads",
  (kind) => {
    const { world, leader } = ledWorld();
    const standby = world.addNode("b");
    const first = put(world, "five", { catchUp: "all" });
    world.clock.until(() => ticksOf(world, "five").length === 1);
    world.clock.advance(4_500);
    leader.log.failNextAppend({ kind });
    world.clock.advance(600);
    world.kill(leader);
    world.leading(standby);
    world.clock.advance(6 * SECOND);
    const ticks = ticksOf(world, "five");
    expect(ticks.map(({ tick }) => tick)).toEqual(everyFive(first, ticks.length));
    expect(ticks.length).toBeGreaterThanOrEqual(3);
  },
);

test.each([
  ["none", []],
  ["last", [2]],
  ["all", [0, 1, 2]],
] as const)("ticks that nobody led for, caught up on %s: %j", (catchUp, expected) => {
  const { world, leader } = ledWorld();
  const first = put(world, "s", { catchUp, cron: "0 */2 * * * *" });
  world.kill(leader);
  // A minute and a half behind the third tick.
  world.clock.advance(first - world.fold().at + 330 * SECOND);
  world.leading(world.addNode("b"));
  world.clock.advance(300);
  expect(ticksOf(world, "s").map(({ tick }) => (tick - first) / (120 * SECOND))).toEqual(expected);
  expect(world.fold().schedules.byName.get("s")?.next).toBe(first + 360 * SECOND);
});

test("a paused shard enqueues its ticks and grants none of them", () => {
  const { world } = ledWorld();
  put(world, "five", {});
  world.ask("pause", {});
  world.clock.advance(11 * SECOND);
  expect(world.ask("stats", {})).toMatchObject({ pending: 2, active: 0, paused: true });
  expect(world.ask("lease", {})).toMatchObject({ leases: [], reason: "paused" });
});

test("a long poll that waits is granted the item of a tick", () => {
  const { world } = ledWorld();
  put(world, "five", {});
  const answers = world.send("lease", { waitMs: 20_000 });
  world.clock.advance(6 * SECOND);
  expect(answers[0]?.body).toMatchObject({ leases: [{ item: { resourceType: "report" } }] });
});

test("a log that is nearly full takes no ticks; they are caught up on when it is trimmed", () => {
  const { world } = ledWorld();
  const next = put(world, "five", { catchUp: "all" });
  const state = world.fold();
  const events: LogEvent[] = [];
  const sink = { actor: () => 0, push: (event: LogEvent) => void events.push(event) };
  const at = next + 12 * SECOND;
  const frame = Object.assign(Object.create(null), sink, { head: { at }, bytesLeft: 700_000 }) as OpenFrame;
  const turn = (level: "high" | "full"): number => {
    turnTimes({ state, nextTick, upkeep: { pressure: { level } } as Upkeep }, at, () => frame);
    return events.length;
  };
  expect([turn("full"), turn("high")]).toEqual([0, 3]);
});

test.each([
  ["cron", { cron: "0 0 30 2 *" }],
  ["timeZone", { timeZone: "Mars/Olympus" }],
])("a bad %s is refused by its name, and nothing is written", (path, spec) => {
  const { world } = ledWorld();
  const { sequence } = world.fold();
  const reply = world.ask("schedule-put", { name: "x", cron: "* * * * *", item, ...spec });
  expect(reply.error).toMatchObject({ code: "invalid_argument", details: { issues: [{ path }] } });
  expect(world.fold().sequence).toBe(sequence);
});
