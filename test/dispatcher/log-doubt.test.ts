/** What nodes find out about their log by looking at it now and then, and what they tell of it. */
import { describe, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { MemorySnapshots } from "./memory-snapshots.ts";
import { type NodeUnit, NodeWorld } from "./node-world.ts";

const codes = ({ node }: NodeUnit): string[] => node.status().alarms.map(({ code }) => code);
const events = ({ lines }: NodeUnit): string[] => lines.map(({ event }) => event);

/** A leader and a standby that have nothing to do. */
function idlePair(): { world: NodeWorld; leader: NodeUnit; standby: NodeUnit } {
  const world = new NodeWorld();
  const leader = world.leading(world.addNode("a"));
  const standby = world.addNode("b");
  world.enqueue(5);
  world.clock.until(() => standby.node.status().sequence === leader.node.status().sequence);
  return { world, leader, standby };
}

describe("idle nodes halt by themselves, with their state kept, when the stream", () => {
  test("is gone", () => {
    const { world, leader, standby } = idlePair();
    world.stream.isMissing = true;
    world.clock.advance(30_000);
    for (const { node, dumps } of [leader, standby]) {
      expect(node.status()).toMatchObject({ mode: "halted", halt: { code: "log_missing" } });
      expect(dumps).toEqual([{ code: "log_missing", sequence: 7 }]);
    }
  });

  test("has lost its tail", () => {
    const { world, leader, standby } = idlePair();
    world.stream.truncateTail(2);
    world.clock.advance(30_000);
    for (const { node } of [leader, standby])
      expect(node.status()).toMatchObject({ mode: "halted", halt: { code: "log_tail_lost" } });
  });

  test("is gone for a moment only: then nobody halts", () => {
    const { world, leader, standby } = idlePair();
    world.stream.isMissing = true;
    world.clock.advance(9_000);
    world.stream.isMissing = false;
    world.clock.advance(60_000);
    expect([leader, standby].map(({ node }) => node.status().mode)).toEqual(["leading", "following"]);
  });
});

test("an idle leader finds out that somebody else has written to its log", () => {
  const { world, leader } = idlePair();
  world.stream.publish(Buffer.from("noise"), "");
  world.clock.advance(12_000);
  expect(leader.node.status()).toMatchObject({ mode: "leading", voids: 1 });
});

test("messages of a stranger are an alarm until there have been none for a while, and a flood is told in few lines", () => {
  const { world, leader } = idlePair();
  for (let count = 0; count < 100; count += 1) world.stream.publish(Buffer.from(`noise ${count}`), "");
  world.enqueue(1);
  world.clock.advance(100);
  expect(leader.node.status().voids).toBe(100);
  expect(leader.node.status().alarms).toMatchObject([{ code: "void_messages", isServing: true }]);
  expect(events(leader).filter((event) => event === "void_message")).toHaveLength(7);
  world.clock.advance(600_000);
  expect(codes(leader)).toEqual([]);
  expect(events(leader).filter((event) => event.startsWith("alarm_"))).toEqual(["alarm_raised", "alarm_cleared"]);
});

test("a snapshot that is asked for has a sequence of its own, also where nothing but empty frames came since the last", () => {
  const world = new NodeWorld();
  const snapshots = new MemorySnapshots();
  const leader = world.leading(world.addNode("a", { snapshotEvents: 5, snapshotMs: 0 }, undefined, snapshots));
  world.enqueue(10);
  world.clock.until(() => snapshots.published.length > 0);
  world.clock.advance(10_000);
  for (let count = 0; count < 3; count += 1) world.ask("stats", { consistent: true });
  world.stream.trimBelow(world.stream.lastSequence + 1);
  world.clock.until(() => codes(leader).includes("log_incomplete"));
  world.clock.until(() => codes(leader).length === 0);
  const sequences = snapshots.published.map(({ place }) => place.sequence);
  expect(new Set(sequences).size).toBe(sequences.length);
});

test("a snapshot that cannot be kept is an alarm until one can", () => {
  const world = new NodeWorld();
  const snapshots = new MemorySnapshots();
  const leader = world.leading(world.addNode("a", { snapshotEvents: 5, snapshotMs: 0 }, undefined, snapshots));
  const error = new OperatingError("store_full", "there is no room", { definite: true });
  snapshots.failure = error;
  world.enqueue(10);
  world.clock.until(() => codes(leader).includes("snapshot_failed"));
  expect(leader.node.status().alarms[0]).toMatchObject({
    isServing: true,
    message: expect.stringContaining("no room"),
  });
  snapshots.failure = undefined;
  world.enqueue(10);
  world.clock.until(() => codes(leader).length === 0);
});

test("a full log is trimmed up to its only snapshot: it takes no frame behind which another could be cut", () => {
  const world = new NodeWorld({ logTrim: "off" }, 200_000);
  const snapshots = new MemorySnapshots();
  const leader = world.leading(world.addNode("a", {}, undefined, snapshots));
  const body = JSON.stringify("x".repeat(2_000));
  while (codes(leader).length === 0) world.ask("enqueue", { items: [{ resourceType: "t", resourceId: "r", body }] });
  while (leader.node.status().alarms[0]?.isServing !== false) {
    const { leases = [] } = world.ask("lease", { maxItems: 20 }) as unknown as {
      leases?: { itemId: string; token: number }[];
    };
    world.ask("release", { leases: leases.map(({ itemId, token }) => ({ itemId, token })) });
  }
  world.ask("configure", { options: { logTrim: "auto" } });
  world.clock.until(() => snapshots.published.length === 1);
  leader.log.failNextAppend(...Array.from({ length: 500 }, () => ({ kind: "vanish" }) as const));
  world.clock.until(() => world.stream.firstSequence > 1);
  expect(world.stream.firstSequence).toBe(snapshots.published[0]?.place.streamSequence);
});
