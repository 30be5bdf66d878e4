/** Long polls and quotas: who waits hears as soon as a quota has room, and nobody turns in circles meanwhile. */
import { expect, test } from "vitest";
import { type Answer, NodeWorld } from "./node-world.ts";

type Lease = { itemId: string; token: number };
const leasesOf = (answer: Answer | undefined): Lease[] => (answer?.body["leases"] ?? []) as unknown as Lease[];

test.each([undefined, ["table"]])("a poll for %s hears of the slot that the end of a lease frees", (resourceTypes) => {
  const world = new NodeWorld();
  world.leading(world.addNode("a"));
  world.ask("configure", { logVersion: 2, quotas: { "key/db": { leasesMax: 1 } } });
  const ids = world.enqueue(2, { quotaKey: "db", resourceType: "table" });
  const types = resourceTypes === undefined ? {} : { resourceTypes };
  const [lease] = leasesOf({ body: world.ask("lease", { maxItems: 5, ...types }) } as Answer);
  expect(lease?.itemId).toBe(ids[0]);
  const poll = world.send("lease", { waitMs: 20_000, ...types });
  world.clock.advance(1_000);
  expect(poll).toHaveLength(0);
  world.ask("complete", { leases: [{ itemId: lease?.itemId, token: lease?.token }] });
  world.clock.until(() => poll.length === 1);
  expect(leasesOf(poll[0]).map(({ itemId }) => itemId)).toEqual([ids[1]]);
});

test("polls hear of a rate one after the other, when it grants the next one", () => {
  const world = new NodeWorld();
  world.leading(world.addNode("a"));
  world.ask("configure", { logVersion: 2, quotas: { "group/*": { rate: { count: 1, perMs: 500 } } } });
  world.enqueue(3, { group: "acme" });
  const from = world.clock.monotonicMs();
  const polls = [1, 2, 3].map(() => world.send("lease", { waitMs: 20_000 }));
  const count = () => polls.filter((poll) => poll.length === 1).length;
  world.clock.until(() => count() === 1);
  expect(world.clock.monotonicMs() - from).toBeLessThan(100);
  world.clock.advance(300);
  expect(count()).toBe(1);
  world.clock.until(() => count() === 2);
  world.clock.until(() => count() === 3);
  const tookMs = world.clock.monotonicMs() - from;
  expect(tookMs).toBeGreaterThanOrEqual(1_000);
  expect(tookMs).toBeLessThan(1_400);
});

test("a poll hears at once of a quota that is raised", () => {
  const world = new NodeWorld();
  world.leading(world.addNode("a"));
  world.ask("configure", { logVersion: 2, quotas: { "group/acme": { leasesMax: 0 } } });
  world.enqueue(1, { group: "acme" });
  const poll = world.send("lease", { waitMs: 20_000 });
  world.clock.advance(500);
  expect(poll).toHaveLength(0);
  world.ask("configure", { quotas: { "group/acme": null } });
  world.clock.until(() => poll.length === 1);
  expect(leasesOf(poll[0])).toHaveLength(1);
});

test("a leader that takes over grants no more than the quota", () => {
  const world = new NodeWorld();
  const first = world.leading(world.addNode("a"));
  const second = world.addNode("b");
  world.ask("configure", { logVersion: 2, quotas: { "key/db": { leasesMax: 2 } } });
  world.enqueue(4, { quotaKey: "db" });
  expect(leasesOf({ body: world.ask("lease", { maxItems: 1 }) } as Answer)).toHaveLength(1);
  world.kill(first);
  world.leading(second);
  expect(leasesOf({ body: world.ask("lease", { maxItems: 5 }) } as Answer)).toHaveLength(1);
});
