/** What an item becomes on its way out: JSON that says what was checked, whatever kind of object the caller has handed over. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EnqueueItem } from "../../contracts/commands.ts";
import { type EnqueueInput, encodeItem } from "../../services/client/entries.ts";

const NAMES = { resourceType: "table", resourceId: "orders" };

function written(input: EnqueueInput): unknown {
  const encoded = encodeItem(input);
  if (encoded.kind === "refused") throw new Error(encoded.error.message);
  expect(encoded.entry.bytes).toBe(Buffer.byteLength(encoded.entry.text));
  return JSON.parse(encoded.entry.text);
}

class Order {
  readonly resourceType = "table";
  get resourceId(): string {
    return "orders";
  }
  get body(): string | Uint8Array {
    return "important";
  }
}
class Picture extends Order {
  override get body(): Uint8Array {
    return Uint8Array.of(1, 2, 3);
  }
}
class Told extends Order {
  toJSON(): string {
    return "an order";
  }
}

describe("an item", () => {
  test("of a class is written with its getters", () => {
    expect(written(new Order())).toEqual({ ...NAMES, body: "important" });
    expect(written(new Picture())).toEqual({
      ...{ ...NAMES, body: "AQID" },
      payloadEncoding: "application/octet-stream;base64",
    });
  });

  test("with inherited fields is written with them", () => {
    const input: EnqueueInput = Object.create({ ...NAMES, requestId: "once" });
    const encoded = encodeItem(input);
    expect(encoded).toMatchObject({ kind: "ok", entry: { hasRequestId: true } });
    expect(written(input)).toEqual({ ...NAMES, requestId: "once" });
  });

  test("that has a JSON form of its own is written as it was checked: what else travels with it is not spoiled", () => {
    expect(written(new Told())).toEqual({ ...NAMES, body: "important" });
    const toJSON = (): string => "often";
    class Fixed {
      readonly kind = "fixed";
      readonly delayMs = 5;
      toJSON = toJSON;
    }
    expect(encodeItem({ ...NAMES, retry: new Fixed() } as EnqueueInput).kind).toBe("refused");
    class Policy {
      readonly kind = "fixed";
      get delayMs(): number {
        return 5;
      }
    }
    expect(written({ ...NAMES, retry: new Policy() })).toEqual({ ...NAMES, retry: { kind: "fixed", delayMs: 5 } });
  });

  test("with fields that are not enumerable is written with them, whatever its JSON form would be", () => {
    const hidden = Object.defineProperties(
      { resourceType: "t", resourceId: "r" },
      { body: { value: "work" }, requestId: { value: "once" }, toJSON: { value: () => ({ resourceType: "" }) } },
    );
    const encoded = encodeItem(hidden);
    const text = JSON.stringify({ resourceType: "t", resourceId: "r", body: "work", requestId: "once" });
    const bytes = Buffer.byteLength(text);
    expect(encoded).toEqual({ kind: "ok", entry: { text, bytes, hasRequestId: true } });
    const wrong = Object.defineProperty({ resourceType: "t", resourceId: "r" }, "priority", { value: 99 });
    expect(encodeItem(wrong).kind).toBe("refused");
  });

  test("without a prototype is an item", () => {
    expect(written(Object.assign(Object.create(null), NAMES))).toEqual(NAMES);
  });

  test("of a class with a field that no item has is refused", () => {
    class Coloured extends Order {
      readonly colour = "red";
    }
    expect(encodeItem(new Coloured())).toMatchObject({ kind: "refused", error: { code: "invalid_argument" } });
  });

  test("is written as the schema reads it, of whatever fields", () => {
    const text = fc.string({ minLength: 1, maxLength: 6 });
    const fields = fc.record(
      {
        ...{
          resourceType: text,
          resourceId: text,
          partitionKey: text,
          body: fc.string(),
          requestId: text,
          group: text,
        },
        priority: fc.integer({ min: 0, max: 9 }),
        attributes: fc.dictionary(text, fc.string({ maxLength: 3 }), { maxKeys: 3 }),
        payloadEncoding: fc.constantFrom("application/json", "text/plain", "nonsense"),
      },
      { requiredKeys: ["resourceType", "resourceId"], noNullPrototype: true },
    );
    fc.assert(
      fc.property(fields, fc.boolean(), (input, isInherited) => {
        const encoded = encodeItem(isInherited ? (Object.create(input) as typeof input) : input);
        const parsed = EnqueueItem.safeParse(input);
        expect(encoded.kind).toBe(parsed.success ? "ok" : "refused");
        if (encoded.kind === "ok") expect(JSON.parse(encoded.entry.text)).toEqual(parsed.data);
      }),
      { numRuns: 2_000 },
    );
  });
});
