/** Random steps of a shard's life for properties: dense, so that few items meet in few keys and in little time. */
import fc from "fast-check";
import type { RetryPolicy } from "../../contracts/commands.ts";
import type { Exclusivity } from "../../contracts/options.ts";

const maybe = <Value>(arbitrary: fc.Arbitrary<Value>) => fc.option(arbitrary, { nil: undefined, freq: 2 });
const small = fc.nat({ max: 2 });
const peer = fc.constantFrom("w1--a", "w1--b", "w2--a");
const exclusivity = fc.constantFrom<Exclusivity>("none", "resource", "partition");
const ms = fc.constantFrom(0, 1, 50, 200, 600);

const retry = fc.oneof(
  fc.constant<RetryPolicy>({ kind: "none" }),
  ms.map((delayMs): RetryPolicy => ({ kind: "fixed", delayMs })),
  fc.record({ kind: fc.constant("exponential" as const), firstMs: fc.constantFrom(1, 100), maxMs: fc.constant(300) }),
  fc.record({ kind: fc.constant("list" as const), delaysMs: fc.array(ms, { minLength: 1, maxLength: 3 }) }),
);

/** Times count from the moment of the enqueue; tokens are named by how far they are from the true one. */
export const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      verb: fc.constant("enqueue" as const),
      count: fc.integer({ min: 1, max: 3 }),
      type: small,
      id: fc.nat({ max: 1 }),
      key: maybe(small),
      exclusivity: maybe(exclusivity),
      priority: fc.constantFrom(undefined, undefined, 0, 1, 2, 9),
      delay: fc.option(fc.record({ from: fc.constantFrom("now", "time"), ms: fc.constantFrom(-300, 0, 1, 200, 600) })),
      notAfter: fc.constantFrom(undefined, undefined, -1, 0, 1, 200, 400, 900),
      leaseDurationMs: fc.constantFrom(undefined, undefined, 100, 3_000, 6_000),
      maxAttempts: maybe(fc.integer({ min: 1, max: 3 })),
      retry: maybe(retry),
      requestId: fc.constantFrom(undefined, undefined, undefined, "q1", "q2"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ verb: fc.constant("repeat" as const), enqueued: fc.nat({ max: 6 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      verb: fc.constant("lease" as const),
      peer,
      maxItems: fc.integer({ min: 1, max: 4 }),
      types: maybe(fc.uniqueArray(small, { minLength: 1, maxLength: 2 })),
      durationMs: fc.constantFrom(undefined, undefined, 100, 1_000, 6_000),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      verb: fc.constantFrom("complete", "fail", "fail", "fail", "release", "heartbeat", "expire"),
      principal: fc.constantFrom(undefined, undefined, undefined, "w1"),
      picks: fc.array(fc.record({ place: fc.nat(), skew: fc.constantFrom(0, 0, 0, 0, 0, -1, 1) }), {
        minLength: 1,
        maxLength: 3,
      }),
      requeue: fc.constantFrom(true, true, true, false),
      code: fc.constantFrom(undefined, "busy"),
      delayMs: maybe(ms),
      penalty: fc.constantFrom(undefined, undefined, true, false),
      extendMs: fc.constantFrom(undefined, undefined, 100, 2_000),
      chance: fc.constantFrom(0, 0.5, 0.999),
    }),
  },
  { weight: 2, arbitrary: fc.record({ verb: fc.constant("wait" as const), ms: fc.constantFrom(1, 50, 200, 700) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      verb: fc.constantFrom("pause", "resume", "resume", "cut", "load the cut", "take the fold"),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      verb: fc.constant("configure" as const),
      options: fc.record(
        {
          exclusivity,
          onDeadLetter: fc.constantFrom("halt" as const, "continue" as const),
          maxAttempts: fc.integer({ min: 1, max: 4 }),
          ageingMs: fc.constantFrom(0, 40, 300),
          retry: fc.constantFrom("none" as const, "fixed" as const, "exponential" as const),
          retryFirstMs: fc.constantFrom(20, 200),
          retryMaxMs: fc.constantFrom(200, 500),
          leaseDurationMsMax: fc.constantFrom(2_000, 5_000),
          leasesPerPeerMax: fc.integer({ min: 2, max: 6 }),
        },
        { requiredKeys: [] },
      ),
    }),
  },
);
export type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;
