/** The golden log of the newest state version: fixed commands, whose frames are checked in. Another file for each version that was raised. */
import type { RequestInput } from "../../contracts/commands.ts";
import type { Frame } from "../../contracts/frame.ts";
import { endDoomed } from "../../services/core/doomed.ts";
import { stateHash } from "../../services/core/hash.ts";
import { writeTicks } from "../../services/core/schedule-ticks.ts";
import { releaseTerm, startTerm, writeStateHash } from "../../services/core/term.ts";
import { ShardWorld } from "./shard-world.ts";

/** What stands in the file: all frames, then one line with the hash of the state that they make. */
export function goldenLog(): string {
  const world = goldenWorld();
  return `${[...world.frames.map((frame) => JSON.stringify(frame)), JSON.stringify({ stateHash: stateHash(world.state) })].join("\n")}\n`;
}

export function readGoldenLog(text: string): { readonly frames: readonly Frame[]; readonly hash: string } {
  const lines = text.trimEnd().split("\n");
  const last = JSON.parse(lines.pop() ?? "") as { stateHash: string };
  return { frames: lines.map((line) => JSON.parse(line) as Frame), hash: last.stateHash };
}

/** Every event, every outcome, every exclusivity, a halted and a used-up partition, an eviction, a second epoch. */
function goldenWorld(): ShardWorld {
  const world = new ShardWorld({ at: 1_700_000_000_000, options: { recordsMax: 2, maxAttempts: 2 } });
  const wait = (ms: number): void => {
    world.at += ms;
  };
  world.seed(3, { body: '{"rows":[1,2,3]}', attributes: { zone: "b", área: "norte 😀" } });
  world.seed(1, {
    resourceType: "view",
    requestId: "nightly-1",
    payloadEncoding: "text/plain",
    body: "",
    maxAttempts: 1,
  });
  for (const resourceId of ["a", "a"]) world.seed(1, { resourceType: "file", resourceId, exclusivity: "resource" });
  for (let index = 0; index < 3; index += 1) world.seed(1, { partitionKey: "eu/1", exclusivity: "partition" });
  world.seed(2, { resourceType: "stream", exclusivity: "partition" });
  wait(5);
  world.send(
    "lease",
    { maxItems: 3, requestId: "lease-1", leaseDurationMs: 20_000 },
    { principal: "worker", peerId: "worker--1", trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" },
  );
  wait(8_000);
  const leases = [...world.state.leased].map((item) => ({ itemId: item.itemId, token: item.lease?.token ?? 1 }));
  world.send("heartbeat", { leases });
  wait(10);
  const [one, two, three] = leases;
  if (one === undefined || two === undefined || three === undefined) throw new Error("three items are leased");
  world.send("complete", { leases: [{ ...one, result: "rows: 3" }] });
  world.send("fail", { leases: [{ ...two, reason: "disk full", code: "io.full" }] });
  world.send("release", { leases: [three] });
  world.frame((sink) => writeStateHash(world.state, { at: world.at }, sink));
  wait(1);
  world.expire(world.take({ resourceTypes: ["view"] }).itemId);
  world.send("pause", {}, { principal: "operator" });
  world.send(
    "configure",
    {
      options: { exclusivity: "resource", leaseAgeMsMax: 3_600_000, onDeadLetter: "halt" },
      followers: {
        lake: { kind: "sink", logVersionMax: 1, keepBytes: 5_000_000_000, keepMs: 60_000 },
        audit: { kind: "mirror" },
      },
    },
    { principal: "operator" },
  );
  world.send("resume", {}, { principal: "operator" });
  world.send("configure", { followers: { audit: null } }, { principal: "operator" });
  world.frame((sink) => releaseTerm(world.state, { successor: "dispatcher--b" }, { at: world.at }, sink));
  wait(100);
  world.frame((sink) =>
    startTerm(world.state, { term: 2, leader: "dispatcher--b", tokenEpoch: 2 }, { at: world.at }, sink),
  );
  world.seed(2, { requestId: "after-epoch" });
  const taken = world.send("lease", { maxItems: 9 }, { principal: "other" })["leases"] as {
    itemId: string;
    token: number;
  }[];
  const settled = taken.map(({ itemId, token }) => ({ itemId, token }));
  world.send(
    "fail",
    { leases: settled.slice(3, 5).map((lease) => ({ ...lease, reason: "bad input", requeue: false })) },
    { principal: "other" },
  );
  world.send("complete", { leases: settled.slice(0, 3) }, { principal: "other" });
  orderAndTime(world, wait);
  wait(4_000_000);
  const last = settled.at(-1);
  if (last !== undefined) world.expire(last.itemId, "age");
  shares(world, wait);
  flows(world);
  drains(world);
  world.frame((sink) => writeStateHash(world.state, { at: world.at }, sink));
  return world;
}

/** State version 2: quotas of groups and keys, rates, and turns between groups. */
function shares(world: ShardWorld, wait: (ms: number) => void): void {
  world.send(
    "configure",
    {
      options: { fairness: "groups" },
      quotas: {
        "group/acme": { weight: 3, rate: { count: 2, perMs: 1_000, burst: 3 } },
        "group/*": { leasesMax: 2 },
        "key/db/1": { leasesMax: 1 },
      },
    },
    { principal: "operator" },
  );
  const type = { resourceType: "shared", exclusivity: "none" as const };
  world.seed(5, { ...type, group: "acme" });
  world.seed(4, { ...type, group: "öther", quotaKey: "db/1" });
  world.seed(1, type);
  for (const maxItems of [4, 4]) {
    world.send("lease", { maxItems, resourceTypes: ["shared"] }, { principal: "other" });
    wait(600);
  }
  world.send("configure", { quotas: { "group/*": null } }, { principal: "operator" });
}

/** State version 2: priorities with and without ageing, delays, ends of time, lengths of leases, retries. */
function orderAndTime(world: ShardWorld, wait: (ms: number) => void): void {
  world.send(
    "configure",
    { options: { retry: "exponential", retryFirstMs: 100, maxAttempts: 5 } },
    { principal: "operator" },
  );
  const type = { resourceType: "timed" };
  world.seed(1, { ...type, priority: 3, leaseDurationMs: 7_000 });
  world.send("configure", { options: { ageingMs: 60_000 } }, { principal: "operator" });
  world.seed(1, { ...type, priority: 1, exclusivity: "resource", retry: { kind: "list", delaysMs: [10, 20] } });
  world.seed(1, {
    ...type,
    priority: 9,
    exclusivity: "resource",
    retry: { kind: "exponential", firstMs: 5, maxMs: 50 },
  });
  world.seed(1, { ...type, delayMs: 500, notAfter: world.at + 900, retry: { kind: "fixed", delayMs: 30 } });
  world.seed(1, {
    ...type,
    partitionKey: "timed",
    exclusivity: "partition",
    notBefore: world.at + 50,
    retry: { kind: "none" },
  });
  world.seed(1, { ...type, notAfter: world.at + 10 });
  wait(60);
  const failing = { reason: "busy", code: "busy" };
  const random = (): number => 0.75;
  const fail = (more: object): unknown =>
    world.send("fail", { leases: [{ ...world.take({ resourceTypes: ["timed"] }), ...failing, ...more }] }, { random });
  fail({});
  fail({ penalty: false });
  fail({ delayMs: 2_000 });
  wait(500);
  fail({});
  wait(400);
  world.take({ resourceTypes: ["timed"] });
  ends(world);
  schedules(world, wait);
}

/** State version 2: unique keys, progress, cancellations, and dead letters that come back or go. */
function ends(world: ShardWorld): void {
  const type = { resourceType: "ending" };
  const take = (): { itemId: string; token: number } => world.take({ resourceTypes: ["ending"] });
  const [first = ""] = world.seed(4, type);
  world.seed(2, { ...type, uniqueKey: "only" });
  world.send("cancel", { itemIds: [first] }, { principal: "operator" });
  const asked = [take(), take(), take()];
  world.send("heartbeat", { leases: asked.map((lease) => ({ ...lease, progress: "half" })) });
  world.send("cancel", { itemIds: asked.map(({ itemId }) => itemId), reason: "no need" }, { principal: "operator" });
  const [one, two, three] = asked;
  if (one === undefined || two === undefined || three === undefined) throw new Error("three items are leased");
  world.send("fail", { leases: [{ ...one, reason: "stopped" }] });
  world.send("release", { leases: [two] });
  world.expire(three.itemId);
  const letter = take();
  world.send("fail", { leases: [{ ...letter, reason: "bad", requeue: false }] });
  world.send("redrive", { itemIds: [letter.itemId] }, { principal: "operator" });
  world.seed(1, { ...type, partitionKey: "ending", exclusivity: "partition" });
  const letters = [take(), take()];
  for (const lease of letters) world.send("fail", { leases: [{ ...lease, reason: "bad", requeue: false }] });
  world.send("purge", { itemIds: letters.slice(1).map(({ itemId }) => itemId) }, { principal: "operator" });
}

/** State version 2: items that wait for others, run with what those left, fail with them by each policy, and are brought back. */
function flows(world: ShardWorld): void {
  const operator = { principal: "operator" };
  const type = { resourceType: "flow", resourceId: "f" };
  const entries = [
    type,
    type,
    { ...type, dependsOn: [{ index: 0 }, { index: 1 }] },
    { ...type, dependsOn: [{ index: 1 }], onDependencyFailure: "run" as const },
    { ...type, dependsOn: [{ index: 1 }], onDependencyFailure: "cancel" as const },
    { ...type, dependsOn: [{ index: 0 }], notAfter: world.at + 60_000, exclusivity: "partition" as const },
    { ...type, dependsOn: [{ index: 5 }, { index: 0 }] },
  ];
  const ids = (world.send("enqueue", { items: entries })["results"] as { itemId: string }[]).map((one) => one.itemId);
  const take = (): { itemId: string; token: number } => world.take({ resourceTypes: ["flow"] });
  world.send("complete", { leases: [{ ...take(), result: "first" }] });
  world.send("cancel", { itemIds: ids.slice(1, 2) }, operator);
  world.frame((sink) => endDoomed(world.state, world.at, 100_000, sink));
  world.send("redrive", { itemIds: ids.slice(2, 3) }, operator);
  take();
  world.send("complete", { leases: [take()] });
}

/** State version 2: drains that are restored and discarded, items that are made anew, leases that are evicted. */
function drains(world: ShardWorld): void {
  const operator = { principal: "operator" };
  world.seed(3, { resourceType: "draining", body: "b", priority: 1 });
  const take = (): { itemId: string; token: number } => world.take({ resourceTypes: ["draining"] });
  take();
  world.send("evict", { peerId: "worker" }, operator);
  const letter = take();
  world.send("fail", { leases: [{ ...letter, reason: "bad", requeue: false }] });
  world.send("drain", { drainId: "first", leases: "wait" }, operator);
  world.send("redrive", { itemIds: [letter.itemId] }, operator);
  world.send("restore", { drainId: "first" }, operator);
  take();
  world.send("drain", { drainId: "second", leases: "expire" }, operator);
  const items = world.send("list", { drainId: "second" })["drained"];
  world.send("discard", { drainId: "second" }, operator);
  const origin = { logId: world.state.logId, region: "local", shard: "default" };
  world.send("restore", { drainId: "second", origin, items: items.slice(-2) }, operator);
  world.send("drain", { drainId: "third" }, operator);
}

/** State version 2: schedules that tick, are paused, miss ticks, meet a unique key, and go. */
function schedules(world: ShardWorld, wait: (ms: number) => void): void {
  const at = { principal: "planner" };
  const nextTick = (cron: string, _timeZone: string, afterMs: number): number =>
    (Math.floor(afterMs / Number(cron)) + 1) * Number(cron);
  const put = (spec: RequestInput<"schedule-put">): unknown => world.send("schedule-put", spec, { ...at, nextTick });
  const turn = (): void => world.frame((sink) => writeTicks(world.state, world.at, 100_000, nextTick, sink));
  const item = { resourceType: "ticking", resourceId: "t", body: "{}" };
  put({ name: "all", cron: "60000", catchUp: "all", item });
  put({ name: "none", cron: "1000000", catchUp: "none", timeZone: "Europe/Berlin", item: { ...item, priority: 2 } });
  put({ name: "unique", cron: "120000", item: { ...item, uniqueKey: "tick" } });
  put({ name: "paused", cron: "60000", paused: true, item });
  put({ name: "gone", cron: "60000", item });
  world.send("schedule-delete", { name: "gone" }, at);
  wait(125_000);
  turn();
  wait(3_600_000);
  turn();
}
