/** What every sink must do: one suite, for whatever test runner, with plain assertions. */
import assert from "node:assert/strict";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import { OperatingError } from "../../contracts/errors.ts";
import type { Sink, SinkGuarantee, SinkScope } from "../replication/sink.ts";
import { seededNumbers } from "../runtime/seeded-numbers.ts";
import { EventFeed } from "./event-feed.ts";
import type { SuiteRunner } from "./log-conformance.ts";
import { range, refusalOf, requireDelivered, SinkHand } from "./sink-hand.ts";

/** One event as it stands at the place that the sink brings it to. */
export interface DeliveredEvent {
  readonly sequenceNumber: number;
  /** `resourceLeaseItemPayload.body`, where the place keeps it: then it is compared, character by character. */
  readonly body?: string;
}

/** A sink and a place of its own, empty at first. */
export interface SinkUnderTest {
  /** A new instance, not opened, on the same place, as another process would make it. */
  make(): Sink;
  readonly scope: SinkScope;
  readonly guarantee: SinkGuarantee;
  /** What reached the place, in the place's order. Called while no `apply` is under way; an instance may be open. */
  delivered(): Promise<readonly DeliveredEvent[]>;
  /** Whether the sink is to deliver an event; absent: all. Of sinks that bring some kinds of events only. */
  wants?(event: ReplicationEvent): boolean;
  /** A place that knows nothing of logs (the other end of a webhook, say): another log is not refused. */
  readonly takesAnyLog?: boolean;
  /** Of two instances the older one is refused, with `sink_taken`, from when the newer one has written. Absent: effects just stay right. */
  readonly isFenced?: boolean;
  /** Ends an instance as the death of its process would: what it holds is given back, nothing is closed. Absent: there is nothing to give back. */
  crash?(sink: Sink): Promise<void>;
  /** Leaves the place as a kill in the middle of a write would, the last record half there. No instance is open. */
  tearTail?(): Promise<void>;
  /** Breaks what the sink needs, so that `apply` fails with an OperatingError; `restore` mends it. */
  interrupt?(): Promise<void>;
  restore?(): Promise<void>;
  /** Ends everything, also instances that were left open. */
  close(): Promise<void>;
}

interface World {
  readonly subject: SinkUnderTest;
  readonly feed: EventFeed;
}
type Check = (claim: string, body: (world: World) => Promise<void>) => void;

const SEED = 20_260_101;
const EVENTS = 40;

/** Declares the suite. Each test makes a subject and closes it. */
export function sinkConformance(runner: SuiteRunner, name: string, make: () => Promise<SinkUnderTest>): void {
  const check: Check = (claim, body) =>
    runner.test(`${claim} (seed ${SEED})`, async () => {
      const subject = await make();
      try {
        await body({ subject, feed: feedOf(subject) });
      } finally {
        await subject.close();
      }
    });
  runner.describe(`${name}: order`, () => declareOrder(check));
  runner.describe(`${name}: resume`, () => declareResume(check));
  runner.describe(`${name}: repeats`, () => declareRepeats(check));
  runner.describe(`${name}: places`, () => declarePlaces(check));
  runner.describe(`${name}: other logs and other instances`, () => declareOthers(check));
  runner.describe(`${name}: interruptions`, () => declareInterruptions(check));
}

function feedOf({ scope }: SinkUnderTest, logId: string = scope.logId): EventFeed {
  const { region, shard } = scope;
  return new EventFeed({ seed: SEED, count: EVENTS, logId, region, shard });
}

const stopping = (): OperatingError => new OperatingError("shutting_down", "the pump stops", { definite: true });

function declareOrder(check: Check): void {
  check("brings all events, in order", async ({ subject, feed }) => {
    const hand = await SinkHand.open(subject, feed);
    await hand.applyTo(feed.lastSequence, 7);
    await requireDelivered(subject, feed, range(1, feed.lastSequence));
    await hand.close();
    await requireDelivered(subject, feed, range(1, feed.lastSequence));
  });

  check("has had its effect when apply resolves, batch by batch", async ({ subject, feed }) => {
    const hand = await SinkHand.open(subject, feed, 0);
    for (const upTo of [1, 2, 3, 9, 10, feed.lastSequence]) {
      await hand.applyTo(upTo);
      await requireDelivered(subject, feed, range(1, upTo));
    }
    await hand.close();
  });

  check("brings a single batch of everything", async ({ subject, feed }) => {
    const hand = await SinkHand.open(subject, feed, 0);
    await hand.applyTo(feed.lastSequence);
    await requireDelivered(subject, feed, range(1, feed.lastSequence));
    await hand.close();
  });
}

function declareResume(check: Check): void {
  check("goes on behind a clean close", async ({ subject, feed }) => {
    const cuts = [4, 5, 17, 29, feed.lastSequence];
    let known = 0;
    for (const upTo of cuts) {
      const hand = await SinkHand.open(subject, feed, known);
      assert.equal(hand.sequence, known, "it begins where it was closed");
      await hand.applyTo(upTo, 5);
      await hand.close();
      known = upTo;
    }
    await requireDelivered(subject, feed, range(1, feed.lastSequence));
  });

  check("goes on after a crash between effect and checkpoint, wherever it is", async ({ subject, feed }) => {
    const draw = seededNumbers(SEED);
    let known = 0;
    while (known < feed.lastSequence) {
      const upTo = Math.min(feed.lastSequence, known + 1 + (draw() % 5));
      const first = await SinkHand.open(subject, feed, known);
      await first.applyTo(upTo);
      await first.crash();
      // The same events once more, in other batches, and some behind them: the checkpoint had not moved.
      const second = await SinkHand.open(subject, feed, known);
      const further = Math.min(feed.lastSequence, upTo + (draw() % 3));
      await second.applyFrom(Math.min(known, second.sequence), Math.min(feed.lastSequence, known + 1));
      await second.applyTo(further, 1 + (draw() % 4));
      await second.crash();
      known = further;
    }
    await requireDelivered(subject, feed, range(1, feed.lastSequence));
  });

  check("goes on after a crash from a checkpoint many batches old", async ({ subject, feed }) => {
    const first = await SinkHand.open(subject, feed, 0);
    await first.applyTo(30, 3);
    await first.crash();
    const second = await SinkHand.open(subject, feed, 8);
    await second.applyTo(feed.lastSequence, 11);
    await second.close();
    await requireDelivered(subject, feed, range(1, feed.lastSequence));
  });

  check("goes on behind a torn last record", async ({ subject, feed }) => {
    const first = await SinkHand.open(subject, feed, 0);
    await first.applyTo(12, 5);
    await first.crash();
    if (subject.tearTail === undefined) return;
    for (const known of [10, 20]) {
      await subject.tearTail();
      const next = await SinkHand.open(subject, feed, known);
      await next.applyTo(known + 12, 4);
      await next.crash();
    }
    await requireDelivered(subject, feed, range(1, 32));
  });
}

function declareRepeats(check: Check): void {
  check("stands a batch that comes twice", async ({ subject, feed }) => {
    const hand = await SinkHand.open(subject, feed, 0);
    await hand.applyTo(10);
    await hand.applyFrom(10, 20);
    await hand.applyFrom(10, 20);
    await hand.applyTo(feed.lastSequence);
    await hand.close();
    await requireDelivered(subject, feed, range(1, feed.lastSequence));
  });

  check("stands batches that overlap", async ({ subject, feed }) => {
    const hand = await SinkHand.open(subject, feed, 0);
    await hand.applyTo(10);
    await hand.applyFrom(5, 15);
    await hand.applyFrom(14, 16);
    await hand.applyFrom(0, 20);
    await hand.close();
    await requireDelivered(subject, feed, range(1, 20));
  });

  check("stands a lost checkpoint: everything comes again", async ({ subject, feed }) => {
    const first = await SinkHand.open(subject, feed, 0);
    await first.applyTo(25, 6);
    await first.close();
    const second = await SinkHand.open(subject, feed);
    if (subject.guarantee === "exactly once")
      assert.equal(second.own?.sequence, 25, "it answers the place where its effects end");
    await second.applyFrom(0, 13);
    await second.applyFrom(13, 26);
    await second.applyTo(feed.lastSequence);
    await second.close();
    await requireDelivered(subject, feed, range(1, feed.lastSequence));
  });
}

function declarePlaces(check: Check): void {
  check("moves its place with a batch that is empty", async ({ subject, feed }) => {
    const first = await SinkHand.open(subject, feed, 0);
    await first.skipTo(9);
    await first.applyTo(14);
    await first.skipTo(22);
    await first.close();
    await requireDelivered(subject, feed, range(10, 14));
    const second = await SinkHand.open(subject, feed, 22);
    assert.equal(second.sequence, 22);
    await second.applyTo(feed.lastSequence);
    await second.close();
    await requireDelivered(subject, feed, [...range(10, 14), ...range(23, feed.lastSequence)]);
  });

  check("keeps the whole place where it keeps one", async ({ subject, feed }) => {
    for (const sequence of [1, 3, 21, feed.lastSequence]) {
      const hand = await SinkHand.open(subject, feed, 0);
      await hand.applyTo(sequence);
      await hand.close();
      const again = await SinkHand.open(subject, feed, 0);
      if (again.own !== undefined) assert.deepEqual(again.own, feed.place(sequence));
      else assert.equal(subject.guarantee, "at least once");
      await again.close();
    }
  });

  check("can be sent back and forth", async ({ subject, feed }) => {
    const hand = await SinkHand.open(subject, feed, 0);
    await hand.applyTo(20, 7);
    const seek = async (sequence: number): Promise<void> => {
      await hand.sink.seek?.(feed.place(sequence));
      hand.sequence = sequence;
    };
    await seek(8);
    await hand.applyTo(12);
    await seek(15);
    await hand.applyTo(24);
    await requireDelivered(subject, feed, range(1, 24));
    await seek(30);
    await hand.close();
    const again = await SinkHand.open(subject, feed, 30);
    assert.equal(again.sequence, 30, "the place that it was sent to outlives it");
    await again.applyTo(feed.lastSequence);
    await again.close();
    await requireDelivered(subject, feed, [...range(1, 24), ...range(31, feed.lastSequence)]);
  });
}

function declareOthers(check: Check): void {
  check("refuses the events of another log", async ({ subject, feed }) => {
    const hand = await SinkHand.open(subject, feed, 0);
    await hand.applyTo(10);
    await hand.close();
    if (subject.takesAnyLog === true) return;
    const stranger = feedOf(subject, "another-log");
    const scope = { ...subject.scope, logId: stranger.logId };
    for (const checkpoint of [undefined, stranger.place(10)]) {
      const sink = subject.make();
      const error = await refusalOf(sink.open(scope, checkpoint));
      assert.equal(error?.code, "sink_foreign_log");
      assert.equal(error?.definite, true, "only a person can mend it");
      await sink.close();
    }
    await requireDelivered(subject, feed, range(1, 10));
    const again = await SinkHand.open(subject, feed, 10);
    await again.applyTo(feed.lastSequence);
    await again.close();
    await requireDelivered(subject, feed, range(1, feed.lastSequence));
  });

  check("stays right when two instances write", async ({ subject, feed }) => {
    const older = await SinkHand.open(subject, feed, 0);
    await older.applyTo(10);
    const sink = subject.make();
    const refused = await refusalOf(sink.open(subject.scope, feed.place(10)));
    if (refused !== undefined) {
      // The place has one writer, and that is the older one.
      assert.equal(refused.code, "sink_taken");
      await sink.close();
      await older.applyTo(20);
      await older.close();
    } else {
      await sink.apply(feed.batch(subject.scope, 10, 20), new AbortController().signal);
      const error = await refusalOf(older.applyFrom(10, 15));
      if (subject.isFenced === true) assert.equal(error?.code, "sink_taken");
      if (error !== undefined) assert.equal(error.code, "sink_taken");
      await older.close();
      await sink.apply(feed.batch(subject.scope, 20, 22), new AbortController().signal);
      await sink.close();
    }
    const last = await SinkHand.open(subject, feed, 20);
    await last.applyTo(feed.lastSequence);
    await last.close();
    await requireDelivered(subject, feed, range(1, feed.lastSequence));
  });

  check("can be closed twice, and without having been opened", async ({ subject, feed }) => {
    await subject.make().close();
    const hand = await SinkHand.open(subject, feed, 0);
    await hand.applyTo(3);
    await hand.close();
    await hand.close();
    await requireDelivered(subject, feed, range(1, 3));
  });
}

function declareInterruptions(check: Check): void {
  check("stops soon when it is told to, and loses nothing", async ({ subject, feed }) => {
    const hand = await SinkHand.open(subject, feed, 0);
    await hand.applyTo(5);
    const early = new AbortController();
    early.abort(stopping());
    await refusalOf(hand.applyFrom(5, 10, early.signal));
    const late = new AbortController();
    const applying = refusalOf(hand.applyFrom(5, 20, late.signal));
    late.abort(stopping());
    await applying;
    await hand.crash();
    const again = await SinkHand.open(subject, feed, 5);
    await again.applyTo(feed.lastSequence, 9);
    await again.close();
    await requireDelivered(subject, feed, range(1, feed.lastSequence));
  });

  check("fails with a typed error while its place is broken, and loses nothing", async ({ subject, feed }) => {
    if (subject.interrupt === undefined || subject.restore === undefined) return;
    const hand = await SinkHand.open(subject, feed, 0);
    await hand.applyTo(10);
    await subject.interrupt();
    for (const upTo of [20, 15]) {
      assert.ok(await refusalOf(hand.applyFrom(10, upTo)), "it says that it brought what it cannot have brought");
      hand.sequence = 10;
    }
    await subject.restore();
    await hand.applyMended(18);
    await hand.applyTo(feed.lastSequence);
    await hand.close();
    await requireDelivered(subject, feed, range(1, feed.lastSequence));
  });

  check("stops soon while its place is broken", async ({ subject, feed }) => {
    if (subject.interrupt === undefined || subject.restore === undefined) return;
    const hand = await SinkHand.open(subject, feed, 0);
    await hand.applyTo(10);
    await subject.interrupt();
    const controller = new AbortController();
    const applying = refusalOf(hand.applyFrom(10, 20, controller.signal));
    controller.abort(stopping());
    assert.ok(await applying, "it says that it brought what it cannot have brought");
    hand.sequence = 10;
    await subject.restore();
    await hand.applyMended(20);
    await hand.close();
    await requireDelivered(subject, feed, range(1, 20));
  });
}
