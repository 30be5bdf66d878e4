/** Frames as bytes: what is written reads back, what is no frame is void, and the chain value is that of the bytes. */
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import type { Frame } from "../../contracts/frame.ts";
import { SHARD_OPTIONS_DEFAULT } from "../../contracts/options.ts";
import { chainOf, decodeFrame, encodeFrame } from "../../services/runtime/frame-codec.ts";

const frame: Frame = {
  schema: 1,
  logId: "log-1",
  region: "eu",
  shard: "a",
  term: 0,
  writer: "dispatcher--a",
  append: "genesis/log-1",
  first: 1,
  count: 1,
  at: 5,
  prev: "",
  pending: 0,
  active: 0,
  actors: [],
  events: [{ type: "logCreated", logId: "log-1", logVersion: 1, options: SHARD_OPTIONS_DEFAULT, tokenEpoch: 0 }],
};
const encoder = new TextEncoder();

test("a frame reads back as it was written", () => {
  expect(decodeFrame(encodeFrame(frame))).toEqual({ kind: "frame", frame });
});

test("keys keep their order, so that the same frame gives the same bytes", () => {
  expect(new TextDecoder().decode(encodeFrame(frame))).toMatch(/^\{"schema":1,"logId":"log-1","region":"eu",/);
});

test("the chain value is the SHA-256 of the payload", () => {
  const payload = encodeFrame(frame);
  expect(chainOf(payload)).toBe(createHash("sha256").update(payload).digest("hex"));
  expect(chainOf(new Uint8Array(0))).toMatch(/^e3b0c44298fc1c14/);
});

test.each([
  ["nothing", new Uint8Array(0)],
  ["no JSON", encoder.encode("noise")],
  ["no UTF-8", new Uint8Array([0xff, 0xfe])],
  ["no object", encoder.encode("7")],
  ["another schema", encoder.encode(JSON.stringify({ ...frame, schema: 2 }))],
  ["a wrong count", encoder.encode(JSON.stringify({ ...frame, count: 2 }))],
  ["an unknown field", encoder.encode(JSON.stringify({ ...frame, more: 1 }))],
])("%s is void", (_, payload) => {
  expect(decodeFrame(payload).kind).toBe("void");
});
