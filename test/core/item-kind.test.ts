/** What items share must never make one of them say what another one said. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { TOKEN_EPOCH_STEP } from "../../contracts/limits.ts";
import { EXCLUSIVITIES } from "../../contracts/options.ts";
import type { ItemTerms } from "../../services/core/item.ts";
import { ItemKinds } from "../../services/core/item-kind.ts";
import { KIND_SPAN_MS } from "../../services/core/limits.ts";

const few = (...names: string[]) => fc.option(fc.constantFrom(...names), { nil: undefined });
const names = fc.record({
  resourceType: fc.constantFrom("t", "u"),
  payloadEncoding: few("a/b", "c/d"),
  maxAttempts: fc.constantFrom(undefined, 1, 2, 3, 4),
  group: few("g", "h"),
  quotaKey: few("g", "k"),
});
const terms: fc.Arbitrary<ItemTerms> = fc.record({
  priority: fc.nat({ max: 1 }),
  boost: fc.nat({ max: 1 }),
  notAfter: fc.constantFrom(undefined, undefined, 5),
  leaseDurationMs: fc.constantFrom(undefined, 1),
  retry: fc.constantFrom(undefined, { kind: "none" } as const, { kind: "fixed", delayMs: 1 } as const),
  uniqueKey: few("one"),
  group: fc.constant("g"),
  quotaKey: fc.constant(undefined),
});

test("the kind of an item says what the item says, whoever came before", () => {
  const at = fc.oneof(fc.nat({ max: 10 }), fc.integer({ min: 0, max: 2 ** 42 }));
  const epoch = fc.constantFrom(0, TOKEN_EPOCH_STEP);
  const item = fc.tuple(fc.constantFrom("p", "q"), fc.constantFrom(...EXCLUSIVITIES), names, at, epoch);
  fc.assert(
    fc.property(fc.array(item, { maxLength: 60 }), (items) => {
      const kinds = new ItemKinds();
      for (const [principal, exclusivity, named, enqueuedAt, tokenBase] of items) {
        const kind = kinds.of(principal, exclusivity, named, enqueuedAt, tokenBase);
        expect(kind).toMatchObject({ principal, exclusivity, tokenBase, ...named });
        expect(kind.since + kind.afterMs(enqueuedAt)).toBe(enqueuedAt);
        expect(kinds.of(principal, exclusivity, { ...named }, enqueuedAt, tokenBase)).toBe(kind);
      }
    }),
  );
});

test("terms that are shared say the same", () => {
  fc.assert(
    fc.property(fc.array(terms, { maxLength: 40 }), (all) => {
      const kind = new ItemKinds().of("p", "none", { resourceType: "t", group: "g" }, 0, 0);
      for (const each of all) expect(kind.share(each)).toEqual(each);
    }),
  );
});

test("a kind takes items as long as their times are small integers", () => {
  const kinds = new ItemKinds();
  const first = kinds.of("p", "none", { resourceType: "t" }, 1_790_000_000_000, 0);
  expect(kinds.of("p", "none", { resourceType: "t" }, first.since + KIND_SPAN_MS - 1, 0)).toBe(first);
  const next = kinds.of("p", "none", { resourceType: "t" }, first.since + KIND_SPAN_MS, 0);
  expect(next).not.toBe(first);
  expect(kinds.of("p", "none", { resourceType: "t" }, next.since - KIND_SPAN_MS, 0)).toBe(first);
});
