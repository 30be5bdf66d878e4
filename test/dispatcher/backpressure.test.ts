/** What a leader tells of its backpressure: every change once, in order, by traffic and by time; and what a listener makes of it. */
import { expect, test } from "vitest";
import type { Backpressure } from "../../contracts/backpressure.ts";
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import type { ShardOptionsPatch } from "../../contracts/options.ts";
import { backpressureSubject } from "../../contracts/subjects.ts";
import { BackpressureListener } from "../../services/health/mod.ts";
import { MemoryNet } from "../../services/testing/memory-net.ts";
import { type NodeUnit, NodeWorld } from "./node-world.ts";

const encoder = new TextEncoder();

interface Listening {
  readonly world: NodeWorld;
  readonly leader: NodeUnit;
  readonly listener: BackpressureListener;
  readonly heard: Backpressure[];
  /** Enqueues one item; the code of its refusal. */
  readonly enqueue: () => string | undefined;
  /** Leases and completes so many items. */
  readonly drain: (count: number) => void;
}

function listening(options: ShardOptionsPatch): Listening {
  const world = new NodeWorld();
  const heard: Backpressure[] = [];
  const listener = new BackpressureListener({
    ...{ net: new MemoryNet(world.wire, world.clock), region: "local", shard: "default" },
    onSignal: (signal) => heard.push(signal),
  });
  const leader = world.leading(world.addNode("a"));
  world.ask("configure", { logVersion: LOG_VERSION_MAX });
  world.ask("configure", { options });
  const enqueue = (): string | undefined => {
    const body = world.ask("enqueue", { items: [{ resourceType: "t", resourceId: "r" }] });
    return (body as unknown as { results: { error?: { code: string } }[] }).results[0]?.error?.code;
  };
  const drain = (count: number): void => {
    const { leases } = world.ask("lease", { maxItems: count }) as unknown as {
      leases: { itemId: string; token: number }[];
    };
    world.ask("complete", { leases: leases.map(({ itemId, token }) => ({ itemId, token })) });
  };
  world.clock.advance(200);
  return { world, leader, listener, heard, enqueue, drain };
}

const storyOf = (heard: readonly Backpressure[]) => heard.map(({ term, active }) => `${term} ${active ? "on" : "off"}`);

test("a leader tells how it is when its term starts, and then each change once", () => {
  const { heard, world, enqueue, drain } = listening({ pendingHigh: 3, pendingLow: 1, backpressureCooldownMs: 100 });
  expect(storyOf(heard)).toEqual(["1 off"]);
  for (let index = 0; index < 3; index += 1) enqueue();
  expect(enqueue()).toBe("backpressure");
  expect(heard.at(-1)).toMatchObject({
    ...{ shard: "default", region: "local", leader: "a", term: 1, active: true },
    ...{ pending: 3, pendingHigh: 3, pendingLow: 1, bodyBytesHigh: 536_870_912, bodyBytesLow: 402_653_184 },
  });
  world.clock.advance(2_000);
  drain(1);
  expect(enqueue()).toBe("backpressure");
  drain(1);
  expect(enqueue()).toBeUndefined();
  enqueue();
  expect(enqueue()).toBe("backpressure");
  expect(storyOf(heard)).toEqual(["1 off", "1 on", "1 off", "1 on"]);
});

test("stats tell whether the shard is pressed, also once its cooldown is over without an event", () => {
  const { world, enqueue, drain } = listening({ pendingHigh: 2, pendingLow: 1, backpressureCooldownMs: 5_000 });
  const marks = { pendingLow: 1, bodyBytesLow: 402_653_184 };
  expect(world.ask("stats", {})).toMatchObject({ backpressure: { active: false, ...marks } });
  enqueue();
  enqueue();
  const pressed = world.ask("stats", {});
  expect(pressed).toMatchObject({ backpressure: { active: true, since: pressed["at"], ...marks } });
  drain(2);
  expect(world.ask("stats", {})).toMatchObject({ backpressure: { active: true } });
  world.clock.advance(5_200);
  expect((world.ask("stats", {}) as { backpressure?: object }).backpressure).toEqual({ active: false, ...marks });
});

test("a shard that falls silent lets go when its cooldown is over, without an event", () => {
  const { heard, world, enqueue, drain } = listening({ pendingHigh: 2, backpressureCooldownMs: 5_000 });
  enqueue();
  enqueue();
  drain(2);
  const { sequence } = world.fold();
  world.clock.advance(4_000);
  expect(heard.at(-1)?.active).toBe(true);
  world.clock.advance(1_200);
  expect(heard.at(-1)).toMatchObject({ active: false, pending: 0, sequence });
  expect((heard.at(-1)?.at ?? 0) - (heard.at(-2)?.since ?? 0)).toBeLessThan(5_200);
  expect(world.fold().sequence).toBe(sequence);
  expect(enqueue()).toBeUndefined();
});

test("a leader that takes over tells what it found, and goes on with the cooldown", () => {
  const { heard, world, leader, enqueue, drain } = listening({ pendingHigh: 2, backpressureCooldownMs: 60_000 });
  const standby = world.addNode("b");
  enqueue();
  enqueue();
  const since = heard.at(-1)?.since;
  drain(2);
  world.kill(leader);
  world.leading(standby);
  world.clock.advance(200);
  expect(heard.at(-1)).toMatchObject({ leader: "b", term: 2, active: true, since, pending: 0 });
  expect(enqueue()).toBe("backpressure");
  world.clock.advance(60_000);
  expect(storyOf(heard)).toEqual(["1 off", "1 on", "2 on", "2 off"]);
});

test("what is not in the log yet is not told", () => {
  const { heard, world, leader, enqueue } = listening({ pendingHigh: 2, backpressureCooldownMs: 0 });
  enqueue();
  leader.log.failNextAppend({ kind: "vanish" });
  const answers = world.send("enqueue", { items: [{ resourceType: "t", resourceId: "r" }] });
  world.clock.advance(500);
  expect([storyOf(heard), answers]).toEqual([["1 off"], []]);
  world.clock.until(() => answers.length > 0);
  world.clock.advance(100);
  expect(storyOf(heard)).toEqual(["1 off", "1 on"]);
});

test("watermarks that are switched off press nothing", () => {
  const { heard, enqueue } = listening({ pendingHigh: 0, bodyBytesHigh: 0 });
  for (let index = 0; index < 40; index += 1) expect(enqueue()).toBeUndefined();
  expect(storyOf(heard)).toEqual(["1 off"]);
});

test("a listener passes over what comes late and what is no such word", () => {
  const { heard, listener, world, enqueue } = listening({ pendingHigh: 1, backpressureCooldownMs: 60_000 });
  enqueue();
  const stranger = new MemoryNet(world.wire, world.clock);
  const told = heard.length;
  for (const word of [heard[0], { ...heard.at(-1), term: 0 }, { active: false }, "{"]) {
    const text = typeof word === "string" ? word : JSON.stringify(word);
    stranger.publish(backpressureSubject("local", "default"), encoder.encode(text));
    world.clock.advance(10);
  }
  expect([heard.length, listener.latest?.active, listener.invalid]).toEqual([told, true, 3]);
  listener.close();
  stranger.publish(backpressureSubject("local", "default"), encoder.encode("{"));
  world.clock.advance(10);
  expect(listener.invalid).toBe(3);
});
