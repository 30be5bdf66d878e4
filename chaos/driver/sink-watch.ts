/** Watches the checkpoints of a run's sinks, and writes down what the sinks hold in the end. */
import { OperatingError } from "../../contracts/errors.ts";
import { type FollowerCheckpoint, readCheckpoints } from "../../services/jetstream/checkpoints.ts";
import { pause } from "../drill.ts";
import type { HeldRecord, SinkPlaceRecord } from "../operations.ts";
import type { LineFile } from "../recorder.ts";
import { drillSinks, type SinkPlaces } from "./drill-sinks.ts";

const POLL_MS = 500;

/**
 * Looks again and again, so that a checkpoint that is ahead of its sink, or goes back, is seen when it happens: while the replicator is
 * dead or stands still the two are as they were at that moment.
 */
export class SinkWatch {
  readonly #places: SinkPlaces;
  readonly #file: LineFile;
  /** Sequence of each sink's checkpoint when it was last looked at. */
  readonly #sequences = new Map<string, number>();
  #isStopped = false;
  #looking: Promise<void>;

  constructor(places: SinkPlaces, file: LineFile) {
    this.#places = places;
    this.#file = file;
    this.#looking = this.#keepLooking();
    // Whoever stops the watch sees its failure.
    this.#looking.catch(() => undefined);
  }

  /** Waits until each checkpoint is there. Answers, by sink, where one that is not there in time stands. */
  async reached(sequence: number, boundMs: number): Promise<ReadonlyMap<string, number>> {
    const endMs = performance.now() + boundMs;
    for (;;) {
      const all = Object.keys(drillSinks).map((sink) => [sink, this.#sequences.get(sink) ?? 0] as const);
      const behind = new Map(all.filter(([, at]) => at < sequence));
      if (behind.size === 0 || performance.now() > endMs) return behind;
      await pause(POLL_MS);
    }
  }

  /** Looks a last time and writes down what each sink holds. Nobody writes to them any more. Throws what cannot be read. */
  async finish(): Promise<void> {
    this.stop();
    await this.#looking;
    await this.#look();
    for (const [sink, { read }] of Object.entries(drillSinks))
      for (const { sequenceNumber, eventType, deterministic } of await read(this.#places)) {
        const { effectId } = deterministic;
        this.#file.write({ sink, sequence: sequenceNumber, effectId, eventType } satisfies HeldRecord);
      }
    this.#file.close();
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #keepLooking(): Promise<void> {
    while (!this.#isStopped) {
      try {
        await this.#look();
      } catch (error) {
        // The servers are under faults: the next look may be answered.
        if (!(error instanceof OperatingError)) throw error;
      }
      await pause(POLL_MS);
    }
  }

  async #look(): Promise<void> {
    const { connection, region, shard } = this.#places;
    for (const found of await readCheckpoints(connection, region, [shard])) await this.#note(found);
  }

  async #note({ follower: sink, checkpoint, revision }: FollowerCheckpoint): Promise<void> {
    const known = drillSinks[sink];
    if (known === undefined || checkpoint === undefined) return;
    const { logId, sequence } = checkpoint;
    const held = await known.reach?.(this.#places);
    this.#sequences.set(sink, sequence);
    const place = { sink, checkpoint: { logId, sequence }, revision } satisfies SinkPlaceRecord;
    this.#file.write(held === undefined ? place : { ...place, held });
  }
}
