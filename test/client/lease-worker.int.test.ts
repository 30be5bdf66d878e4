/** What the worker promises: leases kept alive, lost ones told, no item started too late, and an end in bounded time. */
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { FatalItemError, type Lease, LeaseLostError } from "../../services/client/mod.ts";
import { FakeClock } from "../../services/testing/fake-clock.ts";
import { suiteServer } from "../support/suite-nats.ts";
import { eventually, item, signal, startWorker, worldOf } from "./client-world.ts";

const world = worldOf(suiteServer());
const names = (count: number) => Array.from({ length: count }, (_, index) => item(`r${index}`));

describe("items", () => {
  test("are handled by as many handlers as allowed, and completed in shared requests", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    await client.enqueueMany(names(100));
    let running = 0;
    let most = 0;
    const handler = async (lease: Lease): Promise<string> => {
      running += 1;
      most = Math.max(most, running);
      await Promise.resolve();
      running -= 1;
      return lease.item.resourceId;
    };
    const { told } = startWorker(client, onTestFinished, { handler, concurrency: 8, prefetch: 92 });
    await eventually(() => told.filter((line) => line.startsWith("completed")).length).toBe(100);
    expect(most).toBe(8);
    expect(await client.stats()).toMatchObject({ pending: 0, active: 0, completed: 100 });
    expect(shard.of("complete").length).toBeLessThan(50);
  });

  test("are held ahead as handlers that do little need it", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    await client.enqueueMany(names(400));
    const { told } = startWorker(client, onTestFinished, { handler: async () => {}, concurrency: 2, prefetch: "auto" });
    await eventually(() => told.filter((line) => line.startsWith("completed")).length).toBe(400);
    const asked = shard.of("lease").map(({ body }) => Number(body["maxItems"]));
    expect(Math.max(...asked.slice(0, 2))).toBe(1);
    expect(Math.max(...asked)).toBeGreaterThan(10);
  });

  test("wake a worker that waits", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    const done = signal<string>();
    startWorker(client, onTestFinished, {
      waitMs: 5_000,
      handler: async (lease) => done.resolve(lease.item.resourceId),
    });
    await shard.arrived("lease", 1);
    await client.enqueue(item("a"));
    expect(await done.promise).toBe("a");
  });

  test("whose grant was lost are found by asking again under the same id", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { client: { attemptTimeoutMs: 50, timeoutMs: 60 } });
    await client.enqueueMany(names(2));
    shard.judge = ({ verb }) => (verb === "lease" && shard.of("lease").length <= 4 ? "silent" : "serve");
    const { told } = startWorker(client, onTestFinished, { concurrency: 2, waitMs: 0, handler: async () => {} });
    await eventually(() => told.filter((line) => line.startsWith("completed")).length).toBe(2);
    expect(told).toContain("error unknown_outcome");
    const asked = shard.of("lease").map(({ body }) => body.requestId);
    const lost = new Set(asked.slice(0, 2));
    expect(lost.size).toBe(2);
    expect(new Set(asked.slice(0, 4))).toEqual(lost);
    expect(asked.slice(4)).toEqual(expect.arrayContaining([...lost]));
    expect(shard.state.items.size).toBe(0);
  });

  test("are asked for again although every place is promised to a question that lost its answer", async ({
    onTestFinished,
  }) => {
    const { client, shard } = await world(onTestFinished, { client: { attemptTimeoutMs: 50, timeoutMs: 60 } });
    await client.enqueueMany(names(4));
    const lost = new Set([2, 3, 5]);
    shard.judge = ({ verb }) => (verb === "lease" && lost.has(shard.of("lease").length) ? "silent" : "serve");
    const { told } = startWorker(client, onTestFinished, { concurrency: 1, waitMs: 0, handler: async () => {} });
    await eventually(() => told.filter((line) => line.startsWith("completed")).length).toBe(4);
  });

  test("of other types are left alone", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    await client.enqueueMany([item("a"), { resourceType: "other", resourceId: "b" }]);
    const { told } = startWorker(client, onTestFinished, { resourceTypes: ["other"], handler: async () => {} });
    await eventually(() => told).toEqual(["leased b", "completed b"]);
    expect(shard.state.pending).toBe(1);
  });
});

describe("a handler", () => {
  test("that throws fails its item and nothing else", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished, { shard: { maxAttempts: 2 } });
    await client.enqueueMany([item("bad"), item("good")]);
    const handler = async (lease: Lease): Promise<void> => {
      if (lease.item.resourceId === "bad") throw Object.assign(new Error("x".repeat(2_000)), { code: "no_luck" });
    };
    const { told } = startWorker(client, onTestFinished, { handler });
    await eventually(() => told).toContain("failed bad deadLettered");
    expect(told).toContain("failed bad requeued");
    await eventually(() => told).toContain("completed good");
    const [dead] = (await client.list({ status: "deadLettered" })).items;
    expect(dead).toMatchObject({ deadLetter: { code: "no_luck", reason: "x".repeat(1_024) } });
  });

  test("that throws a FatalItemError ends its item at once", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished);
    await client.enqueue(item("bad"));
    const handler = async (): Promise<void> => {
      throw new FatalItemError("never", { code: "poison" });
    };
    const { told } = startWorker(client, onTestFinished, { handler });
    await eventually(() => told).toEqual(["leased bad", "failed bad deadLettered"]);
  });

  test("that throws what cannot be printed fails its item all the same", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished, { shard: { maxAttempts: 1 } });
    const refuse = (): never => {
      throw new Error("not to be looked at");
    };
    const unprintable: unknown[] = [
      Object.create(null),
      { toString: refuse },
      { toString: () => ({}) },
      new Proxy({}, { get: refuse }),
      new Proxy(new Error("x"), { getPrototypeOf: refuse, get: refuse }),
      Object.defineProperty(new Error("x"), "message", { get: refuse }),
      Object.assign(new Error("x"), { message: 5 }),
      Object.assign(new Error("x"), { message: undefined }),
    ];
    const printable: unknown[] = [
      Object.assign(new Error("x"), { message: "", name: 5 }),
      Object.defineProperty(new FatalItemError("kept"), "code", { get: refuse }),
      Symbol("s"),
      undefined,
    ];
    const thrown = [...unprintable, ...printable];
    await client.enqueueMany(thrown.map((_, index) => item(String(index))));
    const handler = async (lease: Lease): Promise<void> => {
      throw thrown[Number(lease.item.resourceId)];
    };
    const { told } = startWorker(client, onTestFinished, { handler });
    await eventually(() => told.filter((line) => line.endsWith("deadLettered")).length).toBe(thrown.length);
    const { items } = await client.list({ status: "deadLettered" });
    expect(
      items
        .toSorted((left, right) => Number(left["resourceId"]) - Number(right["resourceId"]))
        .map(({ deadLetter }) => deadLetter?.reason),
    ).toEqual([...unprintable.map(() => "unprintable error"), "unknown", "kept", "Symbol(s)", "undefined"]);
  });

  test("with a result that is too long fails its item and says why", async ({ onTestFinished }) => {
    const { client } = await world(onTestFinished, { shard: { maxAttempts: 1 } });
    await client.enqueue(item("a"));
    const { told } = startWorker(client, onTestFinished, { handler: async () => "ü".repeat(5_000) });
    await eventually(() => told).toEqual(["leased a", "error payload_too_large", "failed a deadLettered"]);
  });

  test("may renew its lease for longer", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    await client.enqueue(item("a"));
    const { told } = startWorker(client, onTestFinished, {
      handler: async (_lease, { heartbeat }) => String((await heartbeat(120_000)).validMs),
    });
    await eventually(() => told).toContain("completed a");
    expect(shard.of("complete")[0]?.text).toContain('"result":"120000"');
  });
});

describe("a lease", () => {
  const duration = { leaseDurationMsDefault: 3_000 };

  test("is kept alive with all others by one request", async ({ onTestFinished }) => {
    const clock = new FakeClock();
    const { client, shard } = await world(onTestFinished, { clock, shard: duration });
    await client.enqueueMany(names(10));
    const end = signal();
    const { told } = startWorker(client, onTestFinished, { concurrency: 4, prefetch: 6, handler: () => end.promise });
    await eventually(() => told.length).toBe(10);
    for (let beat = 1; beat <= 4; beat += 1) {
      clock.advance(1_125);
      await shard.arrived("heartbeat", beat);
      await eventually(() => client.traffic.inFlight).toBe(0);
    }
    expect(shard.of("heartbeat").map(({ body }) => (body["leases"] as unknown[]).length)).toEqual([10, 10, 10, 10]);
    end.resolve();
    await eventually(() => told.filter((line) => line.startsWith("completed")).length).toBe(10);
    expect(told.filter((line) => line.startsWith("lost"))).toEqual([]);
  });

  test("that the shard has ended fires the signal and is not settled", async ({ onTestFinished }) => {
    const clock = new FakeClock();
    const { client, shard } = await world(onTestFinished, { clock, shard: { ...duration, maxAttempts: 1 } });
    const { itemId } = await client.enqueue(item("a"));
    const reason = signal<unknown>();
    const { told } = startWorker(client, onTestFinished, {
      handler: async (_lease, { signal: fired }) => {
        await once(fired, "abort");
        reason.resolve(fired.reason);
        throw fired.reason;
      },
    });
    await eventually(() => told).toEqual(["leased a"]);
    shard.expire(itemId);
    clock.advance(1_125);
    expect(await reason.promise).toMatchObject({ reason: "stale_token" });
    expect(await reason.promise).toBeInstanceOf(LeaseLostError);
    expect(told).toEqual(["leased a", "lost a stale_token"]);
    expect(shard.of("fail")).toEqual([]);
    clock.advance(1_000);
  });

  test("that cannot be renewed in time fires the signal when its own clock has run out", async ({ onTestFinished }) => {
    const clock = new FakeClock();
    const { client, shard } = await world(onTestFinished, { clock, shard: duration });
    await client.enqueue(item("a"));
    shard.judge = ({ verb }) => (verb === "heartbeat" ? "drop" : "serve");
    const lost = signal<number>();
    const { told } = startWorker(client, onTestFinished, {
      handler: async (lease, { signal: fired }) => {
        await once(fired, "abort");
        lost.resolve(clock.monotonicMs() - lease.validUntilMs);
      },
    });
    await eventually(() => told).toEqual(["leased a"]);
    clock.advance(2_990);
    expect(told.filter((line) => line.startsWith("lost"))).toEqual([]);
    clock.advance(10);
    expect(told.at(-1)).toBe("lost a expired");
    expect(await lost.promise).toBe(0);
    expect(shard.of("complete")).toEqual([]);
    clock.advance(5_000);
  });

  test("that a completion finds ended is told as lost", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { shard: { maxAttempts: 1 } });
    const { itemId } = await client.enqueue(item("a"));
    const { told } = startWorker(client, onTestFinished, { handler: async () => shard.expire(itemId) });
    await eventually(() => told).toEqual(["leased a", "lost a stale_token"]);
  });

  test("that ran out in the prefetch is never started", async ({ onTestFinished }) => {
    const clock = new FakeClock();
    const { client, shard } = await world(onTestFinished, { clock, shard: duration });
    await client.enqueueMany([item("a"), item("b")]);
    const end = signal();
    const startedItems: string[] = [];
    shard.judge = ({ verb }) => (verb === "heartbeat" ? "drop" : "serve");
    const { told, worker } = startWorker(client, onTestFinished, {
      prefetch: 1,
      handler: async (lease) => {
        startedItems.push(lease.item.resourceId);
        await end.promise;
      },
    });
    await eventually(() => told).toEqual(["leased a", "leased b"]);
    clock.advance(3_000);
    expect(told.filter((line) => line.startsWith("lost"))).toEqual(["lost a expired", "lost b expired"]);
    end.resolve();
    await eventually(() => worker.load).toEqual({ running: 0, held: 0 });
    expect(startedItems).toEqual(["a"]);
    clock.advance(5_000);
  });

  test("with too little time left is given back instead of started", async ({ onTestFinished }) => {
    const clock = new FakeClock();
    const { client, shard } = await world(onTestFinished, { clock, shard: duration });
    await client.enqueueMany([item("a"), item("b")]);
    const end = signal();
    const startedItems: string[] = [];
    shard.judge = ({ verb }) => (verb === "heartbeat" ? "drop" : "serve");
    const { told } = startWorker(client, onTestFinished, {
      prefetch: 1,
      waitMs: 0,
      handler: async (lease) => {
        startedItems.push(lease.item.resourceId);
        if (startedItems.length === 1) await end.promise;
      },
    });
    await eventually(() => told).toEqual(["leased a", "leased b"]);
    clock.stall(2_900);
    end.resolve();
    await shard.arrived("release", 1);
    expect(startedItems).toEqual(["a"]);
    shard.judge = () => "serve";
    await eventually(() => told.filter((line) => line === "leased b").length).toBe(2);
  });

  test("lost while its handler runs on does not make room for more", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { shard: { maxAttempts: 1 } });
    const { itemId } = await client.enqueue(item("a"));
    const end = signal();
    const { told, worker } = startWorker(client, onTestFinished, {
      handler: async (lease, { heartbeat }) => {
        if (lease.itemId !== itemId) return;
        shard.expire(itemId);
        await heartbeat().catch(() => {});
        await end.promise;
      },
    });
    await eventually(() => told).toEqual(["leased a", "lost a stale_token"]);
    await client.enqueue(item("b"));
    expect(worker.load).toEqual({ running: 1, held: 0 });
    expect(shard.of("lease")).toHaveLength(1);
    end.resolve();
    await eventually(() => told).toContain("completed b");
  });
});
