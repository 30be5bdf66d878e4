/** Every branch of the rule for unknown outcomes, run against the log in memory and against a real server. */
import { describe, expect, test } from "vitest";
import type { Frame } from "../../contracts/frame.ts";
import { SHARD_OPTIONS_DEFAULT } from "../../contracts/options.ts";
import type { Clock, Log, Reporter } from "../../contracts/ports.ts";
import { LogReader } from "../../services/core/log-reader.ts";
import { Appender, type AppendResult } from "../../services/dispatcher/node/appender.ts";
import { chainOf, encodeFrame } from "../../services/runtime/frame-codec.ts";
import type { AppendFault } from "../../services/testing/memory-log.ts";

export const REGION = "local";
export const SHARD = "default";
/** How far apart two sightings of a broken log must be here. ms. */
const CONFIRM_MS = 200;

export interface AppenderWorld {
  readonly log: Log;
  readonly clock: Clock;
  /** Gives the next appends these faults. */
  fail(...faults: readonly AppendFault[]): void;
  /** A stranger, or another dispatcher, publishes without any expectation. */
  publish(payload: Uint8Array, chain: string): Promise<void>;
  /** A message vanishes from the middle of the stream. */
  drop(streamSequence: number): Promise<void>;
  /** The stream loses everything behind a sequence. */
  truncate(lastSequence: number): Promise<void>;
  remove(): Promise<void>;
  payloads(): Promise<readonly string[]>;
  /** Lets time pass until the promise is settled. */
  drive<T>(promise: Promise<T>): Promise<T>;
  close(): Promise<void>;
}

const quiet: Reporter = { info() {}, warn() {}, error() {} };

const genesis: Frame = {
  schema: 1,
  logId: "log-1",
  region: REGION,
  shard: SHARD,
  term: 0,
  writer: "provisioner",
  append: "genesis",
  first: 1,
  count: 1,
  at: 1_000,
  prev: "",
  pending: 0,
  active: 0,
  actors: [],
  events: [{ type: "logCreated", logId: "log-1", logVersion: 1, options: SHARD_OPTIONS_DEFAULT, tokenEpoch: 0 }],
};

/** An empty frame of a term, behind the first one. */
const behind = (writer: string, term: number, prev = chainOf(encodeFrame(genesis)), first = 2): Frame => ({
  ...genesis,
  term,
  writer,
  append: `${writer}-${term}`,
  first,
  count: 0,
  at: 2_000,
  prev,
  events: [],
});

interface Started {
  readonly appender: Appender;
  readonly mine: Uint8Array;
  readonly append: () => Promise<AppendResult>;
}

async function started(world: AppenderWorld): Promise<Started> {
  const first = encodeFrame(genesis);
  await world.publish(first, chainOf(first));
  const reader = new LogReader({ region: REGION, shard: SHARD, logId: "log-1", hashOf: chainOf });
  reader.advance(genesis, chainOf(first));
  const appender = new Appender({
    log: world.log,
    clock: world.clock,
    reporter: quiet,
    reader,
    lastSequence: 1,
    ackTimeoutMs: 300,
    confirmMs: CONFIRM_MS,
    shownSequence: () => 1,
  });
  const mine = encodeFrame(behind("me", 1));
  const append = (): Promise<AppendResult> =>
    world.drive(new Promise((resolve) => appender.append(mine, chainOf(mine), resolve)));
  return { appender, mine, append };
}

export function appenderSuite(name: string, open: () => Promise<AppenderWorld>): void {
  const world = (claim: string, run: (world: AppenderWorld, started: Started) => Promise<void>): void =>
    test(claim, async () => {
      const opened = await open();
      try {
        await run(opened, await started(opened));
      } finally {
        await opened.close();
      }
    });
  /** How often our frame stands in the stream. */
  const copies = async (opened: AppenderWorld, mine: Uint8Array): Promise<number> =>
    (await opened.payloads()).filter((payload) => payload === Buffer.from(mine).toString()).length;

  describe(`appender on ${name}`, () => {
    world("an ack behind the last message means stored", async (opened, { append, mine, appender }) => {
      expect(await append()).toEqual({ kind: "stored", streamSequence: 2, byRead: false });
      expect(appender.lastSequence).toBe(2);
      expect(await copies(opened, mine)).toBe(1);
    });
    world("a lost ack is closed by reading our own frame", async (opened, { append, mine }) => {
      opened.fail({ kind: "lose_ack" });
      expect(await append()).toEqual({ kind: "stored", streamSequence: 2, byRead: true });
      expect(await copies(opened, mine)).toBe(1);
    });
    world("a vanished append is sent again with the same bytes", async (opened, { append, mine, appender }) => {
      opened.fail({ kind: "vanish" }, { kind: "vanish" });
      expect(await append()).toMatchObject({ kind: "stored", streamSequence: 2 });
      expect(appender.counts).toMatchObject({ appends: 1, ambiguous: 1, resent: 2 });
      expect(await copies(opened, mine)).toBe(1);
    });
    world("a late append and its repeat land only once", async (opened, { append, mine }) => {
      opened.fail({ kind: "late", afterMs: 1 }, { kind: "vanish" });
      expect(await append()).toMatchObject({ kind: "stored", streamSequence: 2 });
      expect(await copies(opened, mine)).toBe(1);
    });
    world("no responders means waiting, not failing", async (opened, { append, mine }) => {
      opened.fail({ kind: "refuse", code: 503 }, { kind: "refuse", code: 503 }, { kind: "refuse", code: 503 });
      expect(await append()).toMatchObject({ kind: "stored", streamSequence: 2 });
      expect(await copies(opened, mine)).toBe(1);
    });
    world("void messages are stepped over with the next expectation", async (opened, { append, mine, appender }) => {
      await opened.publish(new TextEncoder().encode("hello"), "");
      await opened.publish(encodeFrame(genesis), chainOf(encodeFrame(genesis)));
      expect(await append()).toEqual({ kind: "stored", streamSequence: 4, byRead: false });
      expect(appender.counts.voids).toBe(2);
      expect(await copies(opened, mine)).toBe(1);
    });
    world(
      "another leader's frame in our place means deposed, and ours never lands",
      async (opened, { append, mine }) => {
        const theirs = encodeFrame(behind("other", 2));
        await opened.publish(theirs, chainOf(theirs));
        expect(await append()).toEqual({ kind: "deposed" });
        expect(await copies(opened, mine)).toBe(0);
      },
    );
    world("deposed also when the void message before theirs is read first", async (opened, { append, mine }) => {
      const theirs = encodeFrame(behind("other", 2));
      await opened.publish(new TextEncoder().encode("{}"), "");
      await opened.publish(theirs, chainOf(theirs));
      expect(await append()).toEqual({ kind: "deposed" });
      expect(await copies(opened, mine)).toBe(0);
    });
    world("a frame that does not continue the chain halts", async (opened, { append, mine }) => {
      const fork = encodeFrame(behind("other", 2, "f".repeat(64), 9));
      await opened.publish(fork, chainOf(fork));
      expect(await append()).toMatchObject({ kind: "halted", code: "log_fork" });
      expect(await copies(opened, mine)).toBe(0);
    });
    world("a message that is missing in the middle halts after it was seen twice", async (opened, { append }) => {
      const theirs = encodeFrame(behind("other", 2));
      await opened.publish(theirs, chainOf(theirs));
      await opened.publish(new TextEncoder().encode("later"), "");
      await opened.drop(2);
      expect(await append()).toMatchObject({ kind: "halted", code: "log_gap" });
    });
    world(
      "a log that lost its tail halts, and nothing is appended to it",
      async (opened, { append, appender, mine }) => {
        expect(await append()).toMatchObject({ kind: "stored" });
        await opened.truncate(1);
        const next = encodeFrame(behind("me", 1, chainOf(mine)));
        const result = await opened.drive(new Promise((resolve) => appender.append(next, chainOf(next), resolve)));
        expect(result).toMatchObject({ kind: "halted", code: "log_tail_lost" });
        expect(await opened.payloads()).toHaveLength(1);
      },
    );
    world("a stream that is gone halts after it was seen twice", async (opened, { append }) => {
      await opened.remove();
      expect(await append()).toMatchObject({ kind: "halted", code: "log_missing" });
    });
    world("nothing is called back after stop", async (opened, { appender, mine }) => {
      opened.fail({ kind: "vanish" });
      let called = false;
      appender.append(mine, chainOf(mine), () => {
        called = true;
      });
      appender.stop();
      await opened.drive(
        new Promise((resolve) => void opened.clock.setTimer(CONFIRM_MS * 3, () => resolve(undefined))),
      );
      expect(called).toBe(false);
    });
  });
}
