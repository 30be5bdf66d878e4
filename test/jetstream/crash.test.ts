/** A bug in a callback must end the process: nats.js would print it and go deaf. */
import { afterEach, expect, test, vi } from "vitest";
import { crashOnThrow } from "../../services/jetstream/crash.ts";

afterEach(() => vi.restoreAllMocks());

test("lets what a callback throws out on a stack of its own", () => {
  const nextTick = vi.spyOn(process, "nextTick").mockImplementation(() => undefined);
  const bug = new Error("a failed assertion");
  crashOnThrow(() => {
    throw bug;
  });
  const [later] = nextTick.mock.calls[0] ?? [];
  expect(() => later?.()).toThrow(bug);
});

test("does nothing more where nothing is thrown", () => {
  const nextTick = vi.spyOn(process, "nextTick");
  const step = vi.fn();
  crashOnThrow(step);
  expect(step).toHaveBeenCalledOnce();
  expect(nextTick).not.toHaveBeenCalled();
});
