/** What every implementation of the `Log` port must do: one suite, for whatever test runner, with plain assertions. */
import assert from "node:assert/strict";
import type { AppendOutcome, Log } from "../../contracts/ports.ts";
import {
  append,
  appendAll,
  bytes,
  CHAIN,
  follow,
  found,
  info,
  read,
  settle,
  TIMEOUT_MS,
  TIMEOUT_MS_SHORT,
  text,
  trim,
} from "./log-calls.ts";

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
  runner.describe(`${name}: trim`, () => declareTrim(check));
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

function declareTrim(check: Check): void {
  check("trims below a message and keeps it, what follows, and the last sequence", async ({ log }) => {
    await appendAll(log, 5);
    assert.deepEqual(await trim(log, 4), { kind: "trimmed" });
    const { firstSequence, lastSequence, messages } = await info(log);
    assert.deepEqual([firstSequence, lastSequence, messages], [4, 5, 2]);
    assert.deepEqual(await read(log, 3), { kind: "absent" });
    assert.equal(text(await found(log, 4)), "m3");
    assert.deepEqual(await append(log, "m5", 5), { kind: "acked", streamSequence: 6 });
  });

  check("changes nothing when it is trimmed there already", async ({ log }) => {
    await appendAll(log, 4);
    assert.deepEqual([await trim(log, 3), await trim(log, 2)], [{ kind: "trimmed" }, { kind: "trimmed" }]);
    assert.equal((await info(log)).firstSequence, 3);
  });

  check("shows a follower from below the trimmed part the first that is left", async ({ log }) => {
    await appendAll(log, 4);
    await trim(log, 3);
    const followed = follow(log, 1);
    await followed.until(2);
    assert.deepEqual(followed.sequences(), [3, 4]);
    followed.close();
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
    // A replica that has not caught up knows of fewer.
    const pending = followed.messages.map((message) => message.pending);
    assert.ok(
      pending.every((count, index) => count >= 0 && count <= 3 - index),
      `more than there is: ${pending}`,
    );
    assert.equal(pending[3], 0);
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
    // A replica that has not caught up still has it: then once more.
    for (let sequences: readonly number[] = [1, 2, 3]; sequences.includes(2); ) {
      const followed = follow(subject.log, 1);
      await followed.until(3);
      sequences = followed.sequences();
      followed.close();
      if (!sequences.includes(2)) assert.deepEqual(sequences, [1, 3, 4]);
    }
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

  check(
    "leaves an append that was under way either stored once or not at all, and acks none while it is cut off",
    async (subject) => {
      await appendAll(subject.log, 1);
      const underWay = append(subject.log, "m1", 1, TIMEOUT_MS_SHORT);
      await subject.interrupt();
      const outcome = await underWay;
      // The same bytes again, as a leader sends them that does not know.
      assert.notEqual((await append(subject.log, "m1", 1, TIMEOUT_MS_SHORT)).kind, "acked");
      assert.notEqual((await read(subject.log, 1, TIMEOUT_MS_SHORT)).kind, "absent");
      await subject.restore();
      if (outcome.kind === "acked") assert.equal(text(await found(subject.log, 2)), "m1");
      await settle(subject.log, "m1", 1);
      await settle(subject.log, "m2", 2);
      assert.equal(text(await found(subject.log, 2)), "m1");
      assert.equal(text(await found(subject.log, 3)), "m2");
      assert.equal((await info(subject.log)).lastSequence, 3);
    },
  );
}
