/** The short way through the parser accepts only what the schema accepts, and leaves it as the schema leaves it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { REQUESTS } from "../../contracts/commands.ts";
import { EXCLUSIVITIES } from "../../contracts/options.ts";
import { isPlainEntryOf, plainRequest } from "../../contracts/plain-requests.ts";
import type { Verb } from "../../contracts/subjects.ts";

const VERBS = ["enqueue", "complete", "heartbeat", "release", "fail", "lease"] as const satisfies readonly Verb[];

/** Values at and beyond every limit, and of every wrong kind. */
const ODD: readonly unknown[] = [
  ...[0, 1, 64, 65, 128, 129, 170, 171, 512, 513, 8_192, 8_193].map((length) => "x".repeat(length)),
  ...[170, 171, 256, 257].map((length) => "é".repeat(length)),
  ...["a--", "--b", "a--b--c", "a.b", "\ud800", "ok\udfff", "😀", "a/b", "none "],
  ...[0, 1, -1, 9, 10, 1.5, 60_000, 60_001, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER + 1],
  ...[null, true, [], {}, ["resourceType"], { itemId: "a" }],
];
const odd = fc.constantFrom(...ODD);
const mostly = (good: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 12, arbitrary: good }, { weight: 1, arbitrary: odd });
const name = mostly(fc.string({ minLength: 1, maxLength: 12 }));

const rarely = (extra: fc.Arbitrary<object>): fc.Arbitrary<object> =>
  fc.oneof({ weight: 8, arbitrary: fc.constant({}) }, { weight: 1, arbitrary: extra });
const joined = (...parts: fc.Arbitrary<object>[]): fc.Arbitrary<object> =>
  fc.tuple(...parts).map((all) => Object.assign({}, ...all) as object);
const some = (fields: Readonly<Record<string, fc.Arbitrary<unknown>>>): fc.Arbitrary<object> =>
  fc.record(fields, { requiredKeys: [], noNullPrototype: true });

const item = joined(
  fc.oneof({ weight: 12, arbitrary: fc.record({ resourceType: name, resourceId: name }) }, some({ resourceId: name })),
  some({
    partitionKey: name,
    body: mostly(fc.string({ maxLength: 20 })),
    exclusivity: mostly(fc.constantFrom(...EXCLUSIVITIES)),
    priority: mostly(fc.integer({ min: 0, max: 9 })),
    group: name,
    quotaKey: name,
  }),
  rarely(some({ requestId: name })),
  rarely(some({ payloadEncoding: fc.constant("application/json"), attributes: fc.constant({ a: "b" }), colour: odd })),
);
const lease = joined(
  fc.oneof(
    { weight: 12, arbitrary: fc.record({ itemId: name, token: mostly(fc.integer({ min: 1 })) }) },
    some({ token: odd }),
  ),
  rarely(some({ result: name, progress: name, colour: odd })),
);
const envelope = joined(
  some({ timeoutMs: mostly(fc.integer({ min: 1, max: 60_000 })), after: mostly(fc.nat()) }),
  rarely(some({ requestId: name })),
  rarely(some({ apiVersion: fc.constant(1), extendMs: fc.constant(1_000), consistent: fc.boolean() })),
);
const filter = joined(
  some({
    peerId: mostly(fc.constantFrom("me", "me--1", "Me_2--x-y")),
    maxItems: mostly(fc.integer({ min: 1, max: 1_000 })),
    waitMs: mostly(fc.nat({ max: 30_000 })),
    leaseDurationMs: mostly(fc.integer({ min: 1_000, max: 60_000 })),
    resourceTypes: mostly(fc.array(name, { maxLength: 3 })),
  }),
  rarely(some({ colour: odd })),
);
const entriesOf = (entry: fc.Arbitrary<object>) => mostly(fc.array(entry, { maxLength: 3 }));

const isPlain = (verb: Verb, value: Readonly<Record<string, unknown>>): boolean =>
  plainRequest(verb, value) !== undefined;

/** Whether a request is called plain; then its schema takes it, and leaves it as it is. */
function check(verb: Verb, value: Readonly<Record<string, unknown>>): boolean {
  const plain = plainRequest(verb, value);
  if (plain === undefined) return false;
  const parsed = REQUESTS[verb].safeParse(value);
  expect(parsed.error).toBeUndefined();
  expect(plain).toEqual(parsed.data);
  if (verb === "lease") return true;
  expect(plain).toBe(value);
  const entries = value["items"] ?? value["leases"];
  for (const entry of entries as readonly unknown[]) expect(isPlainEntryOf(verb, entry)).toBe(true);
  return true;
}

describe("a request that is called plain", () => {
  test("is one that its schema takes, and leaves as it is", () => {
    const plain = new Map<Verb, number>();
    fc.assert(
      fc.property(
        fc.constantFrom(...VERBS),
        envelope,
        entriesOf(item),
        entriesOf(lease),
        filter,
        (verb, fields, items, leases, filter) => {
          const value = verb === "enqueue" ? { ...fields, items } : { ...fields, leases };
          if (check(verb, verb === "lease" ? { ...fields, ...filter } : value))
            plain.set(verb, (plain.get(verb) ?? 0) + 1);
        },
      ),
      { numRuns: 20_000 },
    );
    expect([...plain.keys()].sort()).toEqual(["complete", "enqueue", "heartbeat", "lease", "release"]);
    for (const times of plain.values()) expect(times).toBeGreaterThan(500);
  });

  test("has entries that are plain by themselves, and no others are", () => {
    for (const value of ODD) {
      const items = [{ resourceType: "t", resourceId: "r", body: value }];
      expect(isPlainEntryOf("enqueue", items[0])).toBe(isPlain("enqueue", { items }));
      const leases = [{ itemId: value, token: 1 }];
      expect(isPlainEntryOf("complete", leases[0])).toBe(isPlain("complete", { leases }));
    }
    expect(isPlainEntryOf("lease", {})).toBe(false);
  });

  test("has no field beyond its limits", () => {
    const fields = [
      "resourceType",
      "resourceId",
      "partitionKey",
      "body",
      "exclusivity",
      "priority",
      "group",
      "quotaKey",
    ];
    const names = [
      ...["peerId", "maxItems", "waitMs", "leaseDurationMs", "resourceTypes"],
      ...["itemId", "token", "result", "requestId", "timeoutMs", "after"],
    ];
    for (const field of [...fields, ...names])
      for (const value of ODD) {
        check("lease", { [field]: value });
        check("enqueue", { items: [{ resourceType: "t", resourceId: "r", [field]: value }] });
        check("enqueue", { items: [{ resourceType: "t", resourceId: "r" }], [field]: value });
        check("complete", { leases: [{ itemId: "a", token: 1, [field]: value }] });
        check("complete", { leases: [{ itemId: "a", token: 1 }], [field]: value });
      }
  });

  test("is what clients send nearly always", () => {
    const payload = { resourceType: "table", resourceId: "orders", body: "{}", group: "g", exclusivity: "partition" };
    const items = [{ ...payload, partitionKey: "p" }, payload];
    expect(isPlain("enqueue", { items })).toBe(true);
    expect(isPlain("enqueue", { items, requestId: "id", after: 3, timeoutMs: 5_000 })).toBe(true);
    expect(isPlain("complete", { leases: [{ itemId: "a", token: 7, result: "ok" }] })).toBe(true);
    expect(isPlain("lease", {})).toBe(true);
    expect(isPlain("lease", { peerId: "me--1", resourceTypes: ["table"], waitMs: 5_000 })).toBe(true);
    expect(isPlain("heartbeat", { leases: [{ itemId: "a", token: 7 }] })).toBe(true);
  });
});
