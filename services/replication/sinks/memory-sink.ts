/** The sink that keeps events in memory: for tests, and for a process that wants the last events at hand. */
import assert from "node:assert/strict";
import { z } from "zod";
import type { ReplicationEvent } from "../../../contracts/envelope.ts";
import type { Checkpoint } from "../../../contracts/followers.ts";
import type { Sink, SinkBatch, SinkKind, SinkScope } from "../sink.ts";
import { eventsBehind, isBehind, placeIn } from "./places.ts";
import { foreignLog, sinkTaken } from "./sink-errors.ts";

const EVENTS_DEFAULT = 10_000;
const EVENTS_MAX = 10_000_000;
const WHERE = "this memory";

const MemoryOptions = z.strictObject({
  eventsMax: z
    .int()
    .min(1)
    .max(EVENTS_MAX)
    .default(EVENTS_DEFAULT)
    .describe("Events that are kept; with one more the oldest is forgotten."),
});
type MemoryOptions = z.infer<typeof MemoryOptions>;

/**
 * What memory sinks write to: a ring of the newest events of one shard, and the place where they end.
 * Invariant: the events rise by sequence; `revision` rises with each change.
 */
export class MemoryEvents {
  readonly #eventsMax: number;
  readonly #ring: ReplicationEvent[] = [];
  /** Where the oldest event stands once the ring is full; the next one goes there. */
  #oldest = 0;
  #last = 0;
  #place: Checkpoint | undefined;
  #revision = 0;

  constructor(eventsMax: number = EVENTS_DEFAULT) {
    this.#eventsMax = eventsMax;
  }

  /** What is kept, oldest first: a copy. */
  get events(): ReplicationEvent[] {
    return [...this.#ring.slice(this.#oldest), ...this.#ring.slice(0, this.#oldest)];
  }

  /** Everything up to here has arrived; undefined before the first batch. */
  get place(): Checkpoint | undefined {
    return this.#place;
  }

  get revision(): number {
    return this.#revision;
  }

  /** Adds what is newer than all that was ever added, and moves the place, in one step. */
  add(events: readonly ReplicationEvent[], place: Checkpoint): void {
    for (const event of eventsBehind(events, this.#last)) {
      if (this.#ring.length < this.#eventsMax) this.#ring.push(event);
      else {
        this.#ring[this.#oldest] = event;
        this.#oldest = (this.#oldest + 1) % this.#eventsMax;
      }
      this.#last = event.sequenceNumber;
    }
    this.#place = place;
    this.#revision += 1;
  }
}

/** Brings events to a `MemoryEvents`: each once, as long as that lives. */
export class MemorySink implements Sink {
  readonly target: MemoryEvents;
  #scope: SinkScope | undefined;
  /** Of the target when this instance last read or wrote it. */
  #revision = 0;

  constructor(target: MemoryEvents) {
    this.target = target;
  }

  async open(scope: SinkScope, checkpoint: Checkpoint | undefined): Promise<Checkpoint | undefined> {
    const { place, revision } = this.target;
    if (place !== undefined && place.logId !== scope.logId) throw foreignLog(scope, WHERE, place.logId);
    this.#scope = scope;
    this.#revision = revision;
    return place ?? (checkpoint === undefined ? undefined : placeIn(checkpoint));
  }

  async apply({ events, upTo }: SinkBatch, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { place } = this.target;
    this.#change(events, place === undefined || isBehind(place, upTo) ? upTo : place);
  }

  async seek(to: Checkpoint): Promise<void> {
    this.#change([], to);
  }

  async close(): Promise<void> {
    this.#scope = undefined;
  }

  #change(events: readonly ReplicationEvent[], place: Checkpoint): void {
    assert(this.#scope !== undefined, "a sink that is not open is given nothing");
    if (this.target.revision !== this.#revision) throw sinkTaken(this.#scope, WHERE);
    this.target.add(events, place);
    this.#revision = this.target.revision;
  }
}

export const memoryKind: SinkKind<MemoryOptions> = {
  kind: "memory",
  summary: "Keeps the newest events in the memory of the process, and nothing when that ends.",
  guarantee: "exactly once",
  options: MemoryOptions,
  create: ({ eventsMax }) => new MemorySink(new MemoryEvents(eventsMax)),
};
