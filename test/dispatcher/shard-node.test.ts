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

describe("leases", () => {
  test("a lease runs out after its length and the item is granted again with a higher token", () => {
    const world = new NodeWorld({ leaseDurationMsDefault: 1_000 });
    world.leading(world.addNode("a"));
    world.enqueue(1);
    const [first] = leasesOf(world.ask("lease", {})) as [Lease];
    const [second] = leasesOf(world.ask("lease", { waitMs: 5_000 })) as [Lease];
    expect(second).toMatchObject({ itemId: first.itemId, attempt: 2 });
    expect(second.token).toBeGreaterThan(first.token);
    const late = world.ask("complete", { leases: [ref(first)] });
    expect(resultsOf(late)[0]).toMatchObject({
      error: { code: "stale_token", definite: true, details: { reason: "expired" } },
    });
  });
  test("validMs counts from the request's arrival: waiting does not shorten it", () => {
    const world = new NodeWorld({ leaseDurationMsDefault: 1_000 });
    world.leading(world.addNode("a"));
    const answers = world.send("lease", { waitMs: 10_000 });
    world.clock.advance(3_000);
    world.enqueue(1);
    world.clock.until(() => answers.length === 1);
    const [lease] = leasesOf((answers[0] as Answer).body) as [Lease];
    expect(lease.validMs).toBeGreaterThanOrEqual(3_990);
    expect(lease.validMs).toBeLessThan(4_100);
  });
  test("a heartbeat that waits in the queue is decided before the expiry of its lease", () => {
    const world = new NodeWorld({ leaseDurationMsDefault: 1_000 });
    const unit = world.leading(world.addNode("a"));
    world.enqueue(1);
    const [lease] = leasesOf(world.ask("lease", {})) as [Lease];
    world.clock.advance(980);
    unit.log.failNextAppend({ kind: "delay", delayMs: 900 });
    const beat = world.send("heartbeat", { leases: [ref(lease)] });
    world.clock.until(() => beat.length === 1);
    expect(resultsOf((beat[0] as Answer).body)[0]).not.toHaveProperty("error");
    expect(world.fold().active).toBe(1);
  });
  test("a long poll gets the item as soon as it is there, and says none at its end", () => {
    const world = new NodeWorld();
    world.leading(world.addNode("a"));
    const from = world.clock.monotonicMs();
    const empty = world.ask("lease", { waitMs: 2_000 });
    expect(empty).toMatchObject({ leases: [], reason: "none" });
    expect(world.clock.monotonicMs() - from).toBeGreaterThanOrEqual(2_000);
    const typed = world.send("lease", { waitMs: 20_000, resourceTypes: ["view"] });
    const any = world.send("lease", { waitMs: 20_000 });
    world.enqueue(1);
    world.clock.advance(5);
    expect([typed.length, any.length]).toEqual([0, 1]);
    world.enqueue(1, { resourceType: "view" });
    world.clock.advance(5);
    expect(typed).toHaveLength(1);
  });
  test("a repeated poll joins the one that waits: both get the same lease, granted once", () => {
    const world = new NodeWorld();
    world.leading(world.addNode("a"));
    const first = world.send("lease", { waitMs: 20_000, requestId: "p" });
    world.clock.advance(10);
    const repeat = world.send("lease", { waitMs: 20_000, requestId: "p" });
    world.clock.advance(10);
    world.enqueue(2);
    world.clock.advance(10);
    expect(leasesOf((first[0] as Answer).body).map(ref)).toEqual(leasesOf((repeat[0] as Answer).body).map(ref));
    expect(world.fold().active).toBe(1);
  });
  test("the repeat of a poll is told the time from its own sending", () => {
    const world = new NodeWorld({ leaseDurationMsDefault: 1_000 });
    world.leading(world.addNode("a"));
    const first = world.send("lease", { waitMs: 20_000, requestId: "p" });
    world.clock.advance(5_000);
    const repeat = world.send("lease", { waitMs: 20_000, requestId: "p" });
    world.clock.advance(100);
    world.enqueue(1);
    world.clock.advance(10);
    const [early] = leasesOf((first[0] as Answer).body) as [Lease];
    const [late] = leasesOf((repeat[0] as Answer).body) as [Lease];
    expect(early.validMs).toBeGreaterThan(6_000);
    expect(late.validMs).toBeLessThan(1_200);
  });
  test("the repeat of a poll that does not want to wait ends it for both", () => {
    const world = new NodeWorld();
    world.leading(world.addNode("a"));
    const first = world.send("lease", { waitMs: 20_000, requestId: "p" });
    world.clock.advance(1_000);
    const repeat = world.send("lease", { waitMs: 0, requestId: "p" });
    world.clock.advance(100);
    expect([first[0]?.body, repeat[0]?.body]).toEqual([
      expect.objectContaining({ leases: [], reason: "none" }),
      expect.objectContaining({ leases: [], reason: "none" }),
    ]);
  });
  test("requests that reach a leader while it leaves are told so", () => {
    const world = new NodeWorld();
    const unit = world.leading(world.addNode("a"));
    unit.node.stop(() => {});
    const late = world.send("stats", {});
    world.clock.advance(50);
    const after = world.send("stats", {});
    world.clock.advance(50);
    expect(late[0]?.body.error).toMatchObject({ code: "shutting_down" });
    expect(after).toEqual([]);
  });
  test("polls of a paused shard wait until it is resumed", () => {
    const world = new NodeWorld();
    world.leading(world.addNode("a"));
    world.ask("pause", {});
    const poll = world.send("lease", { waitMs: 20_000 });
    world.enqueue(1);
    world.clock.advance(100);
    expect(poll).toEqual([]);
    world.ask("resume", {});
    world.clock.advance(10);
    expect(poll).toHaveLength(1);
  });
});

describe("a wrong log", () => {
  test("a stranger's message is stepped over by leader and follower, and the shard goes on", () => {
    const world = new NodeWorld();
    const first = world.leading(world.addNode("a"));
    const second = world.addNode("b");
    world.stream.publish(Buffer.from("junk"), "");
    expect(world.enqueue(1)).toHaveLength(1);
    world.clock.advance(100);
    expect(first.node.status()).toMatchObject({ mode: "leading", voids: 1 });
    expect(second.node.status()).toMatchObject({ mode: "following", voids: 1 });
    expect(second.node.status().sequence).toBe(first.node.status().sequence);
    expect(second.lines.map(({ event }) => event)).toContain("void_message");
  });
  test("a hole in the stream halts a follower, which then never leads", () => {
    const world = new NodeWorld();
    const first = world.leading(world.addNode("a"));
    for (let count = 0; count < 5; count += 1) world.enqueue(1);
    world.stream.drop(4);
    const second = world.addNode("b", { confirmMs: 1_000 });
    world.clock.until(() => second.node.status().mode === "halted");
    expect(second.node.status().halt).toMatchObject({ code: "log_gap" });
    world.kill(first);
    world.clock.advance(10_000);
    expect(second.node.status().mode).toBe("halted");
  });
  test("a data folder that knows another log halts the node before it reads anything", () => {
    const world = new NodeWorld();
    const unit = world.leading(world.addNode("a"));
    world.kill(unit);
    const other = world.addNode("a", { logId: "log-2" }, unit.store);
    world.clock.advance(1_000);
    expect(other.node.status()).toMatchObject({ mode: "halted", halt: { code: "log_identity" } });
  });
  test("a log that is shorter than the data folder remembers halts the node", () => {
    const world = new NodeWorld();
    const unit = world.leading(world.addNode("a"));
    world.enqueue(1);
    world.enqueue(1);
    world.clock.advance(15_000);
    world.kill(unit);
    world.stream.truncateTail(2);
    const again = world.addNode("a", { confirmMs: 1_000 }, unit.store);
    world.clock.advance(5_000);
    expect(again.node.status()).toMatchObject({ mode: "halted", halt: { code: "log_tail_lost" } });
    expect(world.stream.lastSequence).toBe(2);
  });
});

describe("hostile surroundings", () => {
  const item = { resourceType: "table", resourceId: "t" };

  test("junk in the registry does not keep a node from leading, and is not overwritten", () => {
    const world = new NodeWorld();
    let stored: Uint8Array | undefined;
    world.kv.put("local.default", Buffer.from("not json{{"), 0, () => {});
    const unit = world.leading(world.addNode("a"));
    world.clock.advance(100);
    world.kv.get("local.default", (outcome) => {
      stored = outcome.kind === "ok" ? outcome.value?.value : undefined;
    });
    world.clock.advance(10);
    expect(Buffer.from(stored ?? []).toString()).toBe("not json{{");
    expect(unit.lines.map(({ event }) => event)).toContain("registry_entry_wrong");
    expect(world.enqueue(1)).toHaveLength(1);
  });
  test("forged beats in a dead leader's name do not keep the standby from taking over", () => {
    const world = new NodeWorld();
    const first = world.leading(world.addNode("a"));
    const second = world.addNode("b");
    world.clock.advance(500);
    world.kill(first);
    const forged = {
      logId: "log-1",
      term: 1,
      leader: "a",
      sequence: 1,
      streamSequence: 1,
      incarnation: "x",
      state: "leading",
    };
    const beat = (): void => {
      world.wire.deliver({
        subject: "omnirelay.ready.local.default",
        reply: "",
        payload: Buffer.from(JSON.stringify(forged)),
        trace: "",
      });
      world.clock.setTimer(200, beat);
    };
    beat();
    world.clock.until(() => second.node.status().mode === "leading", 10_000);
  });
  test("beats of a term that the log does not show neither silence a standby nor make the leader write without end", () => {
    const world = new NodeWorld();
    world.leading(world.addNode("a"));
    const before = world.stream.lastSequence;
    const forged = {
      logId: "log-1",
      term: 99,
      leader: "z",
      sequence: 1,
      streamSequence: 1,
      incarnation: "x",
      state: "leading",
    };
    for (let count = 0; count < 300; count += 1) {
      world.wire.deliver({
        subject: "omnirelay.ready.local.default",
        reply: "",
        payload: Buffer.from(JSON.stringify(forged)),
        trace: "",
      });
      world.clock.advance(10);
    }
    expect(world.stream.lastSequence - before).toBeLessThanOrEqual(4);
  });
  test("a flood of refusals costs the log few frames", () => {
    const world = new NodeWorld();
    world.leading(world.addNode("a"));
    const before = world.stream.lastSequence;
    const answers = Array.from({ length: 500 }, () => {
      world.clock.advance(1);
      return world.send("complete", { leases: [{ itemId: "zz", token: 1 }] });
    });
    world.clock.until(() => answers.every((each) => each.length === 1));
    expect(world.stream.lastSequence - before).toBeLessThan(60);
  });
  test("a log that is shorter than the leader's beats have shown is not led", () => {
    const world = new NodeWorld();
    const first = world.leading(world.addNode("a"));
    const second = world.addNode("b", { confirmMs: 2_000 });
    for (let count = 0; count < 5; count += 1) world.enqueue(1);
    second.log.disconnect();
    for (let count = 0; count < 5; count += 1) world.enqueue(1);
    world.clock.advance(600);
    world.kill(first);
    world.stream.truncateTail(world.stream.lastSequence - 5);
    second.log.reconnect();
    world.clock.advance(10_000);
    expect(second.node.status()).toMatchObject({ mode: "halted", halt: { code: "log_tail_lost" } });
  });
  test("of two processes with one peer id the older leader leaves for good", () => {
    const world = new NodeWorld();
    const first = world.leading(world.addNode("a"));
    world.enqueue(1);
    first.log.disconnect();
    first.gossip.setConnected(false);
    const second = world.leading(world.addNode("a"));
    first.log.reconnect();
    first.gossip.setConnected(true);
    world.clock.advance(5_000);
    expect(first.node.status()).toMatchObject({ mode: "halted", halt: { code: "peer_id_taken" } });
    expect(second.node.status()).toMatchObject({ mode: "leading", term: 2 });
  });
  test("a lease does not run out while requests cannot reach the idle leader", () => {
    const world = new NodeWorld({ leaseDurationMsDefault: 4_000 });
    const unit = world.leading(world.addNode("a"));
    world.enqueue(1);
    const [lease] = leasesOf(world.ask("lease", {})) as [Lease];
    world.clock.advance(1_500);
    unit.rpc.setConnected(false);
    world.clock.advance(30_000);
    unit.rpc.setConnected(true);
    expect(resultsOf(world.ask("heartbeat", { leases: [ref(lease)] }))[0]).not.toHaveProperty("error");
  });
  test("leases run out under a load that never lets the queue become empty", () => {
    const world = new NodeWorld({ leaseDurationMsDefault: 400 });
    const unit = world.leading(world.addNode("a"));
    world.enqueue(1);
    const [lease] = leasesOf(world.ask("lease", {})) as [Lease];
    const load = Buffer.from(JSON.stringify({ items: Array(4).fill({ ...item, body: "x".repeat(60_000) }) }));
    // Two of them fill a frame, which takes as long as two of them take to come; a few more wait from the beginning.
    for (let round = 0; round < 70; round += 1) {
      unit.log.failNextAppend({ kind: "delay", delayMs: 20 });
      for (let count = round === 0 ? 7 : 1; count > 0; count -= 1) world.send("enqueue", load);
      world.clock.advance(10);
    }
    const late = world.ask("complete", { leases: [ref(lease)] });
    expect(codeOf(resultsOf(late)[0])).toBe("stale_token");
  });
  test("a data folder that cannot be written is an alarm, not the end of the shard", () => {
    const world = new NodeWorld();
    const unit = world.leading(world.addNode("a"));
    unit.store.put = () => {
      throw new Error("disk full");
    };
    world.enqueue(1);
    world.clock.advance(15_000);
    expect(unit.node.status()).toMatchObject({
      mode: "leading",
      alarms: [{ code: "data_dir_unwritable", message: "disk full", isServing: false }],
    });
  });
  test("messages that are purged behind its back are an alarm before a restart needs them", () => {
    const world = new NodeWorld();
    const unit = world.leading(world.addNode("a"));
    world.enqueue(1);
    world.stream.trimBelow(2);
    world.clock.advance(15_000);
    expect(unit.node.status().alarms[0]?.code).toBe("log_incomplete");
  });
  test("more long polls than the leader keeps are told to come back", () => {
    const world = new NodeWorld();
    world.leading(world.addNode("a"));
    const types = Array.from({ length: 64 }, (_, index) => `type-${index}`);
    const answers = Array.from({ length: 3_200 }, () => world.send("lease", { waitMs: 30_000, resourceTypes: types }));
    world.clock.advance(100);
    const refused = answers.filter((each) => each[0]?.body.error?.code === "resource_exhausted");
    expect(refused).toHaveLength(3_200 - 3_125);
  });
});
