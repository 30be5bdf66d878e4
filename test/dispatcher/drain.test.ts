/** What a leader does about drains beside deciding them: it ends leases, frame by frame and leader by leader, and serves who waited. */
import { expect, test } from "vitest";
import {
  ATTRIBUTE_VALUE_LENGTH_MAX,
  ENTRIES_PER_REQUEST_MAX,
  ITEM_BYTES_MAX,
  LOG_VERSION_TERMS,
  REASON_LENGTH_MAX,
  REQUEST_BYTES_MAX,
} from "../../contracts/limits.ts";
import { NodeWorld } from "./node-world.ts";

/** More than one frame can end. */
const LEASES = 4_000;

function world(): NodeWorld {
  return new NodeWorld({ leaseDurationMsDefault: 600_000 });
}

function raise(nodes: NodeWorld): void {
  nodes.ask("configure", { logVersion: LOG_VERSION_TERMS });
}

test("ends more leases than one frame holds, across a change of the leader, each once and none as expired", () => {
  const nodes = world();
  const first = nodes.leading(nodes.addNode("a"));
  const second = nodes.addNode("b");
  raise(nodes);
  for (let count = 0; count < LEASES; count += 1_000) nodes.enqueue(1_000);
  for (let count = 0; count < LEASES; count += 1_000) nodes.ask("lease", { maxItems: 1_000 });
  const reply = nodes.ask("drain", { drainId: "d", leases: "expire" });
  expect(reply).toMatchObject({ marked: LEASES, active: expect.any(Number) });
  expect(reply["active"]).toBeGreaterThan(0);
  nodes.kill(first);
  nodes.leading(second);
  while ((nodes.ask("stats", {})["active"] as number) > 0) nodes.clock.advance(20);
  expect(nodes.ask("drain", { drainId: "d", leases: "expire" })).toMatchObject({
    ...{ marked: LEASES, active: 0, duplicate: true },
  });
  const ended = nodes.frames().flatMap(({ events }) => events.filter((event) => "token" in event));
  expect(ended).toHaveLength(LEASES);
  expect(new Set(ended.map((event) => [event.type, "reason" in event ? event.reason : ""].join(" ")))).toEqual(
    new Set(["released drained"]),
  );
  // What a deadline is left of would be an expiry by now.
  nodes.clock.advance(700_000);
  expect(nodes.fold().drain).toMatchObject({ left: LEASES });
});

test.each([
  ["restore", "table"],
  ["discard", "later"],
])("polls of a drained shard wait, and are served behind its %s", (verb, type) => {
  const nodes = world();
  nodes.leading(nodes.addNode("a"));
  raise(nodes);
  nodes.enqueue(1);
  nodes.ask("drain", { drainId: "d" });
  const named = nodes.send("lease", { waitMs: 20_000, resourceTypes: [type] });
  nodes.enqueue(1, { resourceType: "later" });
  nodes.clock.advance(100);
  expect(named).toEqual([]);
  nodes.ask(verb, { drainId: "d" });
  nodes.clock.advance(10);
  expect(named[0]?.body).toMatchObject({ leases: [{ item: { resourceType: type } }] });
});

test("a poll whose wait is over is told of the drain", () => {
  const nodes = world();
  nodes.leading(nodes.addNode("a"));
  raise(nodes);
  nodes.ask("drain", { drainId: "d" });
  expect(nodes.ask("lease", { waitMs: 500 })).toMatchObject({ leases: [], reason: "draining" });
});

test("evict names whose leases end, not who asks", () => {
  const nodes = world();
  nodes.leading(nodes.addNode("a"));
  raise(nodes);
  nodes.enqueue(1);
  nodes.ask("lease", {}, "worker");
  expect(nodes.ask("evict", { peerId: "worker" }, "operator")).toMatchObject({ evicted: 1, left: 0 });
});

test("brings an item back that filled its request, with all of its past", () => {
  const nodes = world();
  nodes.leading(nodes.addNode("a"));
  nodes.ask("configure", { logVersion: LOG_VERSION_TERMS, options: { itemBytesMax: ITEM_BYTES_MAX } });
  const item = { resourceType: "t", resourceId: "r", body: "x".repeat(ITEM_BYTES_MAX - 2) };
  const bytes = JSON.stringify({ items: [{ ...item, attributes: {} }] }).length;
  const attributes: Record<string, string> = {};
  const longest = ATTRIBUTE_VALUE_LENGTH_MAX - '"99":"",'.length;
  for (let left = REQUEST_BYTES_MAX - bytes; left > 100; left -= longest + 8)
    attributes[String(Object.keys(attributes).length + 10)] = "y".repeat(Math.min(longest, left - 8));
  const enqueued = nodes.ask("enqueue", { items: [{ ...item, attributes }] });
  expect(enqueued["results"]).toMatchObject([{ duplicate: false }]);
  const [lease] = nodes.ask("lease", {})["leases"] as { itemId: string; token: number }[];
  const reason = "\u0001".repeat(REASON_LENGTH_MAX);
  nodes.ask("fail", { leases: [{ itemId: lease?.itemId, token: lease?.token, reason }] });
  nodes.ask("drain", { drainId: "d" });
  const items = nodes.ask("list", { drainId: "d" })["drained"];
  expect(nodes.ask("discard", { drainId: "d" })).toMatchObject({ left: 0 });
  const origin = { logId: "log-1", region: "local", shard: "default" };
  const restored = nodes.ask("restore", { drainId: "d", origin, items });
  expect(restored["results"]).toMatchObject([{ duplicate: false }]);
});

test("a discard ends the pages of an export that it overtakes, which would be without what it has ended", () => {
  const nodes = world();
  nodes.leading(nodes.addNode("a"));
  raise(nodes);
  for (let count = 0; count < 2; count += 1) nodes.enqueue(ENTRIES_PER_REQUEST_MAX);
  nodes.ask("drain", { drainId: "d" });
  const { drained, cursor } = nodes.ask("list", { drainId: "d", limit: 1 });
  expect(drained).toHaveLength(1);
  expect(nodes.ask("discard", { drainId: "d" })).toMatchObject({ left: ENTRIES_PER_REQUEST_MAX });
  expect(nodes.ask("list", { drainId: "d", cursor }).error?.code).toBe("conflict");
});
