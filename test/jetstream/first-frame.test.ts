/** The frame that creates a log: the same bytes however often they are asked for, and only ever a valid frame. */
import { expect, test } from "vitest";
import { FirstFrame, type FirstFrameRequest } from "../../services/jetstream/first-frame.ts";
import { chainOf, decodeFrame } from "../../services/runtime/frame-codec.ts";

let logIds = 0;
const request = (over: Partial<FirstFrameRequest> = {}): FirstFrameRequest => ({
  region: "eu",
  shard: "a",
  options: {},
  writer: "dispatcher--a",
  newLogId: () => {
    logIds += 1;
    return `log-${logIds}`;
  },
  ...over,
});

test("is the same at every attempt and recognises itself", () => {
  const frame = new FirstFrame(request());
  expect(frame.isStoredAs("")).toBe(false);
  const payload = frame.payload(5);
  expect(frame.payload(6)).toBe(payload);
  expect(frame.isStoredAs(chainOf(payload))).toBe(true);
  expect(decodeFrame(payload)).toMatchObject({ kind: "frame", frame: { at: 5, term: 0, first: 1 } });
});

test("takes the time that it is given before the server's", () => {
  const frame = new FirstFrame(request({ at: 3 }));
  expect(decodeFrame(frame.payload(5))).toMatchObject({ frame: { at: 3 } });
});

test("completes the options by the defaults and refuses those that contradict each other", () => {
  const frame = new FirstFrame(request({ options: { maxAttempts: 2 } }));
  expect(decodeFrame(frame.payload(5))).toMatchObject({
    frame: { events: [{ options: { maxAttempts: 2, exclusivity: "none" } }] },
  });
  const options = { leaseDurationMsDefault: 2_000, leaseDurationMsMax: 1_000 };
  expect(() => new FirstFrame(request({ options }))).toThrow(/leaseDurationMsDefault \(2000\)/);
});

test("never becomes a frame with a wrong peer id or log id", () => {
  expect(() => new FirstFrame(request({ writer: "no peer" })).payload(5)).toThrow();
  expect(() => new FirstFrame(request({ newLogId: () => "" })).payload(5)).toThrow();
});
