/** Leases and long polls of a shard node on a virtual clock. */
import { describe, expect, test } from "vitest";
import { type Answer, NodeWorld } from "./node-world.ts";

type Lease = { itemId: string; token: number; validMs: number; attempt: number; expiresAt: number };
const leasesOf = (body: Answer["body"]): Lease[] => body["leases"] as unknown as Lease[];
const resultsOf = (body: Answer["body"]): Record<string, unknown>[] => body["results"] as never;
const ref = ({ itemId, token }: Lease) => ({ itemId, token });

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
