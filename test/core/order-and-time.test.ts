/** Who is granted when: priorities with ageing, delays, ends of time, lengths of leases, retries. */
import { describe, expect, test } from "vitest";
import type { RequestInput, ShardCommand } from "../../contracts/commands.ts";
import { DELAY_MS_MAX, RETRY_DELAYS_MAX } from "../../contracts/limits.ts";
import type { ShardOptions } from "../../contracts/options.ts";
import { assertInvariants, canonicalState } from "../../services/core/canonical.ts";
import type { Context } from "../../services/core/outcome.ts";
import { parseCommand } from "../../services/core/parse.ts";
import { type AnyReply, ShardWorld } from "./shard-world.ts";

type Terms = Partial<RequestInput<"enqueue">["items"][number]>;

const worldOf = (options: Partial<ShardOptions> = {}) => new ShardWorld({ options });
const enqueue = (world: ShardWorld, terms: Terms = {}): string => world.seed(1, terms)[0] ?? "";
const granted = (world: ShardWorld, request: RequestInput<"lease"> = {}, context: Partial<Context> = {}): string[] => {
  const reply = world.send("lease", { maxItems: 100, ...request }, context);
  assertInvariants(world.state);
  expect([...canonicalState(world.fold())]).toEqual([...canonicalState(world.state)]);
  return reply["leases"].map((lease: { itemId: string }) => lease.itemId);
};
const end = (world: ShardWorld, itemId: string, verb: "complete" | "release"): void => {
  world.send(verb, { leases: [{ itemId, token: world.state.items.get(itemId)?.lease?.token ?? 1 }] });
};
const fail = (world: ShardWorld, itemId: string, more: object = {}, random?: () => number): string => {
  const token = world.state.items.get(itemId)?.lease?.token ?? 1;
  const reply = world.send("fail", { leases: [{ itemId, token, reason: "no", ...more }] }, { random });
  return reply["results"][0].outcome ?? reply["results"][0].error.code;
};
/** As it would come over the wire; the error is that of the request, or of its first entry. */
const refusalOf = (world: ShardWorld, verb: ShardCommand["verb"], request: object) => {
  const { length } = world.frames;
  const command = parseCommand(verb, new TextEncoder().encode(JSON.stringify(request)));
  if ("error" in command) return command.error;
  const reply: AnyReply = world.sendCommand(command as ShardCommand, {});
  const error = reply.error ?? reply["results"]?.[0]?.error;
  if (error !== undefined) expect(world.frames).toHaveLength(length);
  return error;
};
const enqueueRefusal = (world: ShardWorld, terms: object) =>
  refusalOf(world, "enqueue", { items: [{ resourceType: "table", resourceId: "r", ...terms }] });
const badArgument = (path: string) => ({
  code: "invalid_argument",
  details: { issues: [expect.objectContaining({ path })] },
});

describe("priority", () => {
  test("a higher one goes first, and of equal ones the older", () => {
    const world = worldOf();
    const [low, high, mid, high2] = [0, 9, 5, 9].map((priority) => enqueue(world, { priority }));
    expect(granted(world)).toEqual([high, high2, mid, low]);
  });

  test("without ageing no waiting makes up for it", () => {
    const world = worldOf();
    const old = enqueue(world);
    world.at += 30 * 365 * 86_400_000;
    const late = enqueue(world, { priority: 1 });
    expect(granted(world)).toEqual([late, old]);
  });

  test("with ageing each ageingMs of waiting is one priority, and the older goes first where they are even", () => {
    const world = worldOf({ ageingMs: 1_000 });
    const old = enqueue(world);
    world.at += 999;
    const ahead = enqueue(world, { priority: 1 });
    world.at += 1;
    const even = enqueue(world, { priority: 1 });
    expect(granted(world)).toEqual([ahead, old, even]);
  });

  test("a requeued item keeps its place; a delayed one takes that of the end of its delay", () => {
    const world = worldOf();
    const [first, second] = [enqueue(world), enqueue(world)];
    expect(granted(world, { maxItems: 1 })).toEqual([first]);
    fail(world, first);
    expect(granted(world, { maxItems: 1 })).toEqual([first]);
    fail(world, first, { delayMs: 100 });
    world.at += 100;
    const third = enqueue(world);
    expect(granted(world)).toEqual([second, first, third]);
  });

  test("a notBefore that is over is no earlier place", () => {
    const world = worldOf();
    const first = enqueue(world);
    const second = enqueue(world, { notBefore: 1 });
    expect(granted(world)).toEqual([first, second]);
  });

  test.each([10, -1, 1.5, "9"])("%j is refused", (priority) => {
    expect(enqueueRefusal(worldOf(), { priority })).toMatchObject(badArgument("items[0].priority"));
  });
});

describe("a delay", () => {
  test("holds an item back to its last millisecond", () => {
    const world = worldOf();
    const [byDelay, byTime] = [enqueue(world, { delayMs: 500 }), enqueue(world, { notBefore: 1_500 })];
    world.at = 1_499;
    expect(granted(world)).toEqual([]);
    world.at = 1_500;
    expect(granted(world)).toEqual([byDelay, byTime]);
  });

  test("is a time in the log, and nothing when it is 0", () => {
    const world = worldOf();
    enqueue(world, { delayMs: 500 });
    expect(world.lastEvents()).toMatchObject([{ item: { notBefore: 1_500 } }]);
    enqueue(world, { delayMs: 0 });
    expect(world.lastEvents()).toEqual([
      expect.objectContaining({ item: { resourceType: "table", resourceId: "r-1" } }),
    ]);
  });

  test("is refused twice, negative, or too long", () => {
    const world = worldOf();
    const wrong = badArgument("items[0].delayMs");
    expect(enqueueRefusal(world, { delayMs: 1, notBefore: 2_000 })).toMatchObject(wrong);
    expect(enqueueRefusal(world, { delayMs: -1 })).toMatchObject(wrong);
    expect(enqueueRefusal(world, { delayMs: DELAY_MS_MAX + 1 })).toMatchObject(wrong);
    expect(enqueueRefusal(world, { notBefore: world.at + DELAY_MS_MAX + 1 })).toMatchObject(badArgument("notBefore"));
    expect(enqueueRefusal(world, { notBefore: world.at + DELAY_MS_MAX })).toBeUndefined();
    expect(enqueueRefusal(world, { delayMs: DELAY_MS_MAX })).toBeUndefined();
  });
});

describe("notAfter", () => {
  test("is refused unless it is after the present and after the delay", () => {
    const world = worldOf();
    const wrong = badArgument("notAfter");
    expect(enqueueRefusal(world, { notAfter: 999 })).toMatchObject(wrong);
    expect(enqueueRefusal(world, { notAfter: 1_000 })).toMatchObject(wrong);
    expect(enqueueRefusal(world, { notAfter: 1_500, delayMs: 500 })).toMatchObject(wrong);
    expect(enqueueRefusal(world, { notAfter: 1_500, notBefore: 1_500 })).toMatchObject(
      badArgument("items[0].notAfter"),
    );
    expect(enqueueRefusal(world, { notAfter: 1_001 })).toBeUndefined();
    expect(enqueueRefusal(world, { notAfter: 1_501, delayMs: 500 })).toBeUndefined();
  });

  test("is the first millisecond at which an item is a dead letter; a lease from before goes on", () => {
    const world = worldOf();
    const [inTime, late] = [enqueue(world, { notAfter: 2_000 }), enqueue(world, { notAfter: 2_000 })];
    world.at = 1_999;
    expect(granted(world, { maxItems: 1 })).toEqual([inTime]);
    world.at = 2_000;
    expect(granted(world)).toEqual([]);
    expect(world.lastEvents()).toMatchObject([{ type: "deadLettered", itemId: late, code: "not_after" }]);
    expect(world.state.items.get(late)).toMatchObject({ status: "deadLettered", attempt: 0, charged: 0 });
    end(world, inTime, "complete");
    expect(world.state).toMatchObject({ pending: 0, active: 0, deadLettered: 1, completedTotal: 1 });
  });

  test("ends the waiting for a resource that is busy, and of a released item at once", () => {
    const world = worldOf({ exclusivity: "resource" });
    const [first, second] = [enqueue(world, { notAfter: 3_000 }), enqueue(world, { notAfter: 2_000 })];
    expect(granted(world)).toEqual([first]);
    world.at = 3_000;
    expect(granted(world)).toEqual([]);
    expect(world.lastEvents()).toMatchObject([{ type: "deadLettered", itemId: second }]);
    end(world, first, "release");
    expect(granted(world)).toEqual([]);
    expect(world.lastEvents()).toMatchObject([{ type: "deadLettered", itemId: first }]);
  });

  test.each([
    [1_500, "deadLettered"],
    [1_501, "requeued"],
  ])("of %i makes a failure that is delayed to 1500 a %s item", (notAfter, outcome) => {
    const world = worldOf();
    const itemId = enqueue(world, { notAfter, retry: { kind: "fixed", delayMs: 500 } });
    granted(world);
    expect(fail(world, itemId)).toBe(outcome);
  });

  test("does not count the delay of a policy where the worker names another one", () => {
    const world = worldOf();
    const itemId = enqueue(world, { notAfter: 1_500, retry: { kind: "fixed", delayMs: 1_000 } });
    granted(world);
    expect(fail(world, itemId, { delayMs: 100 })).toBe("requeued");
    world.at = 1_100;
    expect(granted(world)).toEqual([itemId]);
    world.expire(itemId);
    expect(world.lastEvents()).toMatchObject([{ type: "expired", outcome: "deadLettered" }]);
  });

  test("is honoured where the frame has no room for the dead letters: what is over is not granted", () => {
    const world = worldOf();
    const long = enqueue(world, { resourceId: "r".repeat(500), notAfter: 2_000 });
    const short = enqueue(world, { notAfter: 3_000, priority: 9 });
    const plain = enqueue(world);
    world.at = 3_000;
    const { length } = world.frames;
    expect(granted(world, {}, { frameBytesLeft: 600 })).toEqual([]);
    expect(world.frames).toHaveLength(length);
    expect(granted(world, {}, { frameBytesLeft: 1_100 })).toEqual([]);
    expect(world.lastEvents()).toMatchObject([{ itemId: long }, { itemId: short }]);
    expect(granted(world)).toEqual([plain]);
  });
});

describe("the length of a lease", () => {
  const durationOf = (world: ShardWorld, request: RequestInput<"lease"> = {}) => {
    granted(world, request);
    return world.lastEvents().map((event) => event.type === "leased" && event.durationMs);
  };

  test("is what the worker asks for, or the item's own, or the shard's", () => {
    const world = worldOf({ leaseDurationMsDefault: 3_000 });
    world.seed(2, { leaseDurationMs: 7_000 });
    enqueue(world);
    expect(durationOf(world, { maxItems: 1, leaseDurationMs: 9_000 })).toEqual([9_000]);
    expect(durationOf(world)).toEqual([7_000, 3_000]);
  });

  test("above the maximum is refused; an item from before the maximum gets the maximum", () => {
    const world = worldOf({ leaseDurationMsMax: 40_000 });
    expect(enqueueRefusal(world, { leaseDurationMs: 40_001 })).toMatchObject(badArgument("leaseDurationMs"));
    expect(enqueueRefusal(world, { leaseDurationMs: 99 })).toMatchObject(badArgument("items[0].leaseDurationMs"));
    enqueue(world, { leaseDurationMs: 40_000 });
    world.send("configure", { options: { leaseDurationMsMax: 35_000 } });
    expect(durationOf(world)).toEqual([35_000]);
  });
});

describe("retries", () => {
  /** Delays after each of four failures, before the item is completed. */
  const delaysOf = (world: ShardWorld, terms: Terms, random: () => number = () => 0.5) => {
    const itemId = enqueue(world, { maxAttempts: 5, ...terms });
    const delays = [1, 2, 3, 4].map((attempt) => {
      expect(granted(world)).toEqual([itemId]);
      if (attempt % 2 === 0) world.expire(itemId, "duration", random);
      else fail(world, itemId, {}, random);
      const [event] = world.lastEvents();
      const delayMs = event !== undefined && "notBefore" in event ? (event.notBefore ?? world.at) - world.at : 0;
      world.at += delayMs;
      return delayMs;
    });
    granted(world);
    end(world, itemId, "complete");
    return delays;
  };

  test("wait as the policy of the item says, after a failure as after an expiry", () => {
    const world = worldOf({ retry: "fixed", retryFirstMs: 7 });
    expect(delaysOf(world, { retry: { kind: "none" } })).toEqual([0, 0, 0, 0]);
    expect(delaysOf(world, { retry: { kind: "fixed", delayMs: 30 } })).toEqual([30, 30, 30, 30]);
    expect(delaysOf(world, { retry: { kind: "list", delaysMs: [0, 10, 20] } })).toEqual([0, 10, 20, 20]);
    const exponential = { kind: "exponential", firstMs: 100, maxMs: 300 } as const;
    expect(delaysOf(world, { retry: exponential })).toEqual([50, 100, 150, 150]);
    expect(delaysOf(world, { retry: exponential }, () => 0)).toEqual([0, 0, 0, 0]);
    expect(delaysOf(world, { retry: exponential }, () => 0.999_999)).toEqual([99, 199, 299, 299]);
  });

  test("wait as the shard says where the item has no policy", () => {
    expect(delaysOf(worldOf(), {})).toEqual([0, 0, 0, 0]);
    expect(delaysOf(worldOf({ retry: "fixed", retryFirstMs: 7 }), {})).toEqual([7, 7, 7, 7]);
    const options = { retry: "exponential", retryFirstMs: 100, retryMaxMs: 200 } as const;
    expect(delaysOf(worldOf(options), {})).toEqual([50, 100, 100, 100]);
  });

  test("are refused where they make no sense", () => {
    const world = worldOf();
    const wrong = (retry: object) => expect(enqueueRefusal(world, { retry })?.code).toBe("invalid_argument");
    wrong({ kind: "exponential", firstMs: 11, maxMs: 10 });
    wrong({ kind: "exponential", firstMs: 0, maxMs: 10 });
    wrong({ kind: "fixed", delayMs: -1 });
    wrong({ kind: "fixed" });
    wrong({ kind: "list", delaysMs: [] });
    wrong({ kind: "list", delaysMs: Array.from({ length: RETRY_DELAYS_MAX + 1 }, () => 1) });
    wrong({ kind: "linear", delayMs: 1 });
    const options = refusalOf(world, "configure", { options: { retryFirstMs: 11, retryMaxMs: 10 } });
    expect(options?.message).toBe("options: retryFirstMs (11) must be at most retryMaxMs (10)");
  });

  test("without penalty are not charged and not delayed by a policy, also where the item ends", () => {
    const world = worldOf({ maxAttempts: 1, retry: "fixed" });
    const itemId = enqueue(world);
    granted(world);
    expect(fail(world, itemId, { penalty: false })).toBe("requeued");
    expect(granted(world)).toEqual([itemId]);
    expect(fail(world, itemId, { penalty: false, delayMs: 5 })).toBe("requeued");
    expect(granted(world)).toEqual([]);
    world.at += 5;
    granted(world);
    expect(fail(world, itemId, { penalty: false, requeue: false })).toBe("deadLettered");
    expect(world.state.items.get(itemId)).toMatchObject({ attempt: 3, charged: 0 });
  });

  test("a repeat with another delay or penalty is a conflict", () => {
    const world = worldOf();
    enqueue(world);
    const lease = { ...world.take(), reason: "no" };
    const send = (more: object) => world.send("fail", { leases: [{ ...lease, ...more }] })["results"][0];
    expect(send({ delayMs: 0 })).toEqual({ outcome: "requeued", duplicate: false });
    expect(send({ delayMs: 0, penalty: true })).toEqual({ outcome: "requeued", duplicate: true });
    for (const more of [{}, { delayMs: 1 }, { delayMs: 0, penalty: false }])
      expect(send(more).error.code).toBe("conflict");
  });
});

describe("a resource", () => {
  const world = () => worldOf({ exclusivity: "resource" });

  test("gives a more urgent item the place of the one that is shown, never that of a leased one", () => {
    const shard = world();
    const plain = enqueue(shard);
    const urgent = enqueue(shard, { priority: 5 });
    expect(granted(shard)).toEqual([urgent]);
    const most = enqueue(shard, { priority: 9 });
    expect(granted(shard)).toEqual([]);
    fail(shard, urgent);
    expect(granted(shard)).toEqual([most]);
    end(shard, most, "complete");
    expect(granted(shard)).toEqual([urgent]);
    end(shard, urgent, "complete");
    expect(granted(shard)).toEqual([plain]);
  });

  test("is not held back by an item that is delayed", () => {
    const shard = world();
    const delayed = enqueue(shard, { delayMs: 100, priority: 9 });
    const [plain, last] = [enqueue(shard), enqueue(shard)];
    expect(granted(shard)).toEqual([plain]);
    fail(shard, plain, { delayMs: 200 });
    expect(granted(shard)).toEqual([last]);
    shard.at += 200;
    expect(granted(shard)).toEqual([]);
    end(shard, last, "complete");
    expect(granted(shard)).toEqual([delayed]);
    end(shard, delayed, "complete");
    expect(granted(shard)).toEqual([plain]);
    end(shard, plain, "complete");
    expect(shard.state.ready.keys.size).toBe(0);
  });
});

describe("a partition", () => {
  const world = (onDeadLetter: "halt" | "continue" = "halt") => worldOf({ exclusivity: "partition", onDeadLetter });

  test("keeps its order whatever the priorities, and stands while its head is delayed", () => {
    const shard = world();
    const head = enqueue(shard, { delayMs: 100 });
    const next = enqueue(shard, { priority: 9 });
    expect(granted(shard)).toEqual([]);
    shard.at += 100;
    expect(granted(shard)).toEqual([head]);
    fail(shard, head, { delayMs: 50 });
    expect(granted(shard)).toEqual([]);
    shard.at += 50;
    expect(granted(shard)).toEqual([head]);
    end(shard, head, "complete");
    expect(granted(shard)).toEqual([next]);
  });

  test.each(["halt", "continue"] as const)(
    "goes on by onDeadLetter when the time of its head is over: %s",
    (option) => {
      const shard = world(option);
      enqueue(shard, { notAfter: 1_100 });
      const next = enqueue(shard);
      shard.at = 1_100;
      expect(granted(shard)).toEqual(option === "halt" ? [] : [next]);
      expect(shard.state.deadLettered).toBe(1);
    },
  );

  test("ends only the time of its head: what stands behind it is a dead letter when it comes", () => {
    const shard = world("continue");
    const [head, late, last] = [enqueue(shard), enqueue(shard, { notAfter: 1_100 }), enqueue(shard)];
    granted(shard);
    shard.at = 1_100;
    expect(granted(shard)).toEqual([]);
    expect(shard.state.deadLettered).toBe(0);
    end(shard, head, "complete");
    expect(granted(shard)).toEqual([last]);
    expect(shard.state.items.get(late)).toMatchObject({ status: "deadLettered", deadLetter: { code: "not_after" } });
  });
});
