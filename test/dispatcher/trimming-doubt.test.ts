/** Trimming and snapshots where labels, checkpoints and stores say what is not so, and where the shard changes its mind meanwhile. */
import { expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { checkpointKey } from "../../contracts/subjects.ts";
import { MemorySnapshots } from "./memory-snapshots.ts";
import { type NodeUnit, NodeWorld } from "./node-world.ts";

const EVERY = { snapshotEvents: 50, snapshotMs: 0 };
const KEEP_NOTHING = { logKeepEvents: 0, logKeepMs: 0 };
const NO_ROOM = new OperatingError("store_full", "no room", { definite: true });
const BIG = { body: JSON.stringify("x".repeat(2_000)) };

const codes = ({ node }: NodeUnit): string[] => node.status().alarms.map(({ code }) => code);

function fill(world: NodeWorld, snapshots: MemorySnapshots, count: number): void {
  for (let round = 0; round < 1_000 && snapshots.published.length < count; round += 1) {
    world.enqueue(10);
    world.clock.advance(200);
  }
  expect(snapshots.published.length).toBeGreaterThanOrEqual(count);
}

function writeCheckpoint(world: NodeWorld, streamSequence: number): void {
  const value = { logId: "log-1", streamSequence, sequence: 0, chain: "", term: 1, at: 1_000 };
  let isWritten = false;
  world.kv.put(checkpointKey("lake", "local", "default"), Buffer.from(JSON.stringify(value)), 0, () => {
    isWritten = true;
  });
  world.clock.until(() => isWritten);
}

/** The code with which one more item is refused; undefined when it is taken. */
function refusalOf(world: NodeWorld): string | undefined {
  const items = [{ resourceType: "t", resourceId: "r", ...BIG }];
  const { results } = world.ask("enqueue", { items }) as unknown as { results: { error?: { code: string } }[] };
  return results[0]?.error?.code;
}

function cutOff({ log, gossip, rpc }: NodeUnit, isConnected: boolean): void {
  if (isConnected) log.reconnect();
  else log.disconnect();
  gossip.setConnected(isConnected);
  rpc.setConnected(isConnected);
}

test("a leader that was deposed while it cut a snapshot takes snapshots again when it leads again", () => {
  const world = new NodeWorld(KEEP_NOTHING);
  const snapshots = new MemorySnapshots();
  const every = { snapshotEvents: 50, snapshotMs: 20_000 };
  const first = world.leading(world.addNode("a", every, undefined, snapshots));
  world.enqueue(100);
  world.clock.advance(600);
  world.enqueue(100);
  const second = world.addNode("b", every, undefined, new MemorySnapshots());
  world.clock.until(() => second.node.status().chain === first.node.status().chain);
  cutOff(first, false);
  world.leading(second);
  world.clock.advance(25_000);
  cutOff(first, true);
  world.clock.until(() => first.node.status().mode === "following");
  world.kill(second);
  world.leading(first);
  const before = snapshots.published.length;
  for (let round = 0; round < 30; round += 1) {
    world.enqueue(20);
    world.clock.advance(2_000);
  }
  expect(snapshots.published.length).toBeGreaterThan(before);
});

test("a log that filled up while no snapshot could be kept recovers by itself", () => {
  for (const isLeasing of [false, true]) {
    const world = new NodeWorld({}, 200_000);
    const snapshots = new MemorySnapshots();
    const leader = world.leading(world.addNode("a", {}, undefined, snapshots));
    snapshots.failure = NO_ROOM;
    for (let count = 0; count < 500 && refusalOf(world) === undefined; count += 1) world.clock.advance(50);
    for (let count = 0; isLeasing && count < 2_000; count += 1) {
      const granted = world.ask("lease", { maxItems: 20 }) as unknown as {
        leases?: { itemId: string; token: number }[];
      };
      if (granted.leases === undefined) break;
      world.ask("release", { leases: granted.leases.map(({ itemId, token }) => ({ itemId, token })) });
    }
    world.clock.advance(60_000);
    snapshots.failure = undefined;
    world.clock.until(() => codes(leader).length === 0, 300_000, 100);
    expect(refusalOf(world)).toBeUndefined();
  }
});

test("a checkpoint behind the end of the log holds the log, and is told", () => {
  const world = new NodeWorld(KEEP_NOTHING);
  const snapshots = new MemorySnapshots();
  const leader = world.leading(world.addNode("a", EVERY, undefined, snapshots));
  world.ask("configure", { followers: { lake: { kind: "sink" } } });
  writeCheckpoint(world, Number.MAX_SAFE_INTEGER);
  fill(world, snapshots, 4);
  world.clock.advance(30_000);
  expect(world.stream.firstSequence).toBe(1);
  expect(codes(leader)).toEqual(["checkpoint_wrong"]);
});

test("a follower that had read everything is not detached because nothing happened for long", () => {
  const world = new NodeWorld(KEEP_NOTHING);
  const snapshots = new MemorySnapshots();
  const leader = world.leading(world.addNode("a", EVERY, undefined, snapshots));
  world.ask("configure", { followers: { lake: { kind: "sink", keepMs: 120_000 } } });
  fill(world, snapshots, 3);
  const { lastSequence } = world.stream;
  writeCheckpoint(world, lastSequence);
  world.clock.advance(300_000);
  fill(world, snapshots, snapshots.published.length + 3);
  world.clock.advance(10_000);
  expect(codes(leader)).toEqual([]);
  expect(world.stream.firstSequence).toBeLessThanOrEqual(lastSequence + 1);
});

test("snapshots that others put into the store, whatever their labels say, are no reason to trim", () => {
  for (const beyond of [0, 900_000]) {
    const world = new NodeWorld(KEEP_NOTHING);
    const snapshots = new MemorySnapshots();
    const leader = world.leading(world.addNode("a", { snapshotEvents: 1_000_000 }, undefined, snapshots));
    world.enqueue(10);
    const { sequence, streamSequence, chain } = leader.node.status();
    for (const more of [0, 1])
      snapshots.published.push({
        text: "",
        place: {
          ...{ logId: "log-1", streamSequence: streamSequence + more + beyond, sequence: sequence + more, chain },
          ...{ term: 1, first: sequence, at: 1_000, hash: "0".repeat(16), logVersion: 1 },
        },
      });
    for (let round = 0; round < 20; round += 1) world.enqueue(10);
    world.clock.advance(30_000);
    expect(world.stream.firstSequence).toBe(1);
    expect(leader.node.status()).toMatchObject({ mode: "leading", alarms: [] });
  }
});

/** Holds back the answers about what the shared store has. */
class SlowSnapshots extends MemorySnapshots {
  held: (() => void)[] | undefined;

  override durable(callback: Parameters<MemorySnapshots["durable"]>[0]): void {
    if (this.held === undefined) super.durable(callback);
    else this.held.push(() => super.durable(callback));
  }

  release(): void {
    for (const go of this.held?.splice(0) ?? []) go();
  }
}

test("nothing is trimmed any more once trimming is off", () => {
  const world = new NodeWorld(KEEP_NOTHING);
  const snapshots = new SlowSnapshots();
  snapshots.held = [];
  world.leading(world.addNode("a", EVERY, undefined, snapshots));
  fill(world, snapshots, 4);
  world.clock.until(() => (snapshots.held?.length ?? 0) > 0);
  world.ask("configure", { options: { logTrim: "off" } });
  snapshots.release();
  world.clock.advance(30_000);
  expect(world.stream.firstSequence).toBe(1);
});

test("a leader that was deposed does not trim past what its successor keeps", () => {
  const world = new NodeWorld(KEEP_NOTHING);
  const snapshots = new SlowSnapshots();
  const first = world.leading(world.addNode("a", EVERY, undefined, snapshots));
  snapshots.held = [];
  const second = world.addNode("b", { snapshotEvents: 1_000_000 }, undefined, new MemorySnapshots());
  fill(world, snapshots, 4);
  world.clock.until(() => second.node.status().sequence === first.node.status().sequence);
  world.clock.until(() => (snapshots.held?.length ?? 0) > 0);
  cutOff(first, false);
  world.leading(second);
  world.ask("configure", { followers: { lake: { kind: "sink" } } });
  world.ask("configure", { options: { logTrim: "off" } });
  first.log.reconnect();
  snapshots.release();
  world.clock.advance(30_000);
  expect(world.stream.firstSequence).toBe(1);
});

test("a stranger's messages that look like frames do not shorten what is kept", () => {
  const world = new NodeWorld({ logKeepEvents: 0, logKeepMs: 86_400_000 });
  const snapshots = new MemorySnapshots();
  world.leading(world.addNode("a", EVERY, undefined, snapshots));
  for (let round = 0; round < 60; round += 1) {
    world.enqueue(10);
    for (let count = 0; count < 3; count += 1) world.stream.publish(Buffer.from('{"first":0,"at":0}'), "");
    world.clock.advance(200);
  }
  world.clock.advance(30_000);
  expect(world.stream.firstSequence).toBe(1);
});

test("a long trim goes in steps, and stops between two of them when a follower registers", () => {
  const world = new NodeWorld({ ...KEEP_NOTHING, logTrim: "off" });
  const snapshots = new MemorySnapshots();
  world.leading(world.addNode("a", { snapshotEvents: 400, snapshotMs: 0 }, undefined, snapshots));
  fill(world, snapshots, 3);
  const target = snapshots.published.at(-2)?.place.streamSequence ?? 0;
  world.ask("configure", { options: { logTrim: "auto" } });
  world.clock.until(() => world.stream.firstSequence > 1);
  const first = world.stream.firstSequence;
  expect(first).toBe(17);
  world.enqueue(1);
  world.clock.until(() => world.stream.firstSequence > first);
  expect(world.stream.firstSequence).toBe(33);
  world.ask("configure", { followers: { lake: { kind: "sink" } } });
  world.clock.advance(30_000);
  expect(world.stream.firstSequence).toBeLessThan(target);
  world.ask("configure", { followers: { lake: null } });
  world.clock.advance(30_000);
  expect(world.stream.firstSequence).toBe(target);
});
