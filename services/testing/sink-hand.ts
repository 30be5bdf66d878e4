/** A pump in the hand of a test: gives one sink the events of a feed, forgets the place when it is told to, and looks at what arrived. */
import assert from "node:assert/strict";
import { OperatingError } from "../../contracts/errors.ts";
import type { Checkpoint } from "../../contracts/followers.ts";
import type { Sink } from "../replication/sink.ts";
import type { EventFeed } from "./event-feed.ts";
import type { SinkUnderTest } from "./sink-conformance.ts";

/** Long enough for a server that comes back. ms. */
const TIMEOUT_MS = 15_000;
const BREATH_MS = 20;

/** Tells a sink nothing. */
const noSignal = (): AbortSignal => new AbortController().signal;

/** One open instance, and how far it has come. */
export class SinkHand {
  readonly sink: Sink;
  /** What `open` answered. */
  readonly own: Checkpoint | undefined;
  /** Sequence up to which this instance has had its effects. */
  sequence: number;
  readonly #subject: SinkUnderTest;
  readonly #feed: EventFeed;

  /** Opens an instance. `checkpoint` is the sequence of the place that is known outside; absent: it was lost. */
  static async open(subject: SinkUnderTest, feed: EventFeed, checkpoint?: number): Promise<SinkHand> {
    const sink = subject.make();
    const known = checkpoint === undefined ? undefined : feed.place(checkpoint);
    const own = await sink.open(subject.scope, known);
    return new SinkHand(subject, feed, sink, own, own?.sequence ?? checkpoint ?? 0);
  }

  private constructor(
    subject: SinkUnderTest,
    feed: EventFeed,
    sink: Sink,
    own: Checkpoint | undefined,
    sequence: number,
  ) {
    this.#subject = subject;
    this.#feed = feed;
    this.sink = sink;
    this.own = own;
    this.sequence = sequence;
  }

  /** Brings everything up to a sequence, in batches of at most `size` events. */
  async applyTo(upTo: number, size = Number.POSITIVE_INFINITY): Promise<void> {
    while (this.sequence < upTo) await this.applyFrom(this.sequence, Math.min(upTo, this.sequence + size));
  }

  /** One batch from behind `after`, which may be a place that the sink has left behind. */
  async applyFrom(after: number, upTo: number, signal: AbortSignal = noSignal()): Promise<void> {
    await this.sink.apply(this.#feed.batch(this.#subject.scope, after, upTo), signal);
    this.sequence = upTo;
  }

  /** A batch without events: all of them are left out by a filter. */
  async skipTo(upTo: number): Promise<void> {
    await this.sink.apply({ ...this.#feed.batch(this.#subject.scope, this.sequence, upTo), events: [] }, noSignal());
    this.sequence = upTo;
  }

  /** Again and again until it succeeds: what was broken is mended, and the sink has to notice. */
  async applyMended(upTo: number): Promise<void> {
    const endMs = performance.now() + TIMEOUT_MS;
    for (;;) {
      const error = await refusalOf(this.applyFrom(this.sequence, upTo));
      if (error === undefined) return;
      assert.ok(performance.now() < endMs, `it still fails ${TIMEOUT_MS} ms after it was mended: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, BREATH_MS));
    }
  }

  /** As when its process dies: nothing is closed, nothing is told. */
  async crash(): Promise<void> {
    await this.#subject.crash?.(this.sink);
  }

  close(): Promise<void> {
    return this.sink.close();
  }
}

/** The typed error of something that fails; undefined when it succeeds. Any other error fails the test, and so does waiting for ever. */
export async function refusalOf(attempt: Promise<unknown>): Promise<OperatingError | undefined> {
  try {
    await within(attempt);
    return undefined;
  } catch (error) {
    if (error instanceof OperatingError) return error;
    throw error;
  }
}

async function within(attempt: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`neither success nor an error within ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
  });
  try {
    await Promise.race([attempt, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Requires that exactly these events have arrived: once each, or with repeats that do not change the order of what came first. */
export async function requireDelivered(
  subject: SinkUnderTest,
  feed: EventFeed,
  sequences: readonly number[],
): Promise<void> {
  const delivered = await subject.delivered();
  const arrived = delivered.map(({ sequenceNumber }) => sequenceNumber);
  const wanted = sequences.filter((sequence) => isWanted(subject, feed, sequence));
  if (subject.guarantee === "exactly once") assert.deepEqual(arrived, wanted, "each event once and in order");
  else assert.deepEqual([...new Set(arrived)], wanted, "each event at least once, first appearances in order");
  for (const { sequenceNumber, body } of delivered) {
    if (body === undefined) continue;
    assert.equal(body, feed.events[sequenceNumber - 1]?.resourceLeaseItemPayload?.body, `body of ${sequenceNumber}`);
  }
}

function isWanted(subject: SinkUnderTest, feed: EventFeed, sequence: number): boolean {
  const event = feed.events[sequence - 1];
  assert(event !== undefined);
  return subject.wants?.(event) ?? true;
}

/** `first`, `first` + 1, ... `last`. */
export function range(first: number, last: number): number[] {
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);
}
