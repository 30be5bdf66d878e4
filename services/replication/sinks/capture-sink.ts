/** Keeps each event under its effect id in a deterministic state store: once, and never another one under the same id. */
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { ENVELOPE_VERSION, type ReplicationEvent } from "../../../contracts/envelope.ts";
import { OperatingError } from "../../../contracts/errors.ts";
import type { Checkpoint } from "../../../contracts/followers.ts";
import { wellFormed } from "../../../contracts/ids.ts";
import { SqliteDeterministicStore } from "../../persistence/deterministic-store.ts";
import type { Sink, SinkBatch, SinkKind, SinkScope } from "../sink.ts";
import { PlacedDatabase, placedFields } from "./placed-database.ts";
import { placeIn } from "./places.ts";

const RECORD_KIND = "omnirelay.event";

const CaptureOptions = z.strictObject({
  ...placedFields,
  effectIds: z
    .enum(["seq", "resource"])
    .default("seq")
    .describe(
      "`seq`: `<change id>/seq/<sequence>`. `resource`: `<change id>/resource/<resource id>/seq/<sequence>`; for events of no resource as `seq`.",
    ),
  changeId: wellFormed(z.string().min(1).max(256))
    .optional()
    .describe(
      "What effect ids begin with, of one log only; the log's id when absent. Take another one to capture anew.",
    ),
});
type CaptureOptions = Readonly<z.infer<typeof CaptureOptions>>;

export const captureKind: SinkKind<CaptureOptions> = {
  kind: "capture",
  summary: "Keeps each event under its effect id in a deterministic state store on SQLite.",
  guarantee: "exactly once",
  options: CaptureOptions,
  create: (options) => new CaptureSink(options),
};

class CaptureSink implements Sink {
  readonly #options: CaptureOptions;
  #placed: PlacedDatabase | undefined;
  #store: SqliteDeterministicStore | undefined;

  constructor(options: CaptureOptions) {
    this.#options = options;
  }

  /** Throws: as `PlacedDatabase.open`. */
  async open(scope: SinkScope, checkpoint: Checkpoint | undefined): Promise<Checkpoint | undefined> {
    this.#placed = PlacedDatabase.open(this.#options, scope, (db) => {
      this.#store = new SqliteDeterministicStore(db);
    });
    return this.#placed.place ?? (checkpoint && placeIn(checkpoint));
  }

  /** Throws: OperatingError `effect_conflict` (definite: nothing of the batch is kept), `sink_taken`, and those of the store. */
  async apply(batch: SinkBatch, signal: AbortSignal): Promise<void> {
    const store = this.#store;
    assert(this.#placed !== undefined && store !== undefined, "apply comes after open");
    this.#placed.apply(batch, signal, () => {
      for (const event of batch.events) this.#keep(store, batch.scope, event);
    });
  }

  async seek(to: Checkpoint): Promise<void> {
    assert(this.#placed !== undefined, "seek comes after open");
    this.#placed.seek(to);
  }

  async close(): Promise<void> {
    this.#placed?.close();
  }

  #keep(store: SqliteDeterministicStore, scope: SinkScope, event: ReplicationEvent): void {
    const effectId = effectIdOf(this.#options, scope, event);
    const body = JSON.stringify(event);
    const recordedAtMs = Date.parse(event.timestamp);
    if (store.tryAdd(effectId, { kind: RECORD_KIND, version: ENVELOPE_VERSION, body, recordedAtMs })) return;
    const kept = store.get(effectId);
    if (kept?.body === body || (kept !== undefined && isDeepStrictEqual(JSON.parse(kept.body), JSON.parse(body))))
      return;
    throw new OperatingError(
      "effect_conflict",
      `another event is kept under ${JSON.stringify(effectId)}; take another changeId to capture anew`,
      { definite: true, details: { ...scope, effectId, sequence: event.sequenceNumber } },
    );
  }
}

/** No two events of a log have one: each ends with its own sequence. */
function effectIdOf({ effectIds, changeId }: CaptureOptions, { logId }: SinkScope, event: ReplicationEvent): string {
  const { sequenceNumber, resourceId } = event;
  const resource = effectIds === "resource" && resourceId !== undefined ? `/resource/${resourceId}` : "";
  return `${changeId ?? logId}${resource}/seq/${sequenceNumber}`;
}
