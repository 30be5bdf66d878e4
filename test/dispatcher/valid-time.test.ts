/** How long a worker is told that its lease is valid: never longer than a leader that took over meanwhile would keep it. */
import { expect, test } from "vitest";
import { type NodeUnit, NodeWorld } from "./node-world.ts";

const DURATION_MS = 3_000;

interface Leased {
  readonly leases: readonly { readonly itemId: string; readonly token: number }[];
}

function leasedWorld(leaseDurationMsDefault = DURATION_MS) {
  const world = new NodeWorld({ leaseDurationMsDefault });
  const a = world.leading(world.addNode("a"));
  const b = world.addNode("b");
  world.clock.advance(500);
  world.enqueue(1);
  const lease = (world.ask("lease", {}) as unknown as Leased).leases[0] as Leased["leases"][number];
  return { world, a, b, leases: [{ itemId: lease.itemId, token: lease.token }] };
}

function cutOff({ gossip, log }: NodeUnit): void {
  gossip.setConnected(false);
  log.disconnect();
}

function expiryMs(world: NodeWorld): number {
  const isExpired = (): boolean => world.frames().some(({ events }) => events.some(({ type }) => type === "expired"));
  world.clock.until(isExpired, 20_000, 5);
  return world.clock.monotonicMs();
}

const validMsOf = (body: unknown): number =>
  (body as { results: readonly { validMs: number }[] }).results[0]?.validMs as number;

test("a renewal whose frame is found in the log late counts from when it was sent, for another may lead since", () => {
  const { world, a, b, leases } = leasedWorld();
  world.clock.advance(DURATION_MS * 0.8);
  a.log.failNextAppend({ kind: "lose_ack" });
  const sentMs = world.clock.monotonicMs();
  const answers = world.send("heartbeat", { leases, timeoutMs: 60_000 });
  world.clock.advance(5);
  cutOff(a);
  world.leading(b);
  world.clock.advance(500);
  a.log.reconnect();
  world.clock.until(() => answers.length > 0, 10_000);
  const validUntilMs = sentMs + validMsOf(answers[0]?.body);
  expect(expiryMs(world)).toBeGreaterThanOrEqual(validUntilMs);
});

test("a beat that is answered behind the expiry of its lease does not call the lease valid", () => {
  const { world, a, leases } = leasedWorld();
  world.ask("heartbeat", { leases, extendMs: 300 });
  a.log.failNextAppend({ kind: "delay", delayMs: 700 });
  world.send("enqueue", { items: [{ resourceType: "t", resourceId: "r" }] });
  world.clock.advance(10);
  world.send("enqueue", { items: [{ resourceType: "t", resourceId: "s" }] });
  world.clock.advance(250);
  const answers = world.send("heartbeat", { leases });
  world.clock.until(() => answers.length > 0);
  const [result] = (answers[0] as unknown as { body: { results: { validMs: number; error?: object }[] } }).body.results;
  const isLive = world.fold().active > 0;
  if (!isLive && result?.error === undefined) expect(result?.validMs).toBe(0);
});

test("a lease whose worker beats in time lives on although the frames before its renewal are slow", () => {
  const { world, a, leases } = leasedWorld(1_000);
  world.clock.advance(200);
  a.log.failNextAppend({ kind: "delay", delayMs: 950 });
  const enqueue = () => world.send("enqueue", { items: [{ resourceType: "t", resourceId: "r" }] });
  enqueue();
  world.clock.advance(50);
  // It waits for the frame before, and so do the beats, with the log time at which it was opened.
  enqueue();
  for (let beat = 0; beat < 6; beat += 1) {
    world.clock.advance(250);
    world.send("heartbeat", { leases });
  }
  const ends = world.frames().flatMap(({ events }) => events.filter(({ type }) => type === "expired"));
  expect(ends).toEqual([]);
  expect(world.fold().active).toBe(1);
});

test("a beat that tells of progress takes nothing from what a leader that took over has promised", () => {
  const world = new NodeWorld({ leaseDurationMsDefault: 10_000 });
  const first = world.leading(world.addNode("a"));
  const second = world.addNode("b");
  world.ask("configure", { logVersion: 2 });
  world.enqueue(1);
  const [lease] = world.ask("lease", {})["leases"] as unknown as { itemId: string; token: number }[];
  const ref = { itemId: lease?.itemId, token: lease?.token };
  world.ask("heartbeat", { leases: [ref], extendMs: 40_000 });
  world.clock.advance(8_000);
  world.kill(first);
  world.leading(second);
  const [told] = world.ask("heartbeat", { leases: [ref] })["results"] as unknown as { validMs: number }[];
  expect(told?.validMs).toBeGreaterThan(35_000);
  // Its answer may be lost: what was told before still holds.
  world.ask("heartbeat", { leases: [{ ...ref, progress: "half" }] });
  world.clock.advance(35_000);
  expect(world.fold().active).toBe(1);
  world.clock.advance(30_000);
  expect(world.fold().active).toBe(0);
});
