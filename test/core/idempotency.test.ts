/** One effect per request, the same answer to its repeats, and a stated horizon. */
import { describe, expect, test } from "vitest";
import { EVENTS } from "../../contracts/events.ts";
import { assertInvariants } from "../../services/core/canonical.ts";
import { ShardWorld } from "./shard-world.ts";

const item = { resourceType: "table", resourceId: "orders", attributes: { b: "2", a: "1" } };

describe("enqueue", () => {
  const enqueue = (world: ShardWorld, changes: object = {}, principal = "seeder") =>
    world.send("enqueue", { items: [{ ...item, ...changes }], requestId: "id-1" }, { principal })["results"][0];

  test("a repeat gets the same item and writes nothing", () => {
    const world = new ShardWorld();
    const first = enqueue(world);
    expect(first).toEqual({ itemId: "3", sequence: 3, duplicate: false });
    const { length } = world.frames;
    expect(enqueue(world)).toEqual({ itemId: "3", sequence: 3, duplicate: true });
    expect(world.frames).toHaveLength(length);
  });

  test("the order of the attributes makes no difference", () => {
    const world = new ShardWorld();
    enqueue(world);
    expect(enqueue(world, { attributes: { a: "1", b: "2" } }).duplicate).toBe(true);
  });

  test.each([
    { body: "x" },
    { attributes: {} },
    { resourceId: "o" },
    { maxAttempts: 2 },
    { exclusivity: "none" as const },
  ])("other contents under the same id are a conflict: %j", (changes) => {
    const world = new ShardWorld();
    enqueue(world);
    expect(enqueue(world, changes).error.code).toBe("conflict");
  });

  test("an id belongs to its principal", () => {
    const world = new ShardWorld();
    enqueue(world, {}, "a");
    expect(enqueue(world, { body: "x" }, "b").duplicate).toBe(false);
    expect(enqueue(world, {}, "a").duplicate).toBe(true);
    expect(enqueue(world, { body: "x" }, "b").duplicate).toBe(true);
    assertInvariants(world.state);
    for (const lease of world.send("lease", { maxItems: 2 })["leases"])
      world.send("complete", { leases: [lease].map(named) });
    expect(enqueue(world, {}, "a").duplicate).toBe(true);
    expect(enqueue(world, { body: "x" }, "b").duplicate).toBe(true);
    assertInvariants(world.state);
  });

  test("each entry of a request has an id of its own", () => {
    const world = new ShardWorld();
    const request = { items: [item, item], requestId: "id-1" };
    const first = world.send("enqueue", request)["results"];
    expect(first[0].itemId).not.toBe(first[1].itemId);
    expect(world.send("enqueue", request)["results"]).toEqual(
      first.map((one: object) => ({ ...one, duplicate: true })),
    );
  });

  describe("under the id of a request", () => {
    const [a, b, c] = ["a", "b", "c"].map((resourceId) => ({ ...item, resourceId })) as [
      typeof item,
      typeof item,
      typeof item,
    ];
    const send = (world: ShardWorld, items: object[], requestId = "id-1") =>
      world.send("enqueue", { items: items as (typeof item)[], requestId })["results"];
    const codes = (results: { error?: { code: string } }[]) => results.map(({ error }) => error?.code);

    test.each([
      ["one more", [a, b, c]],
      ["one less", [a]],
      ["another second", [a, c]],
      ["another first", [c, b]],
      ["another order", [b, a]],
      ["others", [c, c]],
    ])("%s is a conflict of all", (_what, items) => {
      const world = new ShardWorld();
      send(world, [a, b]);
      const { length } = world.frames;
      expect(codes(send(world, items))).toEqual(items.map(() => "conflict"));
      expect(world.last?.confirm).toBe(true);
      expect(world.frames).toHaveLength(length);
      expect(send(world, [a, b]).map(({ duplicate }: { duplicate: boolean }) => duplicate)).toEqual([true, true]);
    });

    test("what was not taken the first time is taken by the same request again", () => {
      const world = new ShardWorld({ options: { pendingHigh: 1, backpressureCooldownMs: 0 } });
      expect(codes(send(world, [a, b]))).toEqual([undefined, "backpressure"]);
      world.send("configure", { options: { pendingHigh: 10 } });
      expect(codes(send(world, [a, b, c]))).toEqual(["conflict", "conflict", "conflict"]);
      expect(send(world, [a, b])).toMatchObject([{ duplicate: true }, { duplicate: false }]);
    });

    test("a conflict is one also while the first entry is forgotten", () => {
      const world = new ShardWorld({ options: { recordsMax: 0 } });
      const [first] = send(world, [a, b]);
      const lease = world.take();
      expect(lease.itemId).toBe(first.itemId);
      world.send("complete", { leases: [lease] });
      expect(codes(send(world, [a, b, c]))).toEqual(["conflict", "conflict", "conflict"]);
    });

    test.each(["r/0", "r/.0", "r/..0", "r//0", "r/0/", "r/00", "0", "/0", "/.0", "r/1", "r/0/1"])(
      "an item's own id %j is another than those that requests give",
      (id) => {
        const world = new ShardWorld();
        for (const requestId of ["r", "r/", "r/.", "r/..", "r/0", "r/0/"]) send(world, [a, b], requestId);
        const own = (requestId: string) =>
          world.send("enqueue", { items: [{ ...c, requestId }] })["results"][0] as { duplicate?: boolean };
        for (const other of ["r/0", "r/.0", "r/..0"]) if (other !== id) expect(own(other).duplicate).toBe(false);
        expect(own(id).duplicate).toBe(false);
        expect(own(id).duplicate).toBe(true);
        assertInvariants(world.state);
        assertInvariants(world.fold());
      },
    );

    test("the longest id of an item fits the log", () => {
      const world = new ShardWorld();
      world.send("enqueue", { items: [{ ...a, requestId: `${"x".repeat(124)}/999` }] });
      const [event] = world.lastEvents();
      expect(EVENTS.enqueued.safeParse(event).success).toBe(true);
    });
  });

  test("the same id twice in one request is one item", () => {
    const world = new ShardWorld();
    const entry = { ...item, requestId: "id-1" };
    const [first, second] = world.send("enqueue", { items: [entry, entry] })["results"];
    expect(second).toEqual({ ...first, duplicate: true });
  });

  test("a repeat is recognised while leased, as a dead letter and after completion", () => {
    for (const end of ["lease", "fail", "complete"] as const) {
      const world = new ShardWorld();
      enqueue(world);
      const lease = world.take();
      if (end === "fail") world.send("fail", { leases: [{ ...lease, reason: "bad", requeue: false }] });
      if (end === "complete") world.send("complete", { leases: [lease] });
      expect(enqueue(world)).toEqual({ itemId: "3", sequence: 3, duplicate: true });
    }
  });

  test("a repeat is answered under backpressure and against a smaller limit: it adds nothing", () => {
    const world = new ShardWorld();
    enqueue(world, { body: "twelve chars" });
    world.send("configure", { options: { pendingHigh: 1, itemBytesMax: 5 } });
    expect(enqueue(world, { body: "twelve chars" }).duplicate).toBe(true);
  });

  test("beyond the horizon an id with an older `after` is refused, one without it is tried again", () => {
    const world = new ShardWorld({ options: { recordsMax: 1 } });
    enqueue(world);
    world.send("complete", { leases: [world.take()] });
    world.seed(1);
    const { sequence } = world.send("complete", { leases: [world.take()] });
    expect(world.state.horizon).toBe(5);
    const retry = (after?: number) =>
      world.send(
        "enqueue",
        { items: [item], requestId: "id-1", ...(after === undefined ? {} : { after }) },
        { principal: "seeder" },
      )["results"][0];
    expect(retry(4).error).toMatchObject({ code: "request_expired", details: { after: 4, horizon: 5 } });
    expect(retry(sequence)).toMatchObject({ duplicate: false });
  });

  test("lowering recordsMax forgets the oldest at once, and moves the horizon", () => {
    const world = new ShardWorld();
    const ids = world.seed(3);
    for (const _id of ids) world.send("complete", { leases: [world.take()] });
    world.send("configure", { options: { recordsMax: 1 } });
    const statuses = world.send("get", { itemIds: ids })["results"].map((one: { status?: string }) => one.status);
    expect(statuses).toEqual([undefined, undefined, "completed"]);
    expect(world.state.horizon).toBeGreaterThan(0);
    assertInvariants(world.state);
  });
});

const named = ({ itemId, token }: { itemId: string; token: number }) => ({ itemId, token });

describe("lease", () => {
  test("a repeat gets those of its leases that still live, and writes nothing", () => {
    const world = new ShardWorld();
    world.seed(3);
    const request = { requestId: "id-1", maxItems: 2 };
    const first = world.send("lease", request)["leases"];
    expect(first).toHaveLength(2);
    const { length } = world.frames;
    expect(world.send("lease", request)["leases"]).toEqual(first);
    expect(world.frames).toHaveLength(length);
    world.send("complete", { leases: [named(first[0])] });
    expect(world.send("lease", request)["leases"]).toEqual([first[1]]);
    expect(world.last?.validity).toEqual([
      { token: first[1].token, target: expect.objectContaining({ validMs: 0 }), lastsMs: 30_000 },
    ]);
  });

  test("how long it waits is no part of the request", () => {
    const world = new ShardWorld();
    world.seed(1);
    const first = world.send("lease", { requestId: "id-1", waitMs: 0, timeoutMs: 10 })["leases"];
    expect(world.send("lease", { requestId: "id-1", waitMs: 5_000, after: 1, minSequence: 1 })["leases"]).toEqual(
      first,
    );
  });

  test.each([{ maxItems: 3 }, { leaseDurationMs: 500 }, { resourceTypes: ["table"] }])(
    "another request under the same id is a conflict: %j",
    (changes) => {
      const world = new ShardWorld();
      world.seed(2);
      world.send("lease", { requestId: "id-1" });
      expect(world.send("lease", { requestId: "id-1", ...changes }).error?.code).toBe("conflict");
    },
  );

  test("an id is forgotten with the last of its leases", () => {
    const world = new ShardWorld();
    world.seed(2);
    const first = world.take({ requestId: "id-1" });
    world.send("complete", { leases: [first] });
    expect(world.state.leaseRequests.size).toBe(0);
    expect(world.take({ requestId: "id-1" }).itemId).not.toBe(first.itemId);
  });

  test("a request that was granted nothing is not remembered", () => {
    const world = new ShardWorld();
    expect(world.send("lease", { requestId: "id-1" })["reason"]).toBe("none");
    expect(world.last?.empty).toBe(true);
    world.seed(1);
    expect(world.send("lease", { requestId: "id-1" })["leases"]).toHaveLength(1);
  });

  test("a repeat is answered while paused and at the cap", () => {
    const world = new ShardWorld({ options: { leasesPerPeerMax: 1 } });
    world.seed(2);
    world.take({ requestId: "id-1" });
    world.send("pause", {});
    expect(world.send("lease", { requestId: "id-1" })["leases"]).toHaveLength(1);
  });
});

describe("settling", () => {
  const settled = (verb: "complete" | "fail" | "release") => {
    const world = new ShardWorld();
    world.seed(1);
    const lease = world.take();
    const again = (changes: object = {}, principal = "worker") =>
      world.send(verb, { leases: [{ ...lease, ...(verb === "fail" ? { reason: "no" } : {}), ...changes }] } as never, {
        principal,
      })["results"][0];
    const first = again();
    return { world, lease, first, again };
  };

  test.each(["complete", "fail", "release"] as const)(
    "a repeated %s gets the same result and writes nothing",
    (verb) => {
      const { world, first, again } = settled(verb);
      expect(first.duplicate).toBe(false);
      const { length } = world.frames;
      expect(again()).toEqual({ ...first, duplicate: true });
      expect(world.frames).toHaveLength(length);
    },
  );

  test.each(["complete", "fail", "release"] as const)("a repeated %s of another principal is denied", (verb) => {
    expect(settled(verb).again({}, "stranger").error.code).toBe("permission_denied");
  });

  test("another result, reason, code or requeue is a conflict", () => {
    expect(settled("complete").again({ result: "other" }).error.code).toBe("conflict");
    const fail = settled("fail");
    for (const changes of [{ reason: "other" }, { code: "c" }, { requeue: false }])
      expect(fail.again(changes).error.code).toBe("conflict");
  });

  test("a fail is still answered while the next worker holds the item", () => {
    const { world, again } = settled("fail");
    world.take({}, { principal: "other" });
    expect(again()).toEqual({ outcome: "requeued", duplicate: true });
  });

  test("a dead letter answers the repeat of the fail that made it", () => {
    const world = new ShardWorld();
    world.seed(1);
    const entry = { ...world.take(), reason: "no", requeue: false };
    expect(world.send("fail", { leases: [entry] })["results"]).toEqual([{ outcome: "deadLettered", duplicate: false }]);
    expect(world.send("fail", { leases: [entry] })["results"]).toEqual([{ outcome: "deadLettered", duplicate: true }]);
  });

  test("the same lease twice in one request is settled once", () => {
    const world = new ShardWorld();
    world.seed(1);
    const lease = world.take();
    expect(world.send("complete", { leases: [lease, lease] })["results"]).toEqual([
      { duplicate: false },
      { duplicate: true },
    ]);
    expect(world.lastEvents()).toHaveLength(1);
  });

  test("a completion without a record left is an unknown item", () => {
    const world = new ShardWorld({ options: { recordsMax: 0 } });
    world.seed(1);
    const lease = world.take();
    world.send("complete", { leases: [lease] });
    expect(world.send("complete", { leases: [lease] })["results"][0].error.code).toBe("item_not_found");
  });
});

describe("pause, resume and configure", () => {
  test("a repeat writes nothing", () => {
    const world = new ShardWorld();
    expect(world.send("pause", {})["paused"]).toBe(true);
    const { length } = world.frames;
    expect(world.send("pause", {})["paused"]).toBe(true);
    expect(world.frames).toHaveLength(length);
    world.send("resume", {});
    expect(world.send("resume", {})["paused"]).toBe(false);
    world.send("configure", { options: { maxAttempts: 3 } });
    world.send("configure", { options: { maxAttempts: 3 } });
    expect(world.frames).toHaveLength(length + 2);
  });
});
