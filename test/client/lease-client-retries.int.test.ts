/** What the client does when no answer comes: the same bytes again, one effect, and the truth about what is not known. */
import { describe, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { BatchError } from "../../services/client/mod.ts";
import { FakeClock } from "../../services/testing/fake-clock.ts";
import { suiteServer } from "../support/suite-nats.ts";
import { codeOf, eventually, firstLease, item, signal, worldOf } from "./client-world.ts";
import { refusal } from "./shard-double.ts";

const world = worldOf(suiteServer());

describe("a request without an answer", () => {
  test.for([
    ["lost on its way", "drop"],
    ["done, and its answer lost,", "silent"],
  ] as const)(
    "that was %s is sent again with the same bytes and has one effect",
    async ([, verdict], { onTestFinished }) => {
      const { client, shard } = await world(onTestFinished, { client: { attemptTimeoutMs: 50 } });
      shard.judge = () => (shard.of("enqueue").length <= 2 ? verdict : "serve");
      const { duplicate } = await client.enqueue(item("a"));
      const texts = shard.of("enqueue").map(({ text }) => text);
      expect(texts).toHaveLength(3);
      expect(new Set(texts).size).toBe(1);
      expect(duplicate).toBe(verdict === "silent");
      expect(shard.state.pending).toBe(1);
    },
  );

  test("is sent again after each retryable refusal that leaves the outcome open", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    const codes = ["not_leader", "shutting_down", "unavailable", "unknown_outcome", "internal"] as const;
    shard.judge = () => {
      const code = codes[shard.of("complete").length - 1];
      return code === undefined ? "serve" : refusal(code);
    };
    await client.enqueue(item("a"));
    const lease = await firstLease(client);
    expect(await client.complete(lease)).toEqual({ duplicate: false });
    expect(new Set(shard.of("complete").map(({ text }) => text)).size).toBe(1);
    expect(shard.of("complete")).toHaveLength(codes.length + 1);
  });

  test("settles once when the answer of the settlement was lost", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { client: { attemptTimeoutMs: 50 } });
    await client.enqueue(item("a"));
    const lease = await firstLease(client);
    shard.judge = () => (shard.of("complete").length === 1 ? "silent" : "serve");
    expect(await client.complete(lease, "fine")).toEqual({ duplicate: true });
    expect(await client.stats()).toMatchObject({ completed: 1 });
  });

  test("gets the leases of its first attempt", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { client: { attemptTimeoutMs: 50 } });
    await client.enqueueMany([item("a"), item("b")]);
    shard.judge = () => (shard.of("lease").length === 1 ? "silent" : "serve");
    const { leases } = await client.lease({ maxItems: 1 });
    expect(leases.map(({ item: { resourceId } }) => resourceId)).toEqual(["a"]);
    expect(shard.state.leased).toHaveLength(1);
  });

  test("is sent again while nobody leads the shard", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    await shard.leave();
    const call = client.enqueue(item("a"));
    await eventually(() => client.traffic.sent).toBeGreaterThan(2);
    shard.serve();
    expect(await call).toMatchObject({ duplicate: false });
  });

  test("that a leader took along is sent again as soon as another request finds it gone", async ({
    onTestFinished,
  }) => {
    const { client, shard } = await world(onTestFinished, { client: { requestsInFlightMax: 1 } });
    shard.judge = () => "drop";
    const call = client.enqueue(item("a"));
    await shard.arrived("enqueue", 1);
    shard.judge = ({ verb }) =>
      verb === "stats" && shard.of("stats").length === 1 ? refusal("shutting_down") : "serve";
    const startedMs = performance.now();
    await client.stats();
    await call;
    expect(performance.now() - startedMs).toBeLessThan(1_400);
    expect(new Set(shard.of("enqueue").map(({ text }) => text)).size).toBe(1);
  });

  test("that an old leader took along is sent again as soon as a new one answers another request", async ({
    onTestFinished,
  }) => {
    const clock = new FakeClock();
    const { client, shard } = await world(onTestFinished, { clock });
    await client.stats();
    shard.judge = () => "drop";
    const call = client.enqueue(item("a"));
    await shard.arrived("enqueue", 1);
    shard.judge = () => "serve";
    shard.state.term += 1;
    await client.stats();
    await whileAdvancing(clock, call);
  });

  test("for leases is not over with an empty answer while a later attempt waits", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { client: { attemptTimeoutMs: 50 } });
    const held = signal<() => void>();
    shard.judge = () => (shard.of("lease").length === 1 ? held.resolve : "serve");
    const call = client.lease({ waitMs: 500 });
    const answerFirst = await held.promise;
    await shard.arrived("lease", 2);
    await client.pause();
    answerFirst();
    await client.resume();
    await client.enqueue(item("a"));
    expect((await call).leases).toHaveLength(1);
  });

  /** Lets rests pass, which are at most 50 ms at first, but no silence. */
  async function whileAdvancing(clock: FakeClock, ended: Promise<unknown>): Promise<void> {
    let isOver = false;
    void ended.finally(() => {
      isOver = true;
    });
    await eventually(() => {
      if (clock.monotonicMs() < 900) clock.advance(10);
      return isOver;
    }).toBe(true);
  }

  test("ends as unavailable when nobody can have decided it", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished);
    await shard.leave();
    const error = await client.enqueue(item("a"), { timeoutMs: 120 }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(OperatingError);
    expect(error).toMatchObject({ code: "unavailable", definite: true, details: { last: "no responders" } });
  });

  test("ends as unknown when somebody may have decided it", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { client: { attemptTimeoutMs: 40 } });
    shard.judge = () => "drop";
    const error = await client.enqueue(item("a"), { timeoutMs: 150 }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "unknown_outcome", definite: false });
    expect(await codeOf(client.stats({ timeoutMs: 60 }))).toBe("unavailable");
  });

  test("tells in a batch which outcomes are known", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { client: { attemptTimeoutMs: 40, entriesMax: 2 } });
    shard.judge = ({ text }) => (text.includes("lost") ? "drop" : "serve");
    const error = await client
      .enqueueMany([item("a"), item("b"), item("lost")], { timeoutMs: 150 })
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(BatchError);
    expect(error).toMatchObject({ code: "unknown_outcome", results: [{ kind: "ok" }, { kind: "ok" }, undefined] });
  });

  test("keeps the deadline of each call that shares it", async ({ onTestFinished }) => {
    const { client, shard } = await world(onTestFinished, { client: { attemptTimeoutMs: 40 } });
    shard.judge = () => (shard.of("enqueue").length < 5 ? "drop" : "serve");
    const [short, long] = await Promise.allSettled([
      client.enqueue(item("a"), { timeoutMs: 60 }),
      client.enqueue(item("b")),
    ]);
    expect(short).toMatchObject({ status: "rejected", reason: { code: "unknown_outcome" } });
    expect(long).toMatchObject({ status: "fulfilled" });
  });
});
