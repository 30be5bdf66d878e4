/** Typed payloads: what is checked, lifted and refused on both sides, and what types a handler gets. */
import { describe, expect, expectTypeOf, test } from "vitest";
import { z } from "zod";
import {
  definePayloads,
  type EnqueueInput,
  type Enqueuer,
  FatalItemError,
  type HandlerContext,
  type Lease,
  type PayloadError,
  payload,
  type StandardSchema,
} from "../../services/client/mod.ts";

const Mail = z.object({ to: z.string(), at: z.iso.datetime().transform((text) => new Date(text)) });
const payloads = definePayloads({
  mail: payload(Mail, {
    version: 3,
    upcasts: {
      1: (old) => ({ to: (old as { address: string }).address, at: "2026-01-01T00:00:00Z" }),
      2: (old) => ({ ...(old as object), at: "2026-01-02T00:00:00Z" }),
    },
  }),
  count: payload(z.int()),
});

/** A schema that answers later, as one that asks a database does. */
const slowText: StandardSchema<string> = {
  "~standard": {
    version: 1,
    vendor: "test",
    validate: async (value) =>
      typeof value === "string" ? { value } : { issues: [{ message: "no text", path: [{ key: "deep" }, 0] }] },
  },
};

const leaseOf = (resourceType: string, body: string, payloadEncoding = "application/json"): Lease => ({
  ...{ itemId: "1", token: 1, fenceKey: "1", attempt: 1, expiresAt: 1, validMs: 1, heartbeatMs: 1, enqueuedAt: 1 },
  item: { resourceType, resourceId: "r", payloadEncoding, body, attributes: {} },
  validUntilMs: 1,
});
const CONTEXT = {} as HandlerContext;
const AT = "2026-11-01T10:00:00Z";

/** Keeps what would be sent. */
function recorder(): Enqueuer & { readonly sent: EnqueueInput[] } {
  const sent: EnqueueInput[] = [];
  const enqueued = { itemId: "1", sequence: 1, duplicate: false };
  return {
    sent,
    enqueue: async (item) => {
      sent.push(item);
      return enqueued;
    },
    enqueueMany: async (items) => {
      sent.push(...items);
      return items.map(() => ({ kind: "ok", value: enqueued }) as const);
    },
  };
}

describe("an enqueue", () => {
  test("writes the value as JSON, and its version into the media type unless it is the first", async () => {
    const client = recorder();
    await payloads.enqueue(client, {
      resourceType: "mail",
      resourceId: "1",
      priority: 3,
      payload: { to: "a", at: AT },
    });
    await payloads.enqueue(client, { resourceType: "count", resourceId: "2", payload: 7 });
    expect(client.sent).toEqual([
      {
        ...{ resourceType: "mail", resourceId: "1", priority: 3 },
        ...{ payloadEncoding: "application/json;v=3", body: `{"to":"a","at":"${AT}"}` },
      },
      { resourceType: "count", resourceId: "2", payloadEncoding: "application/json", body: "7" },
    ]);
  });

  test("of what does not fit sends nothing and names the issues", async () => {
    const client = recorder();
    const bad = { resourceType: "mail", resourceId: "1", payload: { to: 5, at: "noon" } } as never;
    const error = (await payloads.enqueue(client, bad).catch((reason: unknown) => reason)) as PayloadError;
    expect(error).toMatchObject({ name: "PayloadError", code: "payload_invalid", definite: true, retryable: false });
    expect(error.issues.map(({ path }) => path)).toEqual(["to", "at"]);
    expect(client.sent).toEqual([]);
  });

  test.each([
    ["what JSON changes", payload(z.date()), new Date()],
    ["a cycle", payload(z.any()), Object.assign([], { 0: 1 }) as unknown[]],
    ["a big integer", payload(z.bigint()), 5n],
    ["a function", payload(z.any()), () => 0],
  ])("refuses %s", async (_name, definition, value) => {
    if (Array.isArray(value)) value.push(value);
    const client = recorder();
    const sending = definePayloads({ x: definition }).enqueue(client, {
      resourceType: "x",
      resourceId: "1",
      payload: value as never,
    });
    await expect(sending).rejects.toMatchObject({ code: "payload_invalid" });
    expect(client.sent).toEqual([]);
  });

  test("of many tells each its own result in order; under one request id one bad item refuses all", async () => {
    const client = recorder();
    const items = [1, "two", 3].map((value) => ({
      ...{ resourceType: "count" as const, resourceId: "r", payload: value as number },
    }));
    const results = await payloads.enqueueMany(client, items);
    expect(results.map(({ kind }) => kind)).toEqual(["ok", "refused", "ok"]);
    expect(client.sent.map(({ body }) => body)).toEqual(["1", "3"]);
    await expect(payloads.enqueueMany(client, items, { requestId: "all" })).rejects.toMatchObject({
      code: "payload_invalid",
    });
    expect(client.sent).toHaveLength(2);
  });

  test("waits for a schema that answers later", async () => {
    const slow = definePayloads({ text: payload(slowText) });
    const client = recorder();
    await slow.enqueue(client, { resourceType: "text", resourceId: "1", payload: "x" });
    const bad = slow.enqueue(client, { resourceType: "text", resourceId: "1", payload: 5 as never });
    await expect(bad).rejects.toMatchObject({ issues: [{ path: "deep.0", message: "no text" }] });
    expect(client.sent).toHaveLength(1);
  });

  test("of a type without a payload is the caller's mistake", async () => {
    const unknown = { resourceType: "other", resourceId: "1", payload: 1 } as never;
    await expect(payloads.enqueue(recorder(), unknown)).rejects.toMatchObject({ code: "invalid_options" });
  });
});

describe("a lease", () => {
  test("hands the handler what the schema makes of the payload, in its type", async () => {
    const seen: unknown[] = [];
    const { handler, resourceTypes } = payloads.handlers({
      mail: async (mail, lease) => {
        expectTypeOf(mail).toEqualTypeOf<{ to: string; at: Date }>();
        expectTypeOf(lease).toEqualTypeOf<Lease>();
        seen.push(mail);
        return "sent";
      },
    });
    expect(resourceTypes).toEqual(["mail"]);
    const body = JSON.stringify({ to: "a", at: AT });
    expect(await handler(leaseOf("mail", body, "application/json;v=3"), CONTEXT)).toBe("sent");
    expect(seen).toEqual([{ to: "a", at: new Date(AT) }]);
  });

  test("types what may be enqueued", () => {
    type Item = Parameters<typeof payloads.enqueue>[1];
    expectTypeOf<Extract<Item, { resourceType: "mail" }>["payload"]>().toEqualTypeOf<{ to: string; at: string }>();
    expectTypeOf<Item["resourceType"]>().toEqualTypeOf<"mail" | "count">();
  });

  test("lifts older versions step by step", () => {
    expect(payloads.decode(leaseOf("mail", '{"address":"old"}'))).toEqual({
      to: "old",
      at: new Date("2026-01-02T00:00:00Z"),
    });
    expect(payloads.decode(leaseOf("mail", '{"to":"b"}', "application/json;V=2"))).toMatchObject({
      to: "b",
    });
  });

  test("makes no promise where the schema answers at once", () => {
    expect(payloads.decode(leaseOf("count", "5"))).toBe(5);
    const handled = Promise.resolve("x");
    const { handler } = payloads.handlers({ count: () => handled });
    expect(handler(leaseOf("count", "5"), CONTEXT)).toBe(handled);
  });

  test.each([
    ["does not fit", "mail", '{"to":1}', "application/json;v=3", /to: .*; at: /],
    ["has a newer version", "mail", "{}", "application/json;v=4", /version 4; this worker knows versions up to 3/],
    ["is no JSON", "count", "{", "application/json", /its body is no JSON/],
    ["is text", "count", "5", "text/plain", /its encoding is text\/plain/],
    ["is bytes", "count", "NQ==", "application/json;base64", /its encoding is application\/json;base64/],
    ["has version 0", "count", "5", "application/json;v=0", /reads versions from 1 on/],
    ["cannot be lifted", "mail", "null", "application/json", /cannot be lifted from version 1/],
  ])("that %s never reaches the handler", (_name, resourceType, body, encoding, reason) => {
    const { handler } = payloads.handlers({ mail: () => expect.unreachable(), count: () => expect.unreachable() });
    let thrown: unknown;
    try {
      void handler(leaseOf(resourceType, body, encoding), CONTEXT);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(FatalItemError);
    expect(thrown).toMatchObject({ code: "payload_invalid", message: expect.stringMatching(reason) });
  });

  test("waits for a schema that answers later, and a schema that breaks is no invalid payload", async () => {
    const broken: StandardSchema = {
      "~standard": { version: 1, vendor: "test", validate: () => Promise.reject(new Error("database away")) },
    };
    const slow = definePayloads({ text: payload(slowText), broken: payload(broken) });
    const { handler } = slow.handlers({ text: async (text) => text.toUpperCase(), broken: async () => {} });
    expect(await handler(leaseOf("text", '"x"'), CONTEXT)).toBe("X");
    await expect(handler(leaseOf("text", "5"), CONTEXT)).rejects.toBeInstanceOf(FatalItemError);
    await expect(handler(leaseOf("broken", "5"), CONTEXT)).rejects.not.toBeInstanceOf(FatalItemError);
  });
});

test.each([
  ["a gap", { version: 4, upcasts: { 1: String, 3: String } }],
  ["a step from the newest version on", { version: 2, upcasts: { 2: String } }],
  ["version 0", { version: 0 }],
  ["a fraction", { version: 1.5 }],
])("a definition with %s is refused", (_name, options) => {
  expect(() => payload(z.string(), options)).toThrow(expect.objectContaining({ code: "invalid_options" }));
});
