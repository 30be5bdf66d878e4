/** A pump over a log in memory: the same ports as in production, on the real clock, with pauses of a millisecond. */

import type { z } from "zod";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import type { OperatingError } from "../../contracts/errors.ts";
import type { Checkpoint } from "../../contracts/followers.ts";
import type { KvEntry, KvOutcome, LogMessage } from "../../contracts/ports.ts";
import { SinkCheckpoint, SinkConfig } from "../../contracts/sinks.ts";
import { checkpointKey, logSubject } from "../../contracts/subjects.ts";
import { Pump, type PumpStatus } from "../../services/replication/mod.ts";
import type { Sink, SinkBatch, SinkScope } from "../../services/replication/sink.ts";
import { createClock } from "../../services/runtime/clock.ts";
import { createIds } from "../../services/runtime/ids.ts";
import { MemoryKv } from "../../services/testing/memory-kv.ts";
import { MemoryLog } from "../../services/testing/memory-log.ts";
import { MemoryStream } from "../../services/testing/memory-stream.ts";

const KEY = checkpointKey("probe", "local", "default");

/** Remembers what reaches it; what it does with a batch can be changed. */
export class ProbeSink implements Sink {
  readonly sequences: number[] = [];
  readonly batches: SinkBatch[] = [];
  opened = 0;
  closed = 0;
  /** Before the effect: what it throws is the failure of the batch. */
  before: (batch: SinkBatch, signal: AbortSignal) => void | Promise<void> = () => undefined;
  own: Checkpoint | undefined;
  #waiting: { readonly isDone: () => boolean; readonly resolve: () => void }[] = [];

  async open(_scope: SinkScope): Promise<Checkpoint | undefined> {
    this.opened += 1;
    return this.own;
  }
  async apply(batch: SinkBatch, signal: AbortSignal): Promise<void> {
    await this.before(batch, signal);
    this.batches.push(batch);
    for (const { sequenceNumber } of batch.events) this.sequences.push(sequenceNumber);
    for (const { isDone, resolve } of this.#waiting) if (isDone()) resolve();
    this.#waiting = this.#waiting.filter(({ isDone }) => !isDone());
  }
  async close(): Promise<void> {
    this.closed += 1;
  }
  /** Resolves when the event of this sequence has had its effect. */
  async until(sequence: number): Promise<void> {
    const isDone = (): boolean => this.sequences.includes(sequence);
    if (!isDone()) await new Promise<void>((resolve) => this.#waiting.push({ isDone, resolve }));
  }
}

export class PumpWorld {
  readonly clock = createClock();
  readonly log = new MemoryLog({
    clock: this.clock,
    stream: new MemoryStream({ subject: logSubject("local", "default") }),
  });
  readonly checkpoints = new MemoryKv(this.clock);
  readonly parked: { readonly sequence: number; readonly code: string }[] = [];
  readonly warnings: string[] = [];
  readonly silentMs = 1_000;
  readonly #pumps: Pump[] = [];

  store(messages: readonly LogMessage[]): this {
    const known = this.log.stream.lastSequence;
    for (const { payload, chainHeader } of messages.slice(known))
      this.log.stream.publish(payload, chainHeader, this.log.stream.lastSequence);
    return this;
  }

  pump(sink: Sink, config: Partial<z.input<typeof SinkConfig>> = {}, instance = "one/1"): Pump {
    const tell = (event: string): void => void this.warnings.push(event);
    const pump = new Pump({
      ...{ region: "local", shard: "default", log: this.log, checkpoints: this.checkpoints, clock: this.clock },
      config: SinkConfig.parse({
        name: "probe",
        kind: "probe",
        ...config,
        failure: { retryMsMin: 1, retryMsMax: 2, ...config.failure },
      }),
      createSink: () => sink,
      ids: createIds(),
      reporter: { info: tell, warn: tell, error: tell },
      metrics: () => ({ delivered: nothing, failed: nothing, parked: nothing, close: nothing }),
      instance,
      pace: { beatMs: 20, silentMs: this.silentMs, lookMs: 5 },
      park: async (_scope: SinkScope, event: ReplicationEvent, reason: OperatingError) => {
        this.parked.push({ sequence: event.sequenceNumber, code: reason.code });
      },
    });
    this.#pumps.push(pump);
    pump.start();
    return pump;
  }

  /** The entry of the sink as the bucket has it. */
  async entry(): Promise<SinkCheckpoint | undefined> {
    const outcome = await new Promise<KvOutcome<KvEntry | undefined>>((resolve) => this.checkpoints.get(KEY, resolve));
    if (outcome.kind !== "ok" || outcome.value === undefined) return undefined;
    return SinkCheckpoint.parse(JSON.parse(new TextDecoder().decode(outcome.value.value)));
  }

  /** Writes the entry as an operator does. */
  async wish(change: (entry: SinkCheckpoint) => SinkCheckpoint): Promise<void> {
    for (;;) {
      const found = await new Promise<KvOutcome<KvEntry | undefined>>((resolve) => this.checkpoints.get(KEY, resolve));
      if (found.kind !== "ok" || found.value === undefined) throw new Error("there is no entry");
      const entry = change(SinkCheckpoint.parse(JSON.parse(new TextDecoder().decode(found.value.value))));
      const { revision } = found.value;
      const put = await new Promise<KvOutcome<number>>((resolve) =>
        this.checkpoints.put(KEY, new TextEncoder().encode(JSON.stringify(entry)), revision, resolve),
      );
      if (put.kind === "ok") return;
    }
  }

  /** Resolves when the entry is as wanted. */
  async until(isWanted: (entry: SinkCheckpoint | undefined) => boolean): Promise<SinkCheckpoint | undefined> {
    for (;;) {
      const entry = await this.entry();
      if (isWanted(entry)) return entry;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async statusUntil(pump: Pump, isWanted: (status: PumpStatus) => boolean): Promise<PumpStatus> {
    while (!isWanted(pump.status())) await new Promise((resolve) => setImmediate(resolve));
    return pump.status();
  }

  async close(): Promise<void> {
    await Promise.all(this.#pumps.map((pump) => pump.stop()));
  }
}

const nothing = (): void => undefined;
