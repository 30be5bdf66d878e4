/** What a dispatcher does whose NATS servers are cut off from each other: what is sent to it where its log or its beats are does not arrive. */
import { describe, expect, test } from "vitest";
import type { Gossip } from "../../contracts/gossip.ts";
import { Neighbours, wordOf } from "../../services/dispatcher/node/neighbours.ts";
import { Rebalancer } from "../../services/dispatcher/node/rebalancer.ts";
import type { MemoryNet } from "../../services/testing/memory-net.ts";
import { type NodeUnit, NodeWorld } from "./node-world.ts";

const ISLAND = "cut off";

/** Two nodes that hear each other's words and spread the shards; `b` leads another shard beside. The first leads. */
function mesh() {
  const world = new NodeWorld({ leaseDurationMsDefault: 3_000 });
  const units = new Map<string, NodeUnit>();
  world.precedenceOf = (peerId, net, status) => {
    const own = (): Gossip["shards"] => {
      const word = wordOf(status());
      return [word, { ...word, shard: "other", part: peerId === "b" ? "leads" : "follows" }];
    };
    const neighbours = new Neighbours({ region: "local", peerId, wordMs: 500, clock: world.clock, net, own });
    world.clock.defer(() => neighbours.start());
    const nodes = () => [...units].flatMap(([peer, { node }]) => (peer === peerId ? [node] : []));
    new Rebalancer({ peerId, clock: world.clock, neighbours, nodes }).start();
    return neighbours;
  };
  for (const peer of ["a", "b"]) {
    units.set(peer, world.addNode(peer));
    if (peer === "a") world.leading(units.get("a") as NodeUnit);
  }
  world.clock.advance(8_000);
  return { world, a: units.get("a") as NodeUnit, b: units.get("b") as NodeUnit };
}

const countOf = (world: NodeWorld, wanted: string): number =>
  world.frames().reduce((sum, { events }) => sum + events.filter(({ type }) => type === wanted).length, 0);

const codesOf = ({ node }: NodeUnit): readonly string[] => node.status().alarms.map(({ code }) => code);

/** The server refuses what this process publishes on its own ping subject. */
function deny({ logNet, gossip }: NodeUnit): void {
  const refuse: MemoryNet["request"] = (_subject, _payload, _timeoutMs, callback) => callback({ kind: "denied" });
  for (const net of [logNet, gossip]) {
    const request = net.request.bind(net);
    net.request = (subject, ...rest) => (subject.startsWith("omnirelay.ping.") ? refuse : request)(subject, ...rest);
  }
}

describe("a leader", () => {
  test("lets no lease run out while it hears only a server that is cut off from where its log is", () => {
    const world = new NodeWorld({ leaseDurationMsDefault: 4_000 });
    const { rpc, gossip } = world.leading(world.addNode("a"));
    world.enqueue(1);
    world.ask("lease", {});
    world.clock.advance(1_500);
    for (const net of [rpc, gossip]) net.island = ISLAND;
    world.clock.advance(30_000);
    expect(countOf(world, "expired")).toBe(0);
    for (const net of [rpc, gossip]) net.island = "";
    world.clock.advance(10_000);
    expect(countOf(world, "expired")).toBe(1);
  });

  test("whose requests do not come through is silent until another one leads, and then follows it", () => {
    const { world, a, b } = mesh();
    a.rpc.island = ISLAND;
    const sinceMs = world.clock.monotonicMs();
    world.leading(b);
    expect(world.clock.monotonicMs() - sinceMs).toBeLessThan(7_000);
    world.clock.advance(3_000);
    expect(a.node.status()).toMatchObject({ mode: "following", term: 2 });
    expect(codesOf(a)).toEqual(["requests_cut_off"]);
    expect(world.enqueue(1)).toHaveLength(1);
    a.rpc.island = "";
    world.clock.advance(2_000);
    expect(codesOf(a)).toEqual([]);
  });

  test("whose beats are heard by nobody is deposed once, and takes nothing back while it is cut off", () => {
    const { world, a, b } = mesh();
    a.gossip.island = ISLAND;
    world.leading(b);
    world.clock.advance(30_000);
    expect(b.node.status()).toMatchObject({ mode: "leading", term: 2 });
    expect(a.node.status()).toMatchObject({ mode: "following", term: 2 });
  });
});

describe("a follower that is cut off", () => {
  test("does not come to lead, and does when it no longer is", () => {
    const { world, a, b } = mesh();
    b.rpc.island = ISLAND;
    world.clock.advance(6_000);
    world.kill(a);
    world.clock.advance(10_000);
    expect(b.node.status()).toMatchObject({ mode: "following" });
    b.rpc.island = "";
    world.leading(b);
  });

  test("is handed no shard, by nobody and not again and again", () => {
    const { world, a, b } = mesh();
    a.rpc.island = ISLAND;
    world.leading(b);
    world.clock.advance(60_000);
    expect(countOf(world, "termReleased")).toBe(0);
    expect(b.node.status()).toMatchObject({ mode: "leading", term: 2 });
    expect(world.ask("handover", { to: "a" })["error"]).toMatchObject({ code: "unavailable" });
    expect(a.node.status().mode).toBe("following");
  });
});

test("who may not ping itself says so, lets no lease run out, and is taken over all the same when it is gone", () => {
  const { world, a, b } = mesh();
  for (const unit of [a, b]) deny(unit);
  world.clock.advance(5_000);
  expect(codesOf(a)).toEqual(["ping_denied"]);
  expect(a.node.status()).toMatchObject({ mode: "leading", term: 1 });
  world.kill(a);
  world.leading(b);
});
