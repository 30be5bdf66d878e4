/** Nodes that take and load snapshots, on a virtual clock and with the snapshots in memory. */
import { expect, test } from "vitest";
import { MemorySnapshots } from "./memory-snapshots.ts";
import { NodeWorld } from "./node-world.ts";

const EVERY = { snapshotEvents: 50, snapshotMs: 0 };

test("a leader publishes snapshots of exactly the states that its frames lead to, while it goes on", () => {
  const world = new NodeWorld();
  const snapshots = new MemorySnapshots();
  world.leading(world.addNode("a", EVERY, undefined, snapshots));
  for (let round = 0; round < 40; round += 1) {
    world.enqueue(10);
    world.clock.advance(100);
  }
  expect(snapshots.published.length).toBeGreaterThan(3);
  const frames = world.frames();
  for (const { place } of snapshots.published) {
    const frame = frames.find(({ first, count }) => first + count - 1 === place.sequence);
    expect(frame?.first).toBe(place.first);
  }
});

test("a node that starts from a snapshot reaches the same state as the fold of the whole log", () => {
  const world = new NodeWorld();
  const snapshots = new MemorySnapshots();
  const first = world.leading(world.addNode("a", EVERY, undefined, snapshots));
  for (let round = 0; round < 20; round += 1) world.enqueue(10);
  world.ask("lease", { maxItems: 30, requestId: "l" });
  world.clock.advance(1_000);
  world.enqueue(5);
  world.kill(first);
  const again = world.addNode("a", EVERY, first.store, snapshots);
  world.leading(again);
  expect(again.lines.map(({ event }) => event)).toContain("snapshot_loaded");
  expect(world.ask("stats", {})).toMatchObject({ stateHash: world.foldHash(), pending: 175, active: 30 });
});

test("a large state is written down again only after four events for each of its items", () => {
  const world = new NodeWorld();
  const snapshots = new MemorySnapshots();
  world.leading(world.addNode("a", EVERY, undefined, snapshots));
  const fill = (calls: number): void => {
    for (let call = 0; call < calls; call += 1) world.enqueue(1_000);
    world.clock.advance(60_000);
    world.enqueue(1);
    world.clock.advance(60_000);
  };
  fill(12);
  const large = snapshots.published.at(-1)?.place.sequence ?? 0;
  expect(large).toBeGreaterThan(10_000);
  const count = snapshots.published.length;
  fill(20);
  expect(snapshots.published.length).toBe(count);
  fill(30);
  expect(snapshots.published.length).toBe(count + 1);
  expect(snapshots.published.at(-1)?.place.sequence).toBeGreaterThan(5 * 10_000);
});

test("a deposed leader with unwritten events comes back through a snapshot", () => {
  const world = new NodeWorld();
  const snapshots = new MemorySnapshots();
  const first = world.leading(world.addNode("a", EVERY, undefined, snapshots));
  const second = world.addNode("b");
  for (let round = 0; round < 20; round += 1) world.enqueue(10);
  world.clock.advance(1_000);
  first.log.disconnect();
  first.gossip.setConnected(false);
  world.send("enqueue", { items: [{ resourceType: "table", resourceId: "lost" }] });
  world.leading(second);
  first.log.reconnect();
  first.gossip.setConnected(true);
  const loads = snapshots.loads;
  world.clock.until(() => first.node.status().chain === second.node.status().chain);
  expect(snapshots.loads).toBe(loads + 1);
});

test("a snapshot that is not of this log's past is not followed on", () => {
  const world = new NodeWorld();
  const snapshots = new MemorySnapshots();
  const first = world.leading(world.addNode("a", EVERY, undefined, snapshots));
  for (let round = 0; round < 10; round += 1) world.enqueue(10);
  world.clock.advance(1_000);
  world.kill(first);
  const newest = snapshots.published.at(-1);
  if (newest === undefined) throw new Error("no snapshot");
  snapshots.published.push({ ...newest, place: { ...newest.place, chain: "0".repeat(64) } });
  const again = world.addNode("a", EVERY, first.store, snapshots);
  world.leading(again);
  expect(again.lines.map(({ event }) => event)).toContain("snapshot_off_the_log");
  expect(world.ask("stats", {})).toMatchObject({ stateHash: world.foldHash() });
});
