/** The short way to read a reply takes only what the schema takes, and leaves it as the schema leaves it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isPlainReply } from "../../contracts/plain-replies.ts";
import { REPLIES } from "../../contracts/replies.ts";
import type { Verb } from "../../contracts/subjects.ts";

const VERBS = [
  "enqueue",
  "lease",
  "heartbeat",
  "complete",
  "release",
  "fail",
  "get",
] as const satisfies readonly Verb[];

const ODD: readonly unknown[] = [
  ...["", "x".repeat(128), "x".repeat(129), "x".repeat(2_000), "\ud800", "none", "paused"],
  ...[0, 1, -1, 0.5, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER + 1, 1e300],
  ...[null, true, [], {}, { error: {} }, { a: 1 }, { constructor: "x" }],
  { code: "stale_token", message: "late", retryable: false, definite: true },
];
const odd = fc.constantFrom(...ODD);
const mostly = (good: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 25, arbitrary: good }, { weight: 1, arbitrary: odd });
const count = mostly(fc.nat());
const name = mostly(fc.string({ minLength: 1, maxLength: 8 }));
const fields = (
  required: Readonly<Record<string, fc.Arbitrary<unknown>>>,
  rare: Readonly<Record<string, fc.Arbitrary<unknown>>> = {},
): fc.Arbitrary<object> =>
  fc
    .tuple(
      fc.record(required, { noNullPrototype: true }),
      fc.oneof(
        { weight: 6, arbitrary: fc.constant({}) },
        { weight: 1, arbitrary: fc.record(rare, { requiredKeys: [], noNullPrototype: true }) },
      ),
    )
    .map(([first, second]) => ({ ...first, ...second }));

const item = fields(
  {
    resourceType: name,
    resourceId: name,
    payloadEncoding: name,
    body: mostly(fc.string()),
    attributes: mostly(fc.dictionary(fc.string({ maxLength: 4 }), fc.string({ maxLength: 4 }), { maxKeys: 3 })),
  },
  { partitionKey: name, requestId: name, colour: odd },
);
const lease = fields(
  {
    ...{ itemId: name, token: mostly(fc.integer({ min: 1 })), fenceKey: name, attempt: mostly(fc.integer({ min: 1 })) },
    ...{ expiresAt: count, validMs: count, heartbeatMs: mostly(fc.integer({ min: 1 })), enqueuedAt: count },
    item: mostly(item),
  },
  { lastError: odd, dependencies: odd, colour: odd },
);
const result = fields(
  { itemId: name, sequence: count, duplicate: mostly(fc.boolean()), expiresAt: count, validMs: count },
  { error: odd, outcome: mostly(fc.constant("requeued")), cancelRequested: mostly(fc.boolean()), colour: odd },
);
const reply = fields(
  {
    ...{ term: count, sequence: count, pending: count, active: count },
    results: mostly(fc.array(mostly(result), { maxLength: 3 })),
    leases: mostly(fc.array(mostly(lease), { maxLength: 2 })),
  },
  { reason: odd, colour: odd },
);

describe("a reply that is called plain", () => {
  test("is one that its schema takes, and leaves as it is", () => {
    const plain = new Map<Verb, number>();
    fc.assert(
      fc.property(fc.constantFrom(...VERBS), reply, (verb, value) => {
        if (!isPlainReply(verb, value as Record<string, unknown>)) return;
        plain.set(verb, (plain.get(verb) ?? 0) + 1);
        const parsed = REPLIES[verb].safeParse(value);
        expect(parsed.error).toBeUndefined();
        expect(parsed.data).toEqual(value);
      }),
      { numRuns: 10_000 },
    );
    expect([...plain.keys()].sort()).toEqual(["complete", "enqueue", "heartbeat", "lease", "release"]);
    for (const times of plain.values()) expect(times).toBeGreaterThan(100);
  });

  test("has no field beyond its limits", () => {
    const first = { itemId: "a", token: 1, fenceKey: "f", attempt: 1, expiresAt: 1, validMs: 1, heartbeatMs: 1 };
    const inner = { resourceType: "t", resourceId: "r", payloadEncoding: "e", body: "", attributes: {} };
    const whole = { ...first, enqueuedAt: 1, item: inner };
    const cited = { term: 1, sequence: 1 };
    const check = (value: object): void => {
      if (!isPlainReply("lease", value as Record<string, unknown>)) return;
      expect(REPLIES.lease.safeParse(value).data).toEqual(value);
    };
    expect(isPlainReply("lease", { ...cited, leases: [whole] })).toBe(true);
    for (const value of ODD) {
      for (const field of Object.keys(cited)) check({ ...cited, leases: [whole], [field]: value });
      for (const field of Object.keys(whole)) check({ ...cited, leases: [{ ...whole, [field]: value }] });
      for (const field of Object.keys(inner))
        check({ ...cited, leases: [{ ...whole, item: { ...inner, [field]: value } }] });
      for (const text of ["n", "x".repeat(64), "x".repeat(65), "constructor"])
        check({ ...cited, leases: [{ ...whole, item: { ...inner, attributes: { [text]: value } } }] });
    }
  });
});
