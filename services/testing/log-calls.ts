/** Calls of a log as the conformance suite makes them: promises, short texts, and a follower that remembers. */
import assert from "node:assert/strict";
import type {
  AppendOutcome,
  Closable,
  InfoOutcome,
  Log,
  LogInfo,
  LogMessage,
  ReadOutcome,
  TrimOutcome,
} from "../../contracts/ports.ts";

/** Long enough for an election of a replicated stream. ms. */
export const TIMEOUT_MS = 15_000;
/** For answers that must come at once or not at all. ms. */
export const TIMEOUT_MS_SHORT = 500;

export const CHAIN = "c".repeat(64);
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export const bytes = (content: string): Uint8Array => encoder.encode(content);
export const text = (message: LogMessage): string => decoder.decode(message.payload);

export function append(
  log: Log,
  content: string,
  expectedLast: number,
  timeoutMs = TIMEOUT_MS,
): Promise<AppendOutcome> {
  return new Promise((resolve) => log.append(bytes(content), CHAIN, expectedLast, timeoutMs, resolve));
}

export function read(log: Log, streamSequence: number, timeoutMs = TIMEOUT_MS): Promise<ReadOutcome> {
  return new Promise((resolve) => log.read(streamSequence, timeoutMs, resolve));
}

export async function appendAll(log: Log, count: number): Promise<void> {
  for (let last = 0; last < count; last += 1)
    assert.deepEqual(await append(log, `m${last}`, last), { kind: "acked", streamSequence: last + 1 });
}

/** Appends the same bytes until they stand at their place, as a leader does whose append ended in doubt. */
export async function settle(log: Log, content: string, expectedLast: number): Promise<void> {
  const endMs = performance.now() + TIMEOUT_MS;
  while (performance.now() < endMs) {
    const outcome = await append(log, content, expectedLast, TIMEOUT_MS_SHORT);
    if (outcome.kind === "acked") return;
    const reading = await read(log, expectedLast + 1, TIMEOUT_MS_SHORT);
    if (reading.kind === "found") return assert.equal(text(reading.message), content);
    await breath();
  }
  assert.fail(`${content} could not be stored at ${expectedLast + 1} within ${TIMEOUT_MS} ms`);
}

export async function found(log: Log, streamSequence: number): Promise<LogMessage> {
  const endMs = performance.now() + TIMEOUT_MS;
  for (;;) {
    const outcome = await read(log, streamSequence);
    if (outcome.kind === "found") return outcome.message;
    assert.ok(outcome.kind === "failed" && performance.now() < endMs, `message ${streamSequence} is ${outcome.kind}`);
    await breath();
  }
}

export function trim(log: Log, keepFrom: number): Promise<TrimOutcome> {
  return new Promise((resolve) => log.trim(keepFrom, TIMEOUT_MS, resolve));
}

export async function info(log: Log): Promise<LogInfo> {
  const endMs = performance.now() + TIMEOUT_MS;
  for (;;) {
    const outcome = await new Promise<InfoOutcome>((resolve) => log.info(TIMEOUT_MS, resolve));
    if (outcome.kind === "info") return outcome.info;
    assert.ok(outcome.kind === "failed" && performance.now() < endMs, `info is ${outcome.kind}`);
    await breath();
  }
}

/** Between two attempts while a server comes back; nothing is waited for by it. */
function breath(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20));
}

/** What one follower has heard so far. */
class Followed {
  readonly messages: LogMessage[] = [];
  readonly failures: string[] = [];
  onMessage: () => void = () => undefined;
  readonly #subscription: Closable;
  #waiting: { readonly count: number; readonly resolve: () => void }[] = [];

  constructor(log: Log, fromSequence: number) {
    this.#subscription = log.follow(fromSequence, {
      message: (message) => this.#take(message),
      failed: (error) => void this.failures.push(error.code),
    });
  }

  until(count: number): Promise<void> {
    if (this.messages.length >= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ count, resolve }));
  }
  sequences(): readonly number[] {
    return this.messages.map(({ streamSequence }) => streamSequence);
  }
  texts(): readonly string[] {
    return this.messages.map(text);
  }
  close(): void {
    this.#subscription.close();
  }

  #take(message: LogMessage): void {
    // The payload may be a view that is reused: what is kept is a copy.
    this.messages.push({ ...message, payload: message.payload.slice() });
    for (const { count, resolve } of this.#waiting) if (this.messages.length >= count) resolve();
    this.#waiting = this.#waiting.filter(({ count }) => this.messages.length < count);
    this.onMessage();
  }
}

export function follow(log: Log, fromSequence: number): Followed {
  return new Followed(log, fromSequence);
}
