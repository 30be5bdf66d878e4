/** Questions that are asked again while nobody answers: who is asked how often, and that one answer ends it. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ApiOutcome } from "../../services/jetstream/api.ts";
import { Inbox } from "../../services/jetstream/inbox.ts";
import { askRepeatedly } from "../../services/jetstream/repeated-question.ts";
import { ScriptedConnection } from "./scripted-connection.ts";

const INFO = "$JS.API.STREAM.INFO.S";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function ask(timeoutMs = 2_000) {
  const script = new ScriptedConnection();
  const outcomes: ApiOutcome[] = [];
  askRepeatedly(new Inbox(script.asNats), "STREAM.INFO.S", undefined, timeoutMs, (outcome) => outcomes.push(outcome));
  const asked = (): number => script.requests(INFO).length;
  return { script, outcomes, asked };
}

test("a leader that is elected late is asked soon, and its answer is heard once", () => {
  const { script, outcomes, asked } = ask();
  vi.advanceTimersByTime(1_000);
  expect(asked()).toBe(7);
  script.answer(INFO, { answer: 1 });
  script.answer(INFO, { answer: 2 });
  vi.advanceTimersByTime(10_000);
  expect(outcomes).toEqual([{ kind: "ok", value: { answer: 1 } }]);
  expect(asked()).toBe(7);
});

test("a question that is answered at once is asked once", () => {
  const { script, outcomes, asked } = ask();
  script.answer(INFO, { error: { code: 404, err_code: 10059, description: "stream not found" } });
  vi.advanceTimersByTime(10_000);
  expect(outcomes).toMatchObject([{ kind: "api_error", error: { errCode: 10_059 } }]);
  expect(asked()).toBe(1);
});

test("nobody's silence ends when the time is over, not later", () => {
  const { outcomes, asked } = ask(1_000);
  vi.advanceTimersByTime(999);
  expect(outcomes).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(outcomes).toEqual([{ kind: "timeout" }]);
  vi.advanceTimersByTime(10_000);
  expect(outcomes).toHaveLength(1);
  expect(asked()).toBe(7);
});

test("a lost connection ends it", async () => {
  const { script, outcomes, asked } = ask();
  await script.tell({ type: "disconnect", server: "s" });
  vi.advanceTimersByTime(10_000);
  expect(outcomes).toEqual([{ kind: "disconnected" }]);
  expect(asked()).toBe(1);
});
