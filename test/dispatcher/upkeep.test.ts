/** What nodes do for their log: hashes in it, trimming below snapshots and followers, its byte limit, and what they notice by themselves. */
import { describe, expect, test } from "vitest";
import type { Frame } from "../../contracts/frame.ts";
import { checkpointKey } from "../../contracts/subjects.ts";
import { chainOf, encodeFrame } from "../../services/runtime/frame-codec.ts";
import { MemorySnapshots } from "./memory-snapshots.ts";
import { type NodeUnit, NodeWorld } from "./node-world.ts";

const EVERY = { snapshotEvents: 50, snapshotMs: 0 };
/** Trims at the first occasion. */
const KEEP_NOTHING = { logKeepEvents: 0, logKeepMs: 0 };

const eventTypes = (world: NodeWorld): string[] =>
  world.frames().flatMap(({ events }) => events.map(({ type }) => type));

/** Enqueues in steps until so many snapshots are published. */
function fill(world: NodeWorld, snapshots: MemorySnapshots, count: number): void {
  for (let round = 0; round < 1_000 && snapshots.published.length < count; round += 1) {
    world.enqueue(10);
    world.clock.advance(200);
  }
  expect(snapshots.published.length).toBeGreaterThanOrEqual(count);
}

function writeCheckpoint(world: NodeWorld, follower: string, streamSequence: number, at: number): void {
  const value = { logId: "log-1", streamSequence, sequence: 0, chain: "", term: 1, at };
  const key = checkpointKey(follower, "local", "default");
  let isWritten = false;
  world.kv.get(key, (found) => {
    const revision = found.kind === "ok" ? (found.value?.revision ?? 0) : 0;
    world.kv.put(key, Buffer.from(JSON.stringify(value)), revision, () => {
      isWritten = true;
    });
  });
  world.clock.until(() => isWritten);
}

const codes = ({ node }: NodeUnit): string[] => node.status().alarms.map(({ code }) => code);

describe("state hashes", () => {
  test("the leader writes one after so many events, beside others, and before it releases its term", () => {
    const world = new NodeWorld();
    const leader = world.leading(world.addNode("a", { stateHashEvents: 25 }));
    for (let round = 0; round < 10; round += 1) world.enqueue(10);
    expect(eventTypes(world).filter((type) => type === "stateHash")).toHaveLength(3);
    leader.node.stop(() => {});
    world.clock.advance(100);
    expect(eventTypes(world).slice(-2)).toEqual(["stateHash", "termReleased"]);
    world.fold();
  });

  test("a quiet shard writes one with its first event after a while, and none alone", () => {
    const world = new NodeWorld();
    world.leading(world.addNode("a"));
    world.enqueue(1);
    world.clock.advance(600_000);
    expect(eventTypes(world)).not.toContain("stateHash");
    world.enqueue(1);
    expect(eventTypes(world).at(-1)).toBe("stateHash");
  });

  test("a follower that differs halts, keeps its state for the operator and never leads", () => {
    const world = new NodeWorld();
    const leader = world.leading(world.addNode("a"));
    const standby = world.addNode("b");
    world.enqueue(3);
    world.clock.until(() => standby.node.status().sequence === leader.node.status().sequence);
    const { sequence, term, chain } = leader.node.status();
    world.kill(leader);
    const last = world.frames().at(-1) as Frame;
    const forged = encodeFrame({
      ...last,
      append: "forged",
      first: sequence + 1,
      count: 1,
      term,
      prev: chain,
      actors: [],
      events: [{ type: "stateHash", hash: "0000000000000000" }],
    });
    world.stream.publish(forged, chainOf(forged));
    world.clock.advance(60_000);
    expect(standby.node.status()).toMatchObject({ mode: "halted", halt: { code: "state_diverged" } });
    expect(standby.dumps).toEqual([{ code: "state_diverged", sequence }]);
  });
});

describe("trimming", () => {
  test("goes up to the older of the two newest snapshots, and keeps its frame", () => {
    const world = new NodeWorld(KEEP_NOTHING);
    const snapshots = new MemorySnapshots();
    const leader = world.leading(world.addNode("a", EVERY, undefined, snapshots));
    fill(world, snapshots, 1);
    world.clock.advance(30_000);
    expect(world.stream.firstSequence).toBe(1);
    fill(world, snapshots, 4);
    world.clock.advance(30_000);
    expect(world.stream.firstSequence).toBe(snapshots.published.at(-2)?.place.streamSequence);
    expect(codes(leader)).toEqual([]);
  });

  test("leaves the newest events and the youngest frames alone", () => {
    for (const options of [
      { logKeepEvents: 1_000_000, logKeepMs: 0 },
      { logKeepEvents: 0, logKeepMs: 86_400_000 },
      { ...KEEP_NOTHING, logTrim: "off" } as const,
    ]) {
      const world = new NodeWorld(options);
      const snapshots = new MemorySnapshots();
      world.leading(world.addNode("a", EVERY, undefined, snapshots));
      fill(world, snapshots, 4);
      world.clock.advance(30_000);
      expect(world.stream.firstSequence).toBe(1);
    }
  });

  test("trims to the exact frame that is old enough by events and by time", () => {
    const world = new NodeWorld({ logKeepEvents: 120, logKeepMs: 0 });
    const snapshots = new MemorySnapshots();
    world.leading(world.addNode("a", { ...EVERY, snapshotEvents: 20 }, undefined, snapshots));
    world.stream.publish(Buffer.from("noise"), "");
    fill(world, snapshots, 30);
    const frames = new Map(world.stream.messages().map((each) => [each.streamSequence, each]));
    world.clock.advance(30_000);
    const first = world.stream.firstSequence;
    const firstEvent = (streamSequence: number): number =>
      (JSON.parse(Buffer.from(frames.get(streamSequence)?.payload ?? "").toString()) as Frame).first;
    const { sequence } = world.ask("stats", {}) as { sequence?: number };
    expect(firstEvent(first)).toBeLessThanOrEqual((sequence ?? 0) - 120);
    expect(firstEvent(first + 1)).toBeGreaterThan((sequence ?? 0) - 120);
  });

  test("waits for a registered follower, and gives up on one that is further behind than what is kept for it", () => {
    const world = new NodeWorld(KEEP_NOTHING);
    const snapshots = new MemorySnapshots();
    const leader = world.leading(world.addNode("a", EVERY, undefined, snapshots));
    const lake = { kind: "sink", keepMs: 120_000 };
    world.ask("configure", { followers: { lake } });
    fill(world, snapshots, 3);
    world.clock.advance(30_000);
    expect(world.stream.firstSequence).toBe(1);
    const at = JSON.parse(Buffer.from(world.stream.messages().at(-1)?.payload ?? "").toString()).at as number;
    writeCheckpoint(world, "lake", 7, at);
    world.clock.advance(15_000);
    expect(world.stream.firstSequence).toBe(7);
    expect(codes(leader)).toEqual([]);
    world.clock.advance(150_000);
    world.enqueue(1);
    world.clock.advance(15_000);
    expect(codes(leader)).toEqual(["follower_detached"]);
    expect(world.stream.firstSequence).toBe(snapshots.published.at(-2)?.place.streamSequence);
    world.ask("configure", { followers: { lake: null } });
    world.clock.advance(15_000);
    fill(world, snapshots, snapshots.published.length + 1);
    world.clock.advance(15_000);
    expect(codes(leader)).toEqual([]);
  });

  test("a standby that was away comes back through a snapshot, a new one starts from it", () => {
    const world = new NodeWorld(KEEP_NOTHING);
    const snapshots = new MemorySnapshots();
    const leader = world.leading(world.addNode("a", EVERY, undefined, snapshots));
    const standby = world.addNode("b", EVERY, undefined, snapshots);
    world.enqueue(1);
    world.clock.until(() => standby.node.status().sequence === leader.node.status().sequence);
    standby.log.disconnect();
    standby.gossip.setConnected(false);
    fill(world, snapshots, 4);
    world.clock.advance(30_000);
    expect(world.stream.firstSequence).toBeGreaterThan(5);
    standby.log.reconnect();
    standby.gossip.setConnected(true);
    const fresh = world.addNode("c", EVERY, undefined, snapshots);
    for (const { node } of [standby, fresh])
      world.clock.until(() => node.status().chain === leader.node.status().chain);
    const { pending } = world.ask("stats", {});
    expect(pending).toBeGreaterThan(100);
    world.kill(leader);
    world.clock.until(() => [standby, fresh].some(({ node }) => node.status().mode === "leading"));
    expect(world.ask("stats", {})).toMatchObject({ pending });
  });

  test("a node without a snapshot that reaches a trimmed log halts and says what is missing", () => {
    const world = new NodeWorld(KEEP_NOTHING);
    const snapshots = new MemorySnapshots();
    world.leading(world.addNode("a", EVERY, undefined, snapshots));
    fill(world, snapshots, 4);
    world.clock.advance(30_000);
    const lonely = world.addNode("b", EVERY, undefined, new MemorySnapshots());
    world.clock.advance(60_000);
    expect(lonely.node.status()).toMatchObject({ mode: "halted", halt: { code: "log_gap" } });
  });

  test("a log that somebody purged is healed by a snapshot of the leader that still knows it", () => {
    const world = new NodeWorld();
    const snapshots = new MemorySnapshots();
    const leader = world.leading(world.addNode("a", {}, undefined, snapshots));
    world.enqueue(10);
    world.stream.trimBelow(world.stream.lastSequence + 1);
    world.clock.until(() => codes(leader).includes("log_incomplete"));
    world.clock.until(() => codes(leader).length === 0);
    const fresh = world.addNode("b", {}, undefined, snapshots);
    world.clock.until(() => fresh.node.status().chain === leader.node.status().chain);
    world.kill(leader);
    world.leading(fresh);
    expect(world.ask("stats", {})).toMatchObject({ pending: 10 });
  });
});

describe("the byte limit of the log", () => {
  const big = { body: JSON.stringify("x".repeat(2_000)) };

  test("refuses new items first, then grants, lets leases end, and recovers when it is trimmed", () => {
    const world = new NodeWorld({ logTrim: "off" }, 200_000);
    const snapshots = new MemorySnapshots();
    const leader = world.leading(world.addNode("a", {}, undefined, snapshots));
    const answerOf = (): string | undefined => {
      const { results } = world.ask("enqueue", {
        items: [{ resourceType: "t", resourceId: "r", ...big }],
      }) as unknown as {
        results: { error?: { code: string } }[];
      };
      return results[0]?.error?.code;
    };
    for (let count = 0; count < 200 && answerOf() === undefined; count += 1);
    expect(answerOf()).toBe("backpressure");
    expect(codes(leader)).toEqual(["log_bytes_high"]);
    expect(leader.node.status().alarms[0]?.isServing).toBe(true);
    const { leases } = world.ask("lease", { maxItems: 5 }) as unknown as {
      leases: { itemId: string; token: number }[];
    };
    expect(leases).toHaveLength(5);
    for (let count = 0; count < 1_000; count += 1) {
      const granted = world.ask("lease", { maxItems: 20 }) as unknown as { leases?: typeof leases };
      if (granted.leases === undefined) break;
      world.ask("release", { leases: granted.leases.map(({ itemId, token }) => ({ itemId, token })) });
    }
    expect(world.ask("lease", { maxItems: 1 })).toMatchObject({ error: { code: "backpressure", retryable: true } });
    expect(leader.node.status().alarms[0]?.isServing).toBe(false);
    const [lease] = leases;
    expect(world.ask("complete", { leases: [{ itemId: lease?.itemId, token: lease?.token }] })).toMatchObject({
      results: [{ duplicate: false }],
    });
    world.ask("configure", { options: { logTrim: "auto" } });
    world.clock.until(() => codes(leader).length === 0);
    expect(answerOf()).toBeUndefined();
    expect(world.stream.firstSequence).toBeGreaterThan(1);
  });

  test("is trimmed in time whatever is to be kept, so that nobody is refused", () => {
    const world = new NodeWorld({}, 200_000);
    const snapshots = new MemorySnapshots();
    const leader = world.leading(world.addNode("a", {}, undefined, snapshots));
    for (let count = 0; count < 300; count += 1) {
      const { results } = world.ask("enqueue", {
        items: [{ resourceType: "t", resourceId: "r", ...big }],
      }) as unknown as {
        results: { error?: object }[];
      };
      expect(results[0]?.error).toBeUndefined();
      world.clock.advance(500);
    }
    expect(codes(leader)).toEqual([]);
  });

  test("an enqueue that is known already is answered although the log is nearly full", () => {
    const world = new NodeWorld({ logTrim: "off" }, 100_000);
    world.leading(world.addNode("a"));
    const first = { items: [{ resourceType: "t", resourceId: "r", ...big }], requestId: "first" };
    world.ask("enqueue", first);
    for (let count = 0; count < 60; count += 1)
      world.ask("enqueue", { items: [{ resourceType: "t", resourceId: "r", ...big }] });
    expect(world.ask("enqueue", first)).toMatchObject({ results: [{ duplicate: true }] });
  });
});

test("a log that takes no appends while it answers questions makes the node not ready within 5 s", () => {
  const world = new NodeWorld();
  const leader = world.leading(world.addNode("a"));
  leader.log.failNextAppend(...Array.from({ length: 50 }, () => ({ kind: "vanish" }) as const));
  world.send("enqueue", { items: [{ resourceType: "t", resourceId: "r" }] });
  world.clock.advance(5_000);
  expect(leader.node.status().alarms).toMatchObject([{ code: "log_wedged", isServing: false }]);
});
