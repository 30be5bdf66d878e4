/** Alarms end with what they are about, also where nobody has anything to do. */
import { expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { checkpointKey } from "../../contracts/subjects.ts";
import { MemoryStore } from "../../services/testing/memory-kv.ts";
import { MemorySnapshots } from "./memory-snapshots.ts";
import { type NodeUnit, NodeWorld } from "./node-world.ts";

const codes = ({ node }: NodeUnit): string[] => node.status().alarms.map(({ code }) => code);

test("who led before says nothing of followers: how far they are is its successor's to tell", () => {
  const world = new NodeWorld({ logKeepEvents: 0, logKeepMs: 0 });
  const snapshots = new MemorySnapshots();
  const times = { snapshotEvents: 20, snapshotMs: 0 };
  const before = world.leading(world.addNode("a", times, undefined, snapshots));
  world.ask("configure", { followers: { lake: { kind: "sink", keepMs: 1 } } });
  for (let round = 0; snapshots.published.length < 3 && round < 100; round += 1) {
    world.enqueue(10);
    world.clock.advance(200);
  }
  for (let look = 0; look < 3; look += 1) {
    world.clock.advance(10_000);
    world.enqueue(1);
  }
  expect(codes(before)).toEqual(["follower_detached"]);
  before.log.disconnect();
  before.gossip.setConnected(false);
  const after = world.leading(world.addNode("b", times, undefined, snapshots));
  before.log.reconnect();
  before.gossip.setConnected(true);
  world.clock.until(() => before.node.status().mode === "following", 30_000);
  world.ask("configure", { followers: { lake: null } });
  world.clock.advance(30_000);
  expect([codes(before), codes(after)]).toEqual([[], []]);
});

test("a leader without two snapshots of its own sees that a follower has caught up", () => {
  const world = new NodeWorld();
  const snapshots = new MemorySnapshots();
  const leader = world.leading(world.addNode("a", {}, undefined, snapshots));
  world.ask("configure", { followers: { lake: { kind: "sink", keepMs: 1 } } });
  for (let look = 0; look < 3; look += 1) {
    world.enqueue(1);
    world.clock.advance(10_000);
  }
  expect([codes(leader), snapshots.published]).toEqual([["follower_detached"], []]);
  const { streamSequence } = leader.node.status();
  const value = { logId: "log-1", streamSequence, sequence: 0, chain: "", term: 1, at: 0 };
  world.kv.put(checkpointKey("lake", "local", "default"), Buffer.from(JSON.stringify(value)), 0, () => {});
  world.clock.advance(20_000);
  expect(codes(leader)).toEqual([]);
});

/** A data folder on a disk that can be full. */
class FullStore extends MemoryStore {
  isFull = false;

  override put(key: string, value: string): void {
    if (this.isFull) throw new Error("the disk is full");
    super.put(key, value);
  }
}

test("a data folder that could not be written is written once it can be, also on a quiet shard", () => {
  const world = new NodeWorld();
  const store = new FullStore();
  const unit = world.leading(world.addNode("a", {}, store));
  const remembered = (): unknown => JSON.parse(store.get("log/local/default") ?? "{}");
  world.clock.advance(20_000);
  store.isFull = true;
  world.enqueue(1);
  world.clock.until(() => codes(unit).includes("data_dir_unwritable"), 20_000);
  store.isFull = false;
  world.clock.advance(20_000);
  expect(codes(unit)).toEqual([]);
  expect(remembered()).toMatchObject({ streamSequence: world.stream.lastSequence });
});

test("a standby whose snapshot could not be kept takes another one once it can, also on a quiet shard", () => {
  const world = new NodeWorld();
  world.leading(world.addNode("a"));
  const snapshots = new MemorySnapshots();
  const standby = world.addNode("b", { snapshotEvents: 5, snapshotMs: 0 }, undefined, snapshots);
  world.clock.until(() => standby.node.status().mode === "following");
  snapshots.failure = new OperatingError("snapshot_unwritten", "the disk is full", { definite: true });
  world.enqueue(10);
  world.clock.until(() => codes(standby).includes("snapshot_failed"));
  world.stream.publish(Buffer.from("noise"), "");
  snapshots.failure = undefined;
  world.clock.advance(30_000);
  expect(codes(standby)).toEqual(["void_messages"]);
  const [published] = snapshots.published;
  const messages = world.stream.messages();
  const chains = new Map(messages.map(({ streamSequence, chainHeader }) => [streamSequence, chainHeader]));
  expect(published?.place.sequence).toBe(standby.node.status().sequence);
  expect(chains.get(published?.place.streamSequence ?? 0)).toBe(published?.place.chain);
});
