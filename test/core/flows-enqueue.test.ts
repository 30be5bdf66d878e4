/** Flows: what an enqueue of one is refused for, and flows that go through an export. */
import { describe, expect, test } from "vitest";
import type { RequestInput } from "../../contracts/commands.ts";
import { DEPENDENCIES_MAX, DEPENDENTS_MAX, FRAME_BYTES_MAX, REQUEST_BYTES_MAX } from "../../contracts/limits.ts";
import { FlowWorld } from "./flow-world.ts";
import { ShardWorld, type WorldOptions } from "./shard-world.ts";

type Entry = RequestInput<"enqueue">["items"][number];
const world = (options: WorldOptions["options"] = {}): FlowWorld => new FlowWorld({ options });
const first = { index: 0 };

describe("an enqueue of a flow", () => {
  const refusal = (shard: FlowWorld, ...items: readonly Partial<Entry>[]) =>
    shard
      .send("enqueue", { items: items.map((item) => ({ resourceType: "step", resourceId: "s", ...item })) })
      ["results"].map(({ error }: { error?: { code: string; message: string } }) => error);

  test("refuses what cannot be waited for, names it, and takes the rest", () => {
    const shard = world({ recordsMax: 1 });
    const [gone = ""] = shard.enqueue({}, {});
    for (const _ of [1, 2]) shard.finish();
    const errors = refusal(
      shard,
      {},
      { dependsOn: [{ index: 1 }] },
      { dependsOn: [first, { index: 7 }] },
      { dependsOn: [{ itemId: "zz" }] },
      { dependsOn: [{ itemId: gone }] },
      { dependsOn: [first] },
    );
    expect(errors.map((error: { code: string } | undefined) => error?.code)).toEqual([
      undefined,
      ...["invalid_argument", "invalid_argument", "item_not_found", "item_not_found"],
      undefined,
    ]);
    expect(errors[1].message).toContain("dependsOn.0.index");
    expect(errors[2].message).toContain("dependsOn.1.index");
    const [itemId = ""] = [...shard.state.dependents.keys()];
    expect(refusal(shard, { uniqueKey: "u" }, { dependsOn: [first, { itemId }] })).toEqual([undefined, undefined]);
    expect(refusal(shard, { uniqueKey: "u" }, { uniqueKey: "u" }, { dependsOn: [first, { index: 1 }] })[2].code).toBe(
      "invalid_argument",
    );
  });

  test("refuses what depends on a refused entry, with the same code", () => {
    const shard = world({ itemBytesMax: 1_024 });
    const errors = refusal(
      shard,
      { body: "x".repeat(2_000) },
      { dependsOn: [first] },
      { dependsOn: [{ index: 1 }] },
      {},
    );
    expect(errors.map((error: { code: string } | undefined) => error?.code)).toEqual([
      ...["payload_too_large", "payload_too_large", "payload_too_large"],
      undefined,
    ]);
  });

  test("answers a repeat, and refuses the id for other dependencies", () => {
    const shard = world();
    const flow = (index: number): RequestInput<"enqueue"> => ({
      requestId: "flow",
      items: [{}, {}, { dependsOn: [{ index }] }].map((item) => ({
        ...{ resourceType: "step", resourceId: "s" },
        ...item,
      })),
    });
    const before = shard.send("enqueue", flow(0))["results"];
    const again = shard.send("enqueue", flow(0))["results"];
    expect(again).toEqual(before.map((result: object) => ({ ...result, duplicate: true })));
    expect(shard.send("enqueue", flow(1))["results"][2].error.code).toBe("conflict");
  });

  test("is request_expired, not item_not_found, where both may be so: the item may have been made", () => {
    const shard = world({ recordsMax: 0 });
    const [one = ""] = shard.enqueue({});
    const request: RequestInput<"enqueue"> = {
      ...{ requestId: "once", after: shard.state.sequence },
      items: [{ resourceType: "t", resourceId: "r", dependsOn: [{ itemId: one }] }],
    };
    shard.send("enqueue", request);
    shard.finish();
    shard.finish();
    expect(shard.send("enqueue", request)["results"][0].error.code).toBe("request_expired");
    expect(shard.send("enqueue", { ...request, after: shard.state.sequence })["results"][0].error.code).toBe(
      "item_not_found",
    );
  });

  test("takes no more items that depend on one than its end can tell at once", () => {
    const shard = new ShardWorld();
    const [itemId = ""] = shard.seed(1);
    shard.seed(DEPENDENTS_MAX, { dependsOn: [{ itemId }] });
    const items = [{ resourceType: "t", resourceId: "r", dependsOn: [{ itemId }] }];
    expect(shard.send("enqueue", { items })["results"][0].error).toMatchObject({
      code: "resource_exhausted",
      details: { itemId, limit: DEPENDENTS_MAX },
    });
  });

  test("is refused whole where an entry is no entry", () => {
    const shard = world();
    const send = (item: object) => () =>
      shard.send("enqueue", { items: [{ resourceType: "t", resourceId: "r", ...item }] });
    expect(send({ dependsOn: [] })).toThrow("dependsOn");
    expect(send({ dependsOn: [{ index: -1 }] })).toThrow("dependsOn");
    expect(send({ dependsOn: [{ itemId: "a", index: 0 }] })).toThrow("dependsOn");
    expect(send({ dependsOn: [first, first] })).toThrow("names an item twice");
    expect(send({ dependsOn: Array.from({ length: DEPENDENCIES_MAX + 1 }, (_, index) => ({ index })) })).toThrow(
      "dependsOn",
    );
    expect(send({ onDependencyFailure: "cancel" })).toThrow("needs dependsOn");
    expect(send({ dependsOn: [first], onDependencyFailure: "ignore" })).toThrow("onDependencyFailure");
  });
});

describe("a flow that is exported and restored", () => {
  const origin = { logId: "log-1", region: "local", shard: "default" };

  function exported(): { items: { itemId: string }[]; letter: string } {
    const shard = world();
    const [, letter = ""] = shard.enqueue(
      {},
      {},
      {},
      { dependsOn: [first, { index: 2 }] },
      { dependsOn: [{ index: 1 }], onDependencyFailure: "cancel" },
    );
    shard.finish("kept");
    expect(shard.bury()).toBe(letter);
    shard.send("drain", { drainId: "d" });
    return { items: shard.send("list", { drainId: "d" })["drained"], letter };
  }

  test("waits for what was made of its dependencies, and is a dead letter where one was left behind, even if it asked to be cancelled", () => {
    const { items, letter } = exported();
    const target = otherLog();
    const restored = target.send("restore", {
      drainId: "d",
      origin: { ...origin, logId: "log-0" },
      items: items as never,
    });
    const [open = "", fanIn = "", left = ""] = restored["results"].map(({ itemId }: { itemId: string }) => itemId);
    expect(target.record(fanIn)["dependencies"]).toMatchObject([
      { outcome: "completed", result: "kept" },
      { itemId: open, outcome: "pending" },
    ]);
    target.turn();
    expect(target.record(left)).toMatchObject({
      status: "deadLettered",
      deadLetter: { code: "dependency_failed" },
      dependencies: [{ itemId: letter, outcome: "unknown" }],
    });
    expect(target.finish("2")).toBe(open);
    expect(target.send("lease", {})["leases"]).toMatchObject([
      { itemId: fanIn, dependencies: [{ result: "kept" }, { result: "2" }] },
    ]);
  });

  /** The items come from `log-0`; here ids are others. */
  function otherLog(): FlowWorld {
    const shard = world();
    shard.enqueue({}, {});
    shard.finish();
    shard.finish();
    return shard;
  }

  test("is exported without results where a request could not restore it, and is granted with them all the same", () => {
    const shard = new ShardWorld({ options: { itemBytesMax: 512 * 1024 } });
    const count = 15;
    const ids = shard.seed(count);
    shard.seed(1, { body: "x".repeat(480 * 1024), dependsOn: ids.map((itemId) => ({ itemId })) });
    const result = "y".repeat(8_000);
    const leases = shard.send("lease", { maxItems: count })["leases"];
    for (const { itemId, token } of leases) shard.send("complete", { leases: [{ itemId, token, result }] });
    shard.send("drain", { drainId: "d" });
    const { drained } = shard.send("list", { drainId: "d" });
    expect(JSON.stringify(drained).length).toBeLessThan(REQUEST_BYTES_MAX - 1_024);
    expect(drained[0].dependencies).toEqual(ids.map((itemId) => ({ itemId, outcome: "completed", truncated: true })));
    shard.send("restore", { drainId: "d" });
    const reply = shard.send("lease", {});
    expect(reply["leases"][0].dependencies.map((one: { result: string }) => one.result)).toEqual(ids.map(() => result));
    expect(JSON.stringify(reply).length).toBeLessThan(FRAME_BYTES_MAX);
  });

  test("is refused where its file would make an item wait twice for one, or for none", () => {
    const shard = world();
    shard.enqueue({}, { dependsOn: [first] });
    shard.send("drain", { drainId: "d" });
    const [one, last] = shard.send("list", { drainId: "d" })["drained"];
    const restore = (...dependencies: readonly object[]) => {
      const target = otherLog();
      const items = [one, { ...last, dependencies }] as never;
      return target.send("restore", { drainId: "d", origin: { ...origin, logId: "log-0" }, items })["results"][1];
    };
    expect(restore(...last.dependencies, ...last.dependencies).error.code).toBe("invalid_argument");
    expect(() => restore()).toThrow("dependencies");
    expect(() => restore({ itemId: "a", outcome: "lost" })).toThrow("dependencies");
  });

  test("waits in its own log for the items themselves", () => {
    const shard = world();
    const [one = "", last = ""] = shard.enqueue({}, { dependsOn: [first] });
    shard.send("drain", { drainId: "d" });
    const { drained } = shard.send("list", { drainId: "d" });
    shard.send("discard", { drainId: "d" });
    shard.turn();
    const restored = shard.send("restore", { drainId: "d", origin, items: drained })["results"];
    const ids = restored.map(({ itemId }: { itemId: string }) => itemId);
    expect(ids).not.toContain(one);
    expect(ids).not.toContain(last);
    expect([shard.finish(), shard.finish()]).toEqual(ids);
  });
});
