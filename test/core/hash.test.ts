/** The hashes that state and digests rest on: fixed for ever for a version, and sensitive to every field. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { digest64, digestFields, payloadDigest, stateHash } from "../../services/core/hash.ts";
import { HashSum, hexOf } from "../../services/core/hasher.ts";
import { createState } from "../../services/core/state.ts";

describe("digest64", () => {
  test.each([
    ["", "543345b5b20e3712"],
    ["a", "c156038f124db381"],
    ["naïve 😀 text", "c96f1a282aab250d"],
  ])("the digest of %j never changes", (text, digest) => expect(digest64(text)).toBe(digest));

  test("100,000 texts that count up have as many digests, in both halves", () => {
    const digests = Array.from({ length: 100_000 }, (_, index) => digest64(`resource-${index}`));
    expect(new Set(digests).size).toBe(digests.length);
    // By the birthday bound about one pair of 32-bit halves collides.
    expect(new Set(digests.map((digest) => digest.slice(0, 8))).size).toBeGreaterThan(99_990);
    expect(new Set(digests.map((digest) => digest.slice(8))).size).toBeGreaterThan(99_990);
  });

  test("one changed bit changes about half of the digest", () => {
    let changed = 0;
    for (let index = 0; index < 1_000; index += 1) {
      const text = `item ${index} of a list`;
      const other = text.replace("list", "lisu");
      const bits = BigInt(`0x${digest64(text)}`) ^ BigInt(`0x${digest64(other)}`);
      changed += bits.toString(2).replaceAll("0", "").length;
    }
    expect(changed / 1_000).toBeGreaterThan(28);
    expect(changed / 1_000).toBeLessThan(36);
  });
});

describe("digests of fields", () => {
  test("where one field ends and the next begins makes a difference", () => {
    const digests = [["ab", "c"], ["a", "bc"], ["abc", ""], ["abc", undefined], [undefined, "abc"], ["abc"]].map(
      digestFields,
    );
    expect(new Set(digests).size).toBe(digests.length);
  });

  test("a field that is left out is not an empty one", () => {
    const item = { resourceType: "t", resourceId: "r" };
    const others = [item, { ...item, body: "" }, { ...item, attributes: {} }, { ...item, partitionKey: "" }];
    expect(new Set(others.map(payloadDigest)).size).toBe(others.length);
  });
});

test("a sum of hashes is that of 64-bit integers, in any order", () => {
  const int = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  fc.assert(
    fc.property(fc.array(fc.tuple(int, int, fc.boolean())), (terms) => {
      const sum = new HashSum();
      let expected = 0n;
      for (const [high, low, add] of terms) {
        const value = (BigInt(high) << 32n) + BigInt(low >>> 0);
        if (add) sum.add(high, low);
        else sum.subtract(high, low);
        expected += add ? value : -value;
      }
      expect(hexOf(sum)).toBe(BigInt.asUintN(64, expected).toString(16).padStart(16, "0"));
    }),
  );
});

test("the hash of the empty state never changes", () => expect(stateHash(createState())).toBe("2bf27a9dd7391f47"));
