/** The shard node on a virtual clock: leading, failing over, answering only what the log holds. */
import { describe, expect, test } from "vitest";
import { type Answer, NodeWorld } from "./node-world.ts";

type Lease = { itemId: string; token: number; validMs: number; attempt: number; expiresAt: number };
const leasesOf = (body: Answer["body"]): Lease[] => body["leases"] as unknown as Lease[];
const resultsOf = (body: Answer["body"]): Record<string, unknown>[] => body["results"] as never;
const codeOf = (result: Record<string, unknown> | undefined): unknown =>
  (result?.["error"] as { code: string } | undefined)?.code;
const ref = ({ itemId, token }: Lease) => ({ itemId, token });

describe("leading", () => {
  test("one node leads an empty log and serves the life of an item", () => {
    const world = new NodeWorld();
    const unit = world.leading(world.addNode("a"));
    const [itemId] = world.enqueue(1);
    const [lease] = leasesOf(world.ask("lease", { maxItems: 5 })) as [Lease];
    expect(lease).toMatchObject({ itemId, attempt: 1 });
    expect(resultsOf(world.ask("complete", { leases: [ref(lease)] }))).toEqual([{ duplicate: false }]);
    const stats = world.ask("stats", {});
    expect(stats).toMatchObject({
      pending: 0,
      active: 0,
      completed: 1,
      leader: "a",
      region: "local",
      shard: "default",
      term: 1,
    });
    expect(stats["stateHash"]).toBe(world.foldHash());
    expect(unit.node.status().sequence).toBe(world.fold().sequence);
  });
  test("groups everything that arrives while a frame is under way into the next one", () => {
    const world = new NodeWorld();
    world.leading(world.addNode("a")).log.failNextAppend({ kind: "delay", delayMs: 20 });
    const before = world.stream.lastSequence;
    const answers = Array.from({ length: 50 }, (_, index) => {
      if (index === 1) world.clock.advance(5);
      return world.send("enqueue", { items: [{ resourceType: "table", resourceId: `t-${index}` }] });
    });
    world.clock.until(() => answers.every((each) => each.length === 1));
    expect(world.stream.lastSequence - before).toBe(2);
    expect(
      world
        .frames()
        .slice(-2)
        .map(({ count }) => count),
    ).toEqual([1, 49]);
  });
  test("answers nothing before the ack", () => {
    const world = new NodeWorld();
    world.leading(world.addNode("a")).log.failNextAppend({ kind: "delay", delayMs: 300 });
    const answers = world.send("enqueue", { items: [{ resourceType: "table", resourceId: "t" }] });
    const reads = world.send("stats", {});
    world.clock.advance(299);
    expect([...answers, ...reads]).toEqual([]);
    world.clock.advance(5);
    expect(answers).toHaveLength(1);
    expect(reads[0]?.body).toMatchObject({ pending: 1 });
  });
  test("a lost ack is closed by reading, and the item stands in the log once", () => {
    const world = new NodeWorld();
    world.leading(world.addNode("a")).log.failNextAppend({ kind: "lose_ack" });
    expect(world.enqueue(1)).toHaveLength(1);
    expect(world.fold().pending).toBe(1);
  });
  test("a definite refusal waits for a frame that was sent after the request came", () => {
    const world = new NodeWorld();
    const unit = world.leading(world.addNode("a"));
    unit.log.failNextAppend({ kind: "delay", delayMs: 100 });
    const answers = world.send("complete", { leases: [{ itemId: "zz", token: 1 }] });
    world.clock.advance(99);
    expect(answers).toEqual([]);
    world.clock.advance(5);
    expect(codeOf(resultsOf((answers[0] as Answer).body)[0])).toBe("item_not_found");
    expect(world.frames().at(-1)).toMatchObject({ count: 0, term: 1 });
  });
  test("a consistent read waits for such a frame, another one does not", () => {
    const world = new NodeWorld();
    world.leading(world.addNode("a"));
    const before = world.stream.lastSequence;
    world.ask("stats", {});
    expect(world.stream.lastSequence).toBe(before);
    world.ask("stats", { consistent: true });
    expect(world.stream.lastSequence).toBe(before + 1);
  });
  test("a read for a sequence that the log has not reached is answered unavailable, not stale", () => {
    const world = new NodeWorld();
    world.leading(world.addNode("a"));
    expect(world.ask("stats", { minSequence: 1_000 }).error).toMatchObject({ code: "unavailable" });
    expect(world.ask("stats", { minSequence: 2 }).error).toBeUndefined();
  });
  test("a read that was answered before the log reached its sequence is unavailable, even if the log has it by the time it is sent", () => {
    const world = new NodeWorld();
    const unit = world.leading(world.addNode("a"));
    unit.log.failNextAppend({ kind: "delay", delayMs: 100 });
    world.send("enqueue", { items: [{ resourceType: "table", resourceId: "t-1" }] });
    world.clock.advance(5);
    const minSequence = unit.node.status().sequence + 1;
    const reads = world.send("stats", { minSequence });
    const written = world.send("enqueue", { items: [{ resourceType: "table", resourceId: "t-2" }] });
    world.clock.until(() => reads.length + written.length === 2);
    expect(written[0]?.body["sequence"]).toBeGreaterThanOrEqual(minSequence);
    expect(reads[0]?.body.error).toMatchObject({ code: "unavailable", definite: false });
  });
  test("shows itself as a micro service while it leads", () => {
    const world = new NodeWorld();
    const unit = world.leading(world.addNode("a"));
    world.enqueue(1);
    const reply = world.wire.inbox();
    const replies: { name: string; endpoints: { name: string; num_requests: number }[] }[] = [];
    world.client.subscribe(reply, ({ payload }) => void replies.push(JSON.parse(Buffer.from(payload).toString())));
    world.wire.deliver({ subject: "$SRV.STATS.resourcelease", reply, payload: new Uint8Array(0), trace: "" });
    world.clock.advance(1);
    expect(replies[0]?.endpoints.find(({ name }) => name === "enqueue")?.num_requests).toBe(1);
    world.kill(unit);
    expect(world.wire.deliver({ subject: "$SRV.PING", reply, payload: new Uint8Array(0), trace: "" })).toBe(0);
  });
});

describe("a log that does not answer", () => {
  test("leaves decided requests unknown and undecided ones unavailable, and answers neither as failed for good", () => {
    const world = new NodeWorld();
    const unit = world.leading(world.addNode("a"));
    unit.log.failNextAppend(...Array.from({ length: 40 }, () => ({ kind: "vanish" }) as const));
    unit.log.failNextReads(1_000);
    const item = { resourceType: "table", resourceId: "t" };
    const decided = world.send("enqueue", { items: [item], timeoutMs: 3_000 });
    world.clock.advance(1_200);
    const undecided = world.send("enqueue", { items: [item], timeoutMs: 3_000 });
    world.clock.until(() => decided.length + undecided.length === 2);
    expect(decided[0]?.body.error).toMatchObject({ code: "unknown_outcome", retryable: true, definite: false });
    expect(undecided[0]?.body.error).toMatchObject({ code: "unavailable", retryable: true });
    expect(decided[0]?.at).toBeLessThan(3_200);
  });
  test("keeps the repeat of a request that turned out stored from having a second effect", () => {
    const world = new NodeWorld();
    const unit = world.leading(world.addNode("a"));
    unit.log.failNextAppend({ kind: "lose_ack" });
    unit.log.failNextReads(30);
    const body = { items: [{ resourceType: "table", resourceId: "t" }], requestId: "r-1", timeoutMs: 1_000 };
    expect(world.ask("enqueue", body).error).toMatchObject({ code: "unknown_outcome" });
    const again = world.ask("enqueue", { ...body, timeoutMs: 60_000 });
    expect(resultsOf(again)[0]).toMatchObject({ duplicate: true });
    expect(world.fold().enqueuedTotal).toBe(1);
  });
  test("expires nothing meanwhile", () => {
    const world = new NodeWorld({ leaseDurationMsDefault: 2_000 });
    const unit = world.leading(world.addNode("a"));
    world.enqueue(2);
    world.ask("lease", { maxItems: 1 });
    unit.log.failNextAppend(...Array.from({ length: 4 }, () => ({ kind: "vanish" }) as const));
    unit.log.failNextReads(6);
    world.send("lease", { maxItems: 1 });
    world.clock.advance(6_000);
    expect(world.fold().active).toBeGreaterThanOrEqual(1);
    expect(
      world
        .frames()
        .flatMap(({ events }) => events)
        .filter(({ type }) => type === "expired"),
    ).toEqual([]);
  });
});

describe("failover", () => {
  test("a second node takes over after a kill, with the same state, and loses nothing that was acknowledged", () => {
    const world = new NodeWorld();
    const first = world.leading(world.addNode("a"));
    const second = world.addNode("b");
    const ids = world.enqueue(10);
    const [lease] = leasesOf(world.ask("lease", { maxItems: 1 })) as [Lease];
    world.clock.advance(1_000);
    world.kill(first);
    const killedAt = world.clock.monotonicMs();
    world.clock.until(() => second.node.status().mode === "leading");
    expect(world.clock.monotonicMs() - killedAt).toBeLessThan(1_500);
    expect(world.ask("stats", {})).toMatchObject({
      leader: "b",
      term: 2,
      pending: 9,
      active: 1,
      stateHash: world.foldHash(),
    });
    expect(resultsOf(world.ask("get", { itemIds: ids })).map(codeOf)).toEqual(ids.map(() => undefined));
    expect(resultsOf(world.ask("complete", { leases: [ref(lease)] }))).toEqual([{ duplicate: false }]);
  });
  test("a leader that answers its pings is not deposed before the whole silence", () => {
    const world = new NodeWorld();
    const first = world.leading(world.addNode("a"));
    world.addNode("b");
    world.clock.advance(10_000);
    expect(first.node.status()).toMatchObject({ mode: "leading", term: 1 });
  });
  test("a leader that was cut off answers nothing definite and nothing ok, and follows the new one", () => {
    const world = new NodeWorld();
    const first = world.leading(world.addNode("a"));
    const second = world.addNode("b");
    const [itemId] = world.enqueue(1);
    world.clock.advance(500);
    first.gossip.setConnected(false);
    first.log.disconnect();
    world.clock.until(() => second.node.status().mode === "leading");
    // Both are subscribed: the old one does not know yet. Its answers must not contradict the log.
    const lost = world.send("complete", { leases: [{ itemId, token: 5 }] });
    const fresh = world.send("enqueue", { items: [{ resourceType: "table", resourceId: "x" }], requestId: "r" });
    world.clock.advance(200);
    first.log.reconnect();
    first.gossip.setConnected(true);
    world.clock.until(() => first.node.status().mode === "following" && first.node.status().term === 2);
    world.clock.advance(3_000);
    const codes = [...lost, ...fresh].map(({ body }) => body.error?.code ?? "ok");
    expect(codes.sort()).toEqual(["not_leader", "not_leader", "ok", "ok"]);
    expect(world.fold().enqueuedTotal).toBe(2);
    expect(first.node.status().sequence).toBe(second.node.status().sequence);
  });
  test("a paused leader that continues after another took over writes nothing and expires nothing early", () => {
    const world = new NodeWorld({ leaseDurationMsDefault: 4_000 });
    const first = world.leading(world.addNode("a"));
    world.enqueue(1);
    const [lease] = leasesOf(world.ask("lease", { maxItems: 1 })) as [Lease];
    world.clock.stall(60_000);
    world.clock.advance(100);
    expect(first.node.status().mode).toBe("leading");
    expect(resultsOf(world.ask("heartbeat", { leases: [ref(lease)] }))[0]).not.toHaveProperty("error");
  });
  test("a new leader gives every lease its whole length again", () => {
    const world = new NodeWorld({ leaseDurationMsDefault: 5_000 });
    const first = world.leading(world.addNode("a"));
    const second = world.addNode("b");
    world.enqueue(1);
    world.ask("lease", { maxItems: 1 });
    world.clock.advance(4_500);
    world.kill(first);
    world.leading(second);
    world.clock.advance(4_999);
    expect(world.fold().active).toBe(1);
    world.clock.until(() => world.fold().active === 0, 60_000, 50);
    expect(world.fold().pending).toBe(1);
  });
  test("a node that stops hands over at once: the other does not wait for a silence", () => {
    const world = new NodeWorld();
    const first = world.leading(world.addNode("a"));
    const second = world.addNode("b");
    world.enqueue(3);
    world.clock.advance(500);
    let stopped = false;
    first.node.stop(() => {
      stopped = true;
    });
    const from = world.clock.monotonicMs();
    world.clock.until(() => second.node.status().mode === "leading");
    expect(stopped).toBe(true);
    expect(world.clock.monotonicMs() - from).toBeLessThan(300);
    expect(world.ask("stats", {})).toMatchObject({ pending: 3, leader: "b", term: 2 });
    expect(world.frames().flatMap(({ events }) => events.map(({ type }) => type))).toContain("termReleased");
  });
  test("a stopping node answers its long polls and refuses new requests as retryable", () => {
    const world = new NodeWorld();
    const unit = world.leading(world.addNode("a"));
    const poll = world.send("lease", { waitMs: 20_000 });
    world.clock.advance(10);
    unit.log.failNextAppend({ kind: "delay", delayMs: 50 });
    unit.node.stop(() => {});
    world.clock.advance(100);
    expect(poll[0]?.body.error).toMatchObject({ code: "shutting_down", retryable: true, definite: false });
  });
  test("a node that is restarted with its peer id leads again without waiting", () => {
    const world = new NodeWorld();
    const first = world.leading(world.addNode("a"));
    world.enqueue(2);
    world.kill(first);
    const again = world.addNode("a", {}, first.store);
    const from = world.clock.monotonicMs();
    world.leading(again);
    expect(world.clock.monotonicMs() - from).toBeLessThan(300);
    expect(world.ask("stats", {})).toMatchObject({ pending: 2, term: 2 });
  });
});
