/** A shard node on a virtual clock between wrong logs, strangers and floods. */
import { describe, expect, test } from "vitest";
import { type Answer, NodeWorld } from "./node-world.ts";

type Lease = { itemId: string; token: number; validMs: number; attempt: number; expiresAt: number };
const leasesOf = (body: Answer["body"]): Lease[] => body["leases"] as unknown as Lease[];
const resultsOf = (body: Answer["body"]): Record<string, unknown>[] => body["results"] as never;
const codeOf = (result: Record<string, unknown> | undefined): unknown =>
  (result?.["error"] as { code: string } | undefined)?.code;
const ref = ({ itemId, token }: Lease) => ({ itemId, token });

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
