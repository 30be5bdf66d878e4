/** Planned handover on a virtual clock: to whom, in what order, and what everybody who waits hears. */
import { describe, expect, test } from "vitest";
import type { Gossip } from "../../contracts/gossip.ts";
import { gossipSubject } from "../../contracts/subjects.ts";
import { Neighbours, wordOf } from "../../services/dispatcher/node/neighbours.ts";
import { FakeClock } from "../../services/testing/fake-clock.ts";
import { MemoryNet, MemoryWire } from "../../services/testing/memory-net.ts";
import { type Answer, type NodeUnit, NodeWorld } from "./node-world.ts";

const ITEM = { resourceType: "table", resourceId: "t" };

interface Handover {
  readonly term: number;
  readonly sequence: number;
  readonly successor: string;
}
const handoverOf = (body: Answer["body"]): Handover => body as unknown as Handover;

/** Nodes that hear each other's words as dispatchers do; `neighbours` has what each of them hears. `others`: more shards, by who leads them. */
function meshWorld(peers: readonly string[], others: Readonly<Record<string, readonly string[]>> = {}) {
  const world = new NodeWorld();
  const neighbours = new Map<string, Neighbours>();
  world.precedenceOf = (peerId, net, status) => {
    const own = (): Gossip["shards"] => {
      const word = wordOf(status());
      return [word, ...(others[peerId] ?? []).map((shard) => ({ ...word, shard, part: "leads" }) as const)];
    };
    const mine = new Neighbours({ region: "local", peerId, wordMs: 500, clock: world.clock, net, own });
    neighbours.set(peerId, mine);
    return mine;
  };
  const units = new Map<string, NodeUnit>();
  for (const peer of peers) {
    const unit = world.addNode(peer);
    units.set(peer, unit);
    neighbours.get(peer)?.start();
    if (units.size === 1) world.leading(unit);
  }
  const unit = (peer: string): NodeUnit => units.get(peer) as NodeUnit;
  world.clock.advance(1_200);
  return { world, unit, neighbours: (peer: string) => neighbours.get(peer) as Neighbours };
}

const releases = (world: NodeWorld) =>
  world
    .frames()
    .flatMap(({ events, term }) =>
      events.flatMap((event) => (event.type === "termReleased" ? [{ term, successor: event.successor }] : [])),
    );

describe("a handover that is asked for", () => {
  test("goes to the dispatcher that is named, which leads at once, and is answered with the place of the release", () => {
    const { world, unit } = meshWorld(["a", "b", "c"]);
    const from = world.clock.monotonicMs();
    const { term, sequence, successor } = handoverOf(world.ask("handover", { to: "c" }));
    expect({ term, successor }).toEqual({ term: 1, successor: "c" });
    expect(releases(world)).toEqual([{ term: 1, successor: "c" }]);
    world.leading(unit("c"));
    expect(world.clock.monotonicMs() - from).toBeLessThan(10);
    expect(world.ask("stats", {})).toMatchObject({ leader: "c", term: 2, sequence: sequence + 1 });
    world.clock.advance(10_000);
    expect(["a", "b", "c"].map((peer) => unit(peer).node.status().mode)).toEqual(["following", "following", "leading"]);
  });

  test("goes to a follower when nobody is named", () => {
    const { world, unit } = meshWorld(["a", "b"]);
    expect(world.ask("handover", {})).toMatchObject({ successor: "b", term: 1 });
    world.leading(unit("b"));
  });

  test("is answered only when the release stands in the log, also when its ack is lost", () => {
    const { world, unit } = meshWorld(["a", "b"]);
    unit("a").log.failNextAppend({ kind: "lose_ack" });
    const answers = world.send("handover", {});
    world.clock.until(() => releases(world).length === 1);
    expect(answers).toEqual([]);
    world.clock.until(() => answers.length > 0);
    expect(answers[0]?.body).toMatchObject({ term: 1, successor: "b" });
    world.leading(unit("b"));
    expect(world.ask("handover", { to: "b" })).toMatchObject({ successor: "b", term: 2 });
  });

  test.each([
    ["a stranger", "zz", "zz cannot take over shard default: it is not heard of; b could"],
    ["one that has fallen silent", "c", "c cannot take over shard default: it is not heard of; b could"],
  ])("is refused for %s, says who could, and changes nothing", (_who, to, message) => {
    const { world, unit } = meshWorld(["a", "b", "c"]);
    world.kill(unit("c"));
    world.clock.advance(2_000);
    const { error } = world.ask("handover", { to });
    expect(error).toMatchObject({ code: "unavailable", message, retryable: true, details: { candidates: ["b"] } });
    expect(unit("a").node.status()).toMatchObject({ mode: "leading", term: 1 });
    expect(releases(world)).toEqual([]);
  });

  test("is refused when nobody else is there", () => {
    const { world } = meshWorld(["a"]);
    expect(world.ask("handover", {}).error).toMatchObject({
      code: "unavailable",
      message: "no other dispatcher follows shard default closely enough to take it over",
      details: { candidates: [] },
    });
  });

  test("a repeat that reaches the successor is answered by it and moves nothing", () => {
    const { world, unit } = meshWorld(["a", "b", "c"]);
    const after = unit("a").node.status().sequence;
    const { sequence } = handoverOf(world.ask("handover", { to: "b", after, requestId: "h" }));
    world.leading(unit("b"));
    const own = { term: 2, sequence: sequence + 1, successor: "b" };
    expect(world.ask("handover", { to: "b", after, requestId: "h" })).toEqual(own);
    expect(world.ask("handover", { after, requestId: "h" })).toEqual(own);
    expect(releases(world)).toHaveLength(1);
    // Without the sequence that was known it is a request like any other.
    expect(handoverOf(world.ask("handover", {})).successor).not.toBe("b");
    expect(releases(world)).toHaveLength(2);
  });

  test("a leader that was deposed without knowing it does not say that it leads", () => {
    const { world, unit } = meshWorld(["a", "b"]);
    unit("a").gossip.setConnected(false);
    unit("a").log.disconnect();
    world.leading(unit("b"));
    const answers = world.send("handover", { to: "a" });
    world.clock.advance(200);
    unit("a").log.reconnect();
    unit("a").gossip.setConnected(true);
    world.clock.until(() => answers.length === 2);
    const codes = answers.map(({ body }) => body.error?.code ?? "ok").sort();
    // The new leader refuses: it has not heard of the old one for a while, or hands back to it.
    expect(codes[0]).toBe("not_leader");
    expect(answers.filter(({ body }) => handoverOf(body).term === 1)).toEqual([]);
  });

  test("what was decided before it is answered ok, what waits is told to ask again, and nothing is lost", () => {
    const { world, unit } = meshWorld(["a", "b"]);
    unit("a").log.failNextAppend({ kind: "delay", delayMs: 100 });
    const polls = world.send("lease", { maxItems: 1, waitMs: 20_000, resourceTypes: ["other"], requestId: "p" });
    const decided = world.send("enqueue", { items: [ITEM], requestId: "r1" });
    world.clock.advance(10);
    const behind = world.send("enqueue", { items: [ITEM], requestId: "r2" });
    world.clock.advance(10);
    const handover = world.send("handover", { to: "b" });
    const repeated = world.send("handover", { to: "b" });
    const late = world.send("enqueue", { items: [ITEM], requestId: "r3" });
    world.leading(unit("b"));
    world.clock.until(() => [polls, decided, behind, handover, repeated, late].every(({ length }) => length === 1));
    const codeOf = ([one]: readonly Answer[]): string => one?.body.error?.code ?? "ok";
    expect([decided, behind, handover].map(codeOf)).toEqual(["ok", "ok", "ok"]);
    expect([polls, repeated, late].map(codeOf)).toEqual(["shutting_down", "shutting_down", "shutting_down"]);
    expect(polls[0]?.body.error?.retryable).toBe(true);
    expect((world.ask("enqueue", { items: [ITEM], requestId: "r3" })["results"] as object[])[0]).toMatchObject({
      duplicate: false,
    });
    expect(world.fold().enqueuedTotal).toBe(3);
    expect(world.ask("stats", {})["stateHash"]).toBe(world.foldHash());
  });

  test("a second one while the first is under way does not end the serving of the term that follows", () => {
    const { world, unit } = meshWorld(["a", "b"]);
    world.ask("handover", {});
    world.leading(unit("b"));
    world.clock.advance(1_000);
    world.ask("handover", {});
    world.leading(unit("a"));
    expect(world.enqueue(1)).toHaveLength(1);
    expect(releases(world).map(({ successor }) => successor)).toEqual(["b", "a"]);
  });
});

describe("a shard that was handed over", () => {
  const leadersSeenBy = (neighbours: Neighbours): readonly string[] => [...neighbours.placement().values()].sort();

  test("because somebody asked stays for ten minutes, and is not counted among those that are spread", () => {
    const { world, unit, neighbours } = meshWorld(["a", "b"], { b: ["other"] });
    world.ask("handover", { to: "b" }, "operator");
    world.leading(unit("b"));
    const [frame] = world.frames().filter(({ events }) => events.some(({ type }) => type === "termReleased"));
    expect(frame).toMatchObject({ actors: [{ principal: "operator" }], events: [{}, { askedBy: 0 }] });
    world.clock.advance(590_000);
    expect(leadersSeenBy(neighbours("b"))).toEqual(["b", "b"]);
    world.clock.advance(20_000);
    expect(leadersSeenBy(neighbours("b"))).toEqual(["a", "b"]);
  });

  test("by the dispatchers themselves is spread like any other", () => {
    const { world, unit, neighbours } = meshWorld(["a", "b"], { b: ["other"] });
    unit("a").node.handOver("b");
    world.leading(unit("b"));
    world.clock.advance(1_000);
    expect(leadersSeenBy(neighbours("b"))).toEqual(["a", "b"]);
  });

  test("because somebody asked has no claim on the one that leads after its successor has died", () => {
    const { world, unit, neighbours } = meshWorld(["a", "b", "c"], { c: ["other"] });
    world.ask("handover", { to: "b" });
    world.leading(unit("b"));
    world.kill(unit("b"));
    neighbours("b").leave();
    unit("a").gossip.setConnected(false);
    world.leading(unit("c"));
    unit("a").gossip.setConnected(true);
    world.clock.advance(2_000);
    expect(leadersSeenBy(neighbours("c"))).toEqual(["a", "c"]);
  });
});

describe("a dispatcher that stops", () => {
  test("names a successor, which leads at once", () => {
    const { world, unit, neighbours } = meshWorld(["a", "b"]);
    const from = world.clock.monotonicMs();
    neighbours("a").leave();
    unit("a").node.stop(() => {});
    world.leading(unit("b"));
    expect(world.clock.monotonicMs() - from).toBeLessThan(10);
    expect(releases(world)).toEqual([{ term: 1, successor: "b" }]);
  });

  test("names nobody who is stopping too", () => {
    const { world, unit, neighbours } = meshWorld(["a", "b", "c"]);
    neighbours("b").leave();
    world.clock.advance(1);
    expect(world.ask("handover", { to: "b" }).error?.["message" as never]).toContain(
      "b cannot take over shard default: it is stopping; c could",
    );
    unit("a").node.stop(() => {});
    world.leading(unit("c"));
    expect(releases(world)).toEqual([{ term: 1, successor: "c" }]);
  });

  test("lets go without a successor when nobody can take over, and whoever comes leads", () => {
    const { world, unit } = meshWorld(["a"]);
    let isStopped = false;
    unit("a").node.stop(() => {
      isStopped = true;
    });
    world.clock.until(() => isStopped);
    expect(releases(world)).toEqual([{ term: 1, successor: undefined }]);
    world.leading(world.addNode("b"));
  });

  test("a successor that dies meanwhile is replaced by another", () => {
    const { world, unit, neighbours } = meshWorld(["a", "b", "c"]);
    world.kill(unit("b"));
    const from = world.clock.monotonicMs();
    expect(handoverOf(world.ask("handover", { to: "b" })).successor).toBe("b");
    neighbours("a").leave();
    world.leading(unit("c"));
    expect(world.clock.monotonicMs() - from).toBeLessThan(1_500);
  });
});

describe("the neighbours", () => {
  function listener(shards: readonly string[], part: "leads" | "follows" = "leads") {
    const clock = new FakeClock();
    const wire = new MemoryWire(clock);
    const net = new MemoryNet(wire, clock);
    const own = (): Gossip["shards"] => shards.map((shard) => ({ shard, part, term: 1, sequence: 20_000 }));
    const neighbours = new Neighbours({ region: "local", peerId: "me", wordMs: 500, clock, net, own });
    neighbours.start();
    const say = (peer: string, words: Readonly<Record<string, object>>, more: object = {}): void => {
      const spoken = Object.entries(words).map(([shard, word]) => ({
        shard,
        part: "follows",
        term: 1,
        sequence: 20_000,
        ...word,
      }));
      const word = { peer, role: "dispatcher", shards: spoken, ...more };
      const payload = Buffer.from(JSON.stringify(word));
      wire.deliver({ subject: gossipSubject("local", peer), reply: "", payload, trace: "" });
      clock.settle();
    };
    return { clock, neighbours, say };
  }

  test("the one that leads least takes over", () => {
    const { neighbours, say } = listener(["s1", "s2", "s3"]);
    say("b", { s1: {}, s2: { part: "leads" }, s3: { part: "leads" } });
    say("c", { s1: {}, s2: {}, s3: {} });
    expect(neighbours.successor("s1").peer).toBe("c");
    say("c", { s1: {}, s2: { part: "leads" }, s3: { part: "leads" }, s4: { part: "leads" } });
    expect(neighbours.successor("s1").peer).toBe("b");
  });

  test("shards that are let go together are spread", () => {
    const shards = ["s1", "s2", "s3", "s4", "s5", "s6"];
    const { neighbours, say } = listener(shards);
    for (const peer of ["b", "c", "d"]) say(peer, Object.fromEntries(shards.map((shard) => [shard, {}])));
    const named = shards.map((shard) => neighbours.successor(shard).peer).sort();
    expect(named).toEqual(["b", "b", "c", "c", "d", "d"]);
  });

  test("one that lags or does not follow cannot take over", () => {
    const { neighbours, say } = listener(["s1"]);
    say("b", { s1: { sequence: 9_999 } });
    say("c", { s1: { part: "absent" } });
    expect(neighbours.successor("s1", "b").reason).toContain(
      "it is 10001 events behind, and at most 10000 are allowed",
    );
    expect(neighbours.successor("s1", "c").reason).toContain("it does not follow it; nobody else could");
    expect(neighbours.successor("s1")).toMatchObject({ candidates: [] });
    say("b", { s1: { sequence: 10_000 } });
    expect(neighbours.successor("s1").peer).toBe("b");
  });

  test("nothing is placed on one that is stopping, and what it leads goes to the others", () => {
    const { neighbours, say } = listener(["s1", "s2"], "follows");
    const words = { s1: { part: "leads" }, s2: { part: "leads" } };
    say("b", words);
    say("c", { s1: {}, s2: {} });
    expect([...neighbours.placement().values()].filter((peer) => peer === "b")).toHaveLength(1);
    say("b", words, { stopping: true });
    expect([...neighbours.placement().values()].sort()).toEqual(["c", "me"]);
    expect(["s1", "s2"].map((shard) => neighbours.isFirst(shard)).sort()).toEqual([false, true]);
    expect(neighbours.canTakeOver("c", "s1")).toBe(true);
    say("c", { s1: {}, s2: {} }, { stopping: true });
    expect(neighbours.canTakeOver("c", "s1")).toBe(false);
    expect(new Set(neighbours.placement().values())).toEqual(new Set(["me"]));
  });

  test("the picture is new when one begins to stop, and when it is back", () => {
    const { clock, neighbours, say } = listener(["s1"]);
    say("b", { s1: {} });
    for (let words = 0; words < 8; words += 1) {
      clock.advance(500);
      say("b", { s1: {} });
    }
    expect(neighbours.stableMs()).toBe(4_000);
    say("b", { s1: {} }, { stopping: true });
    expect(neighbours.stableMs()).toBe(0);
    clock.advance(400);
    say("b", { s1: {} });
    expect(neighbours.stableMs()).toBe(0);
  });
});
