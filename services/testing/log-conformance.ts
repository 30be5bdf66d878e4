/** What every implementation of the `Log` port must do: one suite, for whatever test runner, with plain assertions. */
import assert from "node:assert/strict";
import type {
  AppendOutcome,
  Closable,
  InfoOutcome,
  Log,
  LogInfo,
  LogMessage,
  ReadOutcome,
} from "../../contracts/ports.ts";

/** The two functions of a test runner that the suite needs; those of vitest, jest and node:test fit. */
export interface SuiteRunner {
  describe(name: string, body: () => void): void;
  test(name: string, body: () => Promise<void>): void;
}

/** One log on a stream of its own, empty at first. */
export interface LogUnderTest {
  readonly log: Log;
  /** Opens the same stream a second time, as another process would. */
  openAnother(): Promise<Log>;
  /** Publishes into the stream without any condition and without our headers. Resolves when it is stored. */
  publishForeign(payload: Uint8Array): Promise<void>;
  /** Takes one message out of the stream. */
  removeMessage(streamSequence: number): Promise<void>;
  /** Cuts `log` off from the stream, or breaks the server that it needs; `restore` undoes it. */
  interrupt(): Promise<void>;
  restore(): Promise<void>;
  /** Ends everything that `make` and `openAnother` opened. */
  close(): Promise<void>;
}

/** Long enough for an election of a replicated stream. ms. */
const TIMEOUT_MS = 15_000;
/** For answers that must come at once or not at all. ms. */
const TIMEOUT_MS_SHORT = 500;
const LARGE_BYTES = 700 * 1024;

/** Declares the suite. Each test makes a log and closes it. */
export function logConformance(runner: SuiteRunner, name: string, make: () => Promise<LogUnderTest>): void {
  const check = (claim: string, body: (subject: LogUnderTest) => Promise<void>): void =>
    runner.test(claim, async () => {
      const subject = await make();
      try {
        await body(subject);
      } finally {
        await subject.close();
      }
    });
  runner.describe(`${name}: append`, () => declareAppend(check));
  runner.describe(`${name}: read and info`, () => declareRead(check));
  runner.describe(`${name}: follow`, () => {
    declareFollow(check);
    declareFollowOddities(check);
  });
  runner.describe(`${name}: interruptions`, () => declareInterruptions(check));
}

type Check = (claim: string, body: (subject: LogUnderTest) => Promise<void>) => void;

function declareAppend(check: Check): void {
  check("stores one message after the other and says where", async ({ log }) => {
    assert.deepEqual(await append(log, "one", 0), { kind: "acked", streamSequence: 1 });
    assert.deepEqual(await append(log, "two", 1), { kind: "acked", streamSequence: 2 });
  });

  check("refuses an expectation below and above the last sequence, and names it", async ({ log }) => {
    await appendAll(log, 2);
    assert.deepEqual(await append(log, "late", 1), { kind: "wrong_last", lastSequence: 2 });
    assert.deepEqual(await append(log, "early", 3), { kind: "wrong_last", lastSequence: 2 });
    assert.equal((await info(log)).lastSequence, 2);
  });

  check("lets one of two writers with the same expectation win", async (subject) => {
    const other = await subject.openAnother();
    const outcomes = await Promise.all([append(subject.log, "mine", 0), append(other, "theirs", 0)]);
    assert.deepEqual(outcomes.map(({ kind }) => kind).sort(), ["acked", "wrong_last"]);
    assert.equal((await info(subject.log)).messages, 1);
  });

  check("counts a stranger's message like any other", async ({ log, publishForeign }) => {
    await appendAll(log, 1);
    await publishForeign(bytes("noise"));
    assert.deepEqual(await append(log, "two", 1), { kind: "wrong_last", lastSequence: 2 });
    assert.deepEqual(await append(log, "two", 2), { kind: "acked", streamSequence: 3 });
  });

  check("never calls back within the call", async ({ log }) => {
    let isInside = true;
    const isEarly = await new Promise<boolean>((resolve) => {
      log.append(bytes("x"), "", 0, TIMEOUT_MS, () => resolve(isInside));
      isInside = false;
    });
    assert.equal(isEarly, false);
  });

  check("takes a second append only after the first has ended", async ({ log }) => {
    const first = append(log, "one", 0);
    assert.throws(() => log.append(bytes("two"), "", 1, TIMEOUT_MS, () => undefined), assert.AssertionError);
    assert.deepEqual(await first, { kind: "acked", streamSequence: 1 });
    assert.deepEqual(await append(log, "two", 1), { kind: "acked", streamSequence: 2 });
  });

  check("takes the next append from inside the callback of the one before", async ({ log }) => {
    const second = await new Promise<AppendOutcome>((resolve) => {
      log.append(bytes("one"), "", 0, TIMEOUT_MS, () => log.append(bytes("two"), "", 1, TIMEOUT_MS, resolve));
    });
    assert.deepEqual(second, { kind: "acked", streamSequence: 2 });
  });
}

function declareRead(check: Check): void {
  check("reads back what was appended, byte for byte", async ({ log }) => {
    const payload = Uint8Array.from({ length: 512 }, (_, index) => index % 256);
    const outcome = await new Promise<AppendOutcome>((done) => log.append(payload, CHAIN, 0, TIMEOUT_MS, done));
    assert.equal(outcome.kind, "acked");
    const message = await found(log, 1);
    assert.equal(message.streamSequence, 1);
    assert.equal(message.chainHeader, CHAIN);
    assert.notEqual(message.subject, "");
    assert.deepEqual([...message.payload], [...payload]);
  });

  check("reads a message as large as the largest frame", async ({ log }) => {
    const payload = new Uint8Array(LARGE_BYTES).fill(120);
    await new Promise((done) => log.append(payload, CHAIN, 0, TIMEOUT_MS, done));
    assert.equal((await found(log, 1)).payload.length, LARGE_BYTES);
  });

  check("says absent where nothing is, behind the end and in a hole", async (subject) => {
    await appendAll(subject.log, 3);
    await subject.removeMessage(2);
    assert.deepEqual(await read(subject.log, 2), { kind: "absent" });
    assert.deepEqual(await read(subject.log, 4), { kind: "absent" });
    assert.equal((await read(subject.log, 3)).kind, "found");
  });

  check("reads its own append at once", async ({ log }) => {
    for (let last = 0; last < 20; last += 1) {
      assert.equal((await append(log, `m${last}`, last)).kind, "acked");
      assert.equal(text(await found(log, last + 1)), `m${last}`);
    }
  });

  check("tells the bounds of the stream and the server's time", async ({ log }) => {
    const empty = await info(log);
    assert.equal(empty.lastSequence, 0);
    assert.equal(empty.messages, 0);
    await appendAll(log, 3);
    const { firstSequence, lastSequence, messages, bytes: stored, serverTimeMs } = await info(log);
    assert.deepEqual([firstSequence, lastSequence, messages], [1, 3, 3]);
    assert.ok(stored > 0);
    assert.ok(Number.isInteger(serverTimeMs) && serverTimeMs >= empty.serverTimeMs);
  });

  check("never calls back within the call of a read", async ({ log }) => {
    let isInside = true;
    const reading = new Promise<boolean>((resolve) => log.read(1, TIMEOUT_MS, () => resolve(isInside)));
    const asking = new Promise<boolean>((resolve) => log.info(TIMEOUT_MS, () => resolve(isInside)));
    isInside = false;
    assert.deepEqual(await Promise.all([reading, asking]), [false, false]);
  });
}

function declareFollow(check: Check): void {
  check("delivers what is stored, then what comes, in order", async ({ log }) => {
    await appendAll(log, 5);
    const followed = follow(log, 1);
    await followed.until(5);
    assert.equal(followed.messages[4]?.pending, 0);
    assert.equal(followed.messages[0]?.chainHeader, CHAIN);
    for (let last = 5; last < 10; last += 1) await append(log, `m${last}`, last);
    await followed.until(10);
    assert.deepEqual(followed.sequences(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert.equal(followed.texts()[9], "m9");
    followed.close();
  });

  check("counts what the server knew behind each message", async ({ log }) => {
    await appendAll(log, 4);
    const followed = follow(log, 1);
    await followed.until(4);
    assert.deepEqual(
      followed.messages.map(({ pending }) => pending),
      [3, 2, 1, 0],
    );
    followed.close();
  });

  check("begins at the sequence that it is given, also behind the end", async ({ log }) => {
    await appendAll(log, 3);
    const inside = follow(log, 3);
    const behind = follow(log, 4);
    await inside.until(1);
    await append(log, "m3", 3);
    await Promise.all([inside.until(2), behind.until(1)]);
    assert.deepEqual(inside.sequences(), [3, 4]);
    assert.deepEqual(behind.sequences(), [4]);
    inside.close();
    behind.close();
  });
}

function declareFollowOddities(check: Check): void {
  check("shows a hole as a jump and goes on", async (subject) => {
    await appendAll(subject.log, 4);
    await subject.removeMessage(2);
    const followed = follow(subject.log, 1);
    await followed.until(3);
    assert.deepEqual(followed.sequences(), [1, 3, 4]);
    followed.close();
  });

  check("delivers a stranger's message without a chain header", async ({ log, publishForeign }) => {
    const followed = follow(log, 1);
    await publishForeign(bytes("noise"));
    await followed.until(1);
    assert.equal(followed.messages[0]?.chainHeader, "");
    assert.equal(followed.texts()[0], "noise");
    followed.close();
  });

  check("delivers nothing more once it is closed, also from inside a message", async ({ log }) => {
    await appendAll(log, 5);
    const followed = follow(log, 1);
    followed.onMessage = () => followed.close();
    const witness = follow(log, 1);
    await Promise.all([followed.until(1), witness.until(5)]);
    await append(log, "m5", 5);
    await witness.until(6);
    assert.deepEqual(followed.sequences(), [1]);
    witness.close();
    witness.close();
  });

  check("follows another opener's appends", async (subject) => {
    const other = await subject.openAnother();
    const followed = follow(other, 1);
    await appendAll(subject.log, 3);
    await followed.until(3);
    assert.deepEqual(followed.texts(), ["m0", "m1", "m2"]);
    followed.close();
  });
}

function declareInterruptions(check: Check): void {
  check("answers an append at once while it is cut off, and never with an ack", async (subject) => {
    await appendAll(subject.log, 1);
    await subject.interrupt();
    const outcome = await append(subject.log, "lost", 1, TIMEOUT_MS_SHORT);
    assert.notEqual(outcome.kind, "acked");
    const reading = await read(subject.log, 1, TIMEOUT_MS_SHORT);
    assert.notEqual(reading.kind, "absent");
    await subject.restore();
  });

  check("follows across an interruption without a repeat or a hole", async (subject) => {
    const followed = follow(subject.log, 1);
    await appendAll(subject.log, 3);
    await followed.until(3);
    await subject.interrupt();
    await subject.restore();
    await settle(subject.log, "m3", 3);
    await settle(subject.log, "m4", 4);
    await followed.until(5);
    assert.deepEqual(followed.sequences(), [1, 2, 3, 4, 5]);
    assert.deepEqual(followed.failures, []);
    followed.close();
  });

  check("leaves an append that was under way either stored once or not at all", async (subject) => {
    await appendAll(subject.log, 1);
    const underWay = append(subject.log, "m1", 1);
    await subject.interrupt();
    const outcome = await underWay;
    await subject.restore();
    if (outcome.kind === "acked") assert.equal(text(await found(subject.log, 2)), "m1");
    await settle(subject.log, "m1", 1);
    await settle(subject.log, "m2", 2);
    assert.equal(text(await found(subject.log, 2)), "m1");
    assert.equal(text(await found(subject.log, 3)), "m2");
    assert.equal((await info(subject.log)).lastSequence, 3);
  });
}

const CHAIN = "c".repeat(64);
const encoder = new TextEncoder();
const decoder = new TextDecoder();

const bytes = (content: string): Uint8Array => encoder.encode(content);
const text = (message: LogMessage): string => decoder.decode(message.payload);

function append(log: Log, content: string, expectedLast: number, timeoutMs = TIMEOUT_MS): Promise<AppendOutcome> {
  return new Promise((resolve) => log.append(bytes(content), CHAIN, expectedLast, timeoutMs, resolve));
}

function read(log: Log, streamSequence: number, timeoutMs = TIMEOUT_MS): Promise<ReadOutcome> {
  return new Promise((resolve) => log.read(streamSequence, timeoutMs, resolve));
}

async function appendAll(log: Log, count: number): Promise<void> {
  for (let last = 0; last < count; last += 1)
    assert.deepEqual(await append(log, `m${last}`, last), { kind: "acked", streamSequence: last + 1 });
}

/** Appends the same bytes until they stand at their place, as a leader does whose append ended in doubt. */
async function settle(log: Log, content: string, expectedLast: number): Promise<void> {
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

async function found(log: Log, streamSequence: number): Promise<LogMessage> {
  const endMs = performance.now() + TIMEOUT_MS;
  for (;;) {
    const outcome = await read(log, streamSequence);
    if (outcome.kind === "found") return outcome.message;
    assert.ok(outcome.kind === "failed" && performance.now() < endMs, `message ${streamSequence} is ${outcome.kind}`);
    await breath();
  }
}

async function info(log: Log): Promise<LogInfo> {
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

function follow(log: Log, fromSequence: number): Followed {
  return new Followed(log, fromSequence);
}
