/** Unknown bytes: every malformed, oversized or hostile request is a typed refusal that names the place, and nothing throws. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ErrorBody, ErrorBodySchema } from "../../contracts/errors.ts";
import { ISSUES_MAX, ITEM_BYTES_MAX, REQUEST_BYTES_MAX, RESULT_BYTES_MAX } from "../../contracts/limits.ts";
import { VERBS, type Verb } from "../../contracts/subjects.ts";
import { parseCommand } from "../../services/core/parse.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const parse = (verb: Verb, body: string | object | Uint8Array) =>
  parseCommand(
    verb,
    body instanceof Uint8Array ? body : encode(typeof body === "string" ? body : JSON.stringify(body)),
  );
const errorOf = (verb: Verb, body: string | object | Uint8Array): ErrorBody => {
  const command = parse(verb, body);
  if (!("error" in command)) throw new Error("the request was accepted");
  return command.error;
};
const item = { resourceType: "table", resourceId: "orders" };
const deep = (levels: number): string => `${"[".repeat(levels)}${"]".repeat(levels)}`;

describe("malformed requests", () => {
  const cases: Record<string, [Verb, string | object | Uint8Array, RegExp]> = {
    "truncated JSON": ["stats", '{"apiVersion":', /valid JSON/],
    "trailing bytes": ["stats", "{} x", /valid JSON/],
    NaN: ["lease", '{"maxItems":NaN}', /valid JSON/],
    "invalid UTF-8": ["stats", new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]), /UTF-8/],
    "an encoded surrogate": ["stats", new Uint8Array([0x22, 0xed, 0xa0, 0x80, 0x22]), /UTF-8/],
    "a byte order mark": ["stats", "\uFEFF{}", /byte order mark/],
    "a list": ["stats", "[]", /JSON object/],
    "a text": ["stats", '"x"', /JSON object/],
    null: ["stats", "null", /JSON object/],
    "an unknown field": ["stats", { colour: 1 }, /^colour: unknown field/],
    "an unknown field of an entry": [
      "enqueue",
      { items: [item, { ...item, colour: 1 }] },
      /^items\[1\]\.colour: unknown field/,
    ],
    "a missing field": ["enqueue", {}, /^items: /],
    "an empty body where fields are needed": ["complete", new Uint8Array(), /^leases: /],
    "a text for a number": ["lease", { maxItems: "1" }, /^maxItems: /],
    "minus zero": ["lease", '{"waitMs":-0}', /^waitMs: must not be -0/],
    "minus zero by underflow": ["lease", '{"waitMs":-1e-400}', /^waitMs: must not be -0/],
    "minus zero in a list": [
      "heartbeat",
      '{"leases":[{"itemId":"a","token":-0.0}]}',
      /^leases\[0\]\.token: must not be -0/,
    ],
    infinity: ["lease", '{"waitMs":1e309}', /^waitMs: is too large/],
    "an unsafe integer": ["complete", '{"leases":[{"itemId":"a","token":9007199254740993}]}', /^leases\[0\]\.token: /],
    "a negative number": ["lease", { waitMs: -1 }, /^waitMs: /],
    "a lease of no length": ["lease", { leaseDurationMs: 0 }, /^leaseDurationMs: /],
    "no entries": ["enqueue", { items: [] }, /^items: /],
    "too many entries": ["get", { itemIds: Array.from({ length: 1_001 }, () => "a") }, /^itemIds: has more than 1000/],
    "too many fields": [
      "stats",
      Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, 1])),
      /more than 64 fields/,
    ],
    "deep nesting": ["stats", `{"apiVersion":${deep(10_000)}}`, /^apiVersion.*nested deeper than 32/],
    "deep nesting without an object": ["stats", deep(100_000), /nested deeper than 32/],
    "a lone surrogate": [
      "enqueue",
      `{"items":[{"resourceType":"\\ud800","resourceId":"r"}]}`,
      /^items\[0\]\.resourceType: .*surrogate/,
    ],
    "a field __proto__": ["stats", '{"__proto__":{"polluted":1}}', /^__proto__: is not allowed/],
    "an escaped __proto__": ["stats", '{"\\u005f_proto__":1}', /^__proto__: is not allowed/],
    "a field constructor": ["stats", '{"constructor":{"prototype":{"polluted":1}}}', /^constructor: is not allowed/],
    "__proto__ among attributes": [
      "enqueue",
      '{"items":[{"resourceType":"t","resourceId":"r","attributes":{"a":"b","__proto__":"x"}}]}',
      /^items\[0\]\.attributes\.__proto__: is not allowed/,
    ],
    "two ids for one item": [
      "enqueue",
      { requestId: "a", items: [{ ...item, requestId: "b" }] },
      /^requestId: .*exclude/,
    ],
    "an id beyond its bytes": [
      "enqueue",
      { items: [{ ...item, resourceId: "é".repeat(257) }] },
      /^items\[0\]\.resourceId: /,
    ],
  };

  test.each(Object.entries(cases))("%s is refused, and the place is named", (_name, [verb, body, message]) => {
    const error = errorOf(verb, body);
    expect(error).toMatchObject({ code: "invalid_argument", retryable: false, definite: true });
    expect(error.message).toMatch(message);
    expect(error.details?.["issues"]).not.toEqual([]);
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });

  test("at most 20 problems are listed, none of them long", () => {
    const error = errorOf("enqueue", { items: Array.from({ length: 900 }, () => ({ ["x".repeat(400)]: 1 })) });
    const issues = error.details?.["issues"] as { path: string; message: string }[];
    expect(issues).toHaveLength(ISSUES_MAX);
    expect(JSON.stringify(error).length).toBeLessThan(20_000);
  });

  test("a problem far down the list is named by its true place, and ends the search", () => {
    const items: object[] = Array.from({ length: 900 }, () => item);
    items[700] = { ...item, resourceId: 7 };
    items[800] = { ...item, resourceId: 8 };
    expect(errorOf("enqueue", { items }).details?.["issues"]).toMatchObject([{ path: "items[700].resourceId" }]);
    items[700] = items[800] = item;
    expect(parse("enqueue", { items, requestId: "a" })).toEqual({
      verb: "enqueue",
      request: { items, requestId: "a" },
    });
  });

  test("a value is never repeated in a refusal", () => {
    expect(JSON.stringify(errorOf("pause", { requestId: { password: "secret-value" } }))).not.toContain("secret-value");
  });
});

describe("versions", () => {
  test.each([0, 2, 99])("apiVersion %i is refused with those that are spoken", (apiVersion) => {
    expect(errorOf("stats", { apiVersion, whatever: 1 })).toMatchObject({
      code: "unsupported_version",
      details: { supported: [1] },
    });
  });

  test("apiVersion 1 and none are spoken", () => {
    expect(parse("stats", { apiVersion: 1 })).toEqual({ verb: "stats", request: { apiVersion: 1 } });
    expect(parse("stats", {})).toEqual({ verb: "stats", request: {} });
  });
});

describe("sizes", () => {
  test("a request at the limit is read, one above it is not looked at", () => {
    const padded = (length: number) => encode(`{}${" ".repeat(length - 2)}`);
    expect(parse("stats", padded(REQUEST_BYTES_MAX))).toEqual({ verb: "stats", request: {} });
    expect(errorOf("stats", padded(REQUEST_BYTES_MAX + 1)).code).toBe("payload_too_large");
  });

  test("a body above its limit in characters or in bytes as JSON is too large", () => {
    const enqueue = (body: string) => ({ items: [{ ...item, body }] });
    expect(errorOf("enqueue", enqueue("x".repeat(ITEM_BYTES_MAX + 1)))).toMatchObject({ code: "payload_too_large" });
    expect(errorOf("enqueue", enqueue("x".repeat(ITEM_BYTES_MAX - 1)))).toMatchObject({ code: "payload_too_large" });
    expect(parse("enqueue", enqueue("x".repeat(ITEM_BYTES_MAX - 2)))).toMatchObject({ verb: "enqueue" });
  });

  test("a result above its limit is too large, and named", () => {
    const complete = (result: string) => ({ leases: [{ itemId: "a", token: 1, result }] });
    expect(parse("complete", complete("x".repeat(RESULT_BYTES_MAX - 2)))).toMatchObject({ verb: "complete" });
    expect(errorOf("complete", complete("\u0001".repeat(2_000)))).toMatchObject({ code: "payload_too_large" });
    expect(errorOf("complete", complete("x".repeat(9_000))).message).toMatch(/^leases\[0\]\.result: /);
  });

  test("1,000 attributes are refused", () => {
    const attributes = Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`a${index}`, "x"]));
    expect(errorOf("enqueue", { items: [{ ...item, attributes }] }).message).toMatch(
      /attributes: has more than 64 fields/,
    );
  });
});

describe("accepted requests", () => {
  test("an empty body is an empty request, with defaults filled in", () => {
    expect(parse("pause", new Uint8Array())).toEqual({ verb: "pause", request: {} });
    expect(parse("lease", new Uint8Array())).toEqual({ verb: "lease", request: { maxItems: 1, waitMs: 0 } });
  });

  test("of duplicate keys the last counts", () => {
    expect(parse("lease", '{"maxItems":1,"maxItems":3}')).toMatchObject({ request: { maxItems: 3 } });
  });

  test("toString and hasOwnProperty are ids like others", () => {
    const request = {
      items: [{ resourceType: "toString", resourceId: "hasOwnProperty", attributes: { valueOf: "x" } }],
    };
    expect(parse("enqueue", request)).toEqual({ verb: "enqueue", request });
  });
});

describe("arbitrary input", () => {
  const verb = fc.constantFrom(...VERBS);
  const isAnswer = (answer: object): void => {
    if ("error" in answer) ErrorBodySchema.parse(answer.error);
    else expect(Object.keys(answer)).toEqual(["verb", "request"]);
  };

  test("bytes never throw", () => {
    fc.assert(fc.property(verb, fc.uint8Array({ maxLength: 64 }), (one, bytes) => isAnswer(parseCommand(one, bytes))));
  });

  test("JSON never throws", () => {
    fc.assert(
      fc.property(verb, fc.json(), (one, text) => isAnswer(parse(one, text))),
      { numRuns: 400 },
    );
  });

  test("requests with one wrong field never throw", () => {
    const field = fc.constantFrom(
      "items",
      "leases",
      "itemIds",
      "options",
      "requestId",
      "apiVersion",
      "maxItems",
      "cursor",
      "extendMs",
    );
    const entry = fc.record(
      { itemId: fc.anything(), token: fc.anything(), resourceType: fc.anything() },
      { requiredKeys: [] },
    );
    const value = fc.oneof(fc.anything(), fc.array(entry, { maxLength: 3 }));
    fc.assert(
      fc.property(verb, fc.dictionary(field, value, { maxKeys: 3 }), (one, request) => {
        let text: string | undefined;
        try {
          text = JSON.stringify(request);
        } catch {
          return; // BigInt and the like do not come as JSON.
        }
        if (text !== undefined) isAnswer(parse(one, text));
      }),
      { numRuns: 400 },
    );
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });
});
