/**
 * The sink that writes events as objects: each object is created once, never changed, and named by the first sequence that it covers. That
 * name is the only one that the next object can have, so the place's own refusal to create it twice keeps instances and repeats apart.
 */
import assert from "node:assert/strict";
import { OperatingError } from "../../../contracts/errors.ts";
import type { Checkpoint } from "../../../contracts/followers.ts";
import type { Clock, Reporter } from "../../../contracts/ports.ts";
import type { Sink, SinkBatch, SinkScope } from "../sink.ts";
import { EMPTY_SPAN_MAX, findEnd, missing, type ObjectFolder, readObject } from "./objects-end.ts";
import { type EncodedObject, encodeObject, eventLine, type KnownObject } from "./objects-format.ts";
import { readManifest, requireManifest } from "./objects-manifest.ts";
import { NO_SIGNAL, type ObjectPlace, objectName } from "./objects-place.ts";
import { foreignLog, sinkStopped, sinkTaken, titleOf } from "./sink-errors.ts";

export interface ObjectsSinkOptions {
  /** In front of `<region>/<shard>`; absent: the name of the sink; empty: nothing. */
  readonly prefix: string | undefined;
  readonly eventsPerObject: number;
  /** An event that is larger has an object of its own. Bytes. */
  readonly bytesPerObject: number;
}

/** What a failed `put` may still bring, so that it is known again: so many of the last ones. */
const DOUBTS_MAX = 100;

export class ObjectsSink implements Sink {
  readonly #place: ObjectPlace;
  readonly #options: ObjectsSinkOptions;
  readonly #deps: { readonly reporter: Reporter; readonly clock: Clock };
  #folder: ObjectFolder | undefined;
  /** The last object; undefined where there is none. */
  #end: KnownObject | undefined;
  /** Everything up to here has had its effect. Above `#end.last` while a filter leaves everything out. */
  #reached = 0;
  /** Checksums of objects of the next name whose `put` failed: one that is found is ours. */
  readonly #doubts = new Set<string>();

  /** The place becomes the sink's, which closes it. */
  constructor(place: ObjectPlace, options: ObjectsSinkOptions, deps: { reporter: Reporter; clock: Clock }) {
    this.#place = place;
    this.#options = options;
    this.#deps = deps;
  }

  async open(scope: SinkScope, checkpoint: Checkpoint | undefined): Promise<Checkpoint | undefined> {
    const place = this.#place;
    if (checkpoint !== undefined && checkpoint.logId !== scope.logId)
      throw foreignLog(scope, "its checkpoint", checkpoint.logId);
    const { prefix = scope.sink } = this.#options;
    const { region, shard } = scope;
    const folder = { place, scope, folder: [...(prefix === "" ? [] : [prefix]), region, shard].join("/") };
    await place.prepare(folder.folder);
    const manifest = await readManifest(folder);
    const { end, isUnchecked } = await findEnd(folder, checkpoint);
    if (isUnchecked) this.#deps.reporter.warn("objects_unchecked", { ...scope, where: place.where, upTo: end?.last });
    this.#folder = folder;
    this.#end = end;
    this.#reached = end?.last ?? 0;
    const known = checkpoint?.sequence ?? 0;
    if (end === undefined && known > 0 && manifest !== undefined) throw missing(folder, 1);
    if (end === undefined && checkpoint !== undefined) await this.seek(checkpoint);
    await requireManifest(folder, manifest, this.#deps.clock.wallMs());
    this.#reached = Math.max(this.#reached, known);
    const own = this.#end;
    if (own === undefined || checkpoint === undefined) return own?.resume;
    // Frames without events, and events that a filter left out, move a checkpoint and leave no object.
    return known >= own.last && checkpoint.streamSequence > own.resume.streamSequence ? checkpoint : own.resume;
  }

  async apply(batch: SinkBatch, signal: AbortSignal): Promise<void> {
    const { scope } = this.#requireOpen();
    try {
      if (signal.aborted) throw sinkStopped(scope);
      this.#checkPast(batch);
      // The log is not read from its beginning.
      if (this.#end === undefined && batch.after.sequence > 0) await this.#skipTo(batch.after, signal);
      for (let next = this.#nextOf(batch); next !== undefined; next = this.#nextOf(batch)) {
        if (signal.aborted) throw sinkStopped(scope);
        await this.#write(next, signal);
      }
    } catch (error) {
      if (signal.aborted && error instanceof OperatingError && !error.definite) throw sinkStopped(scope);
      throw error;
    }
    this.#reached = Math.max(this.#reached, batch.upTo.sequence);
  }

  /** To the past: the objects stay, and what comes again is recognised by them. Ahead: an object says that events were left out. */
  async seek(to: Checkpoint): Promise<void> {
    this.#requireOpen();
    if (to.sequence > (this.#end?.last ?? 0)) await this.#skipTo(to, NO_SIGNAL);
    this.#reached = Math.max(this.#reached, to.sequence);
  }

  async close(): Promise<void> {
    await this.#place.close();
  }

  #requireOpen(): ObjectFolder {
    assert(this.#folder !== undefined, "a sink is opened first");
    return this.#folder;
  }

  /** The batch must go on where we are, in the log that we know. */
  #checkPast({ after }: SinkBatch): void {
    const { scope, place } = this.#requireOpen();
    const resume = this.#end?.resume;
    if (after.logId !== scope.logId) throw foreignLog(scope, "its checkpoint", after.logId);
    if (after.streamSequence === resume?.streamSequence && after.chain !== resume.chain)
      throw foreignLog(scope, place.where, `${resume.logId} with another past`);
    if (this.#end === undefined || after.sequence <= this.#reached) return;
    const message = `${titleOf(scope)} has come to ${this.#reached}, and is given what is behind ${after.sequence}`;
    throw new OperatingError("batch_gap", message, {
      definite: true,
      details: { ...scope, reached: this.#reached, after: after.sequence },
    });
  }

  /** The next object of a batch; undefined when the objects that there are cover all of it. */
  #nextOf({ events, after, upTo }: SinkBatch): EncodedObject | undefined {
    const covered = this.#end?.last ?? 0;
    if (upTo.sequence <= covered) return undefined;
    const begin = events.findIndex((event) => event.sequenceNumber > covered);
    if (begin === -1) {
      // The first of these stands for all, see `findEnd`.
      if (this.#end?.count === 0 && upTo.sequence - covered < EMPTY_SPAN_MAX) return undefined;
      return this.#encode(upTo.sequence, upTo, []);
    }
    const { eventsPerObject, bytesPerObject } = this.#options;
    const lines: string[] = [];
    let bytes = 0;
    let last = covered;
    for (let index = begin; index < events.length && lines.length < eventsPerObject; index += 1) {
      const event = events[index];
      if (event === undefined) break;
      const { sequenceNumber } = event;
      assert(sequenceNumber > last && sequenceNumber <= upTo.sequence, `event ${sequenceNumber} is not in its place`);
      const line = eventLine(event);
      bytes += Buffer.byteLength(line) + 2;
      if (lines.length > 0 && bytes > bytesPerObject) break;
      lines.push(line);
      last = sequenceNumber;
    }
    if (begin + lines.length === events.length) return this.#encode(upTo.sequence, upTo, lines);
    // Within a batch there is no place to read on from: the best known one is where the batch began, or the object before.
    const before = this.#end?.resume;
    return this.#encode(last, before !== undefined && before.sequence > after.sequence ? before : after, lines);
  }

  #encode(last: number, resume: Checkpoint, lines: readonly string[], skipped?: true): EncodedObject {
    const { scope } = this.#requireOpen();
    return encodeObject({ scope, first: (this.#end?.last ?? 0) + 1, last, resume, skipped }, lines);
  }

  #skipTo(to: Checkpoint, signal: AbortSignal): Promise<void> {
    return this.#write(this.#encode(to.sequence, to, [], true), signal);
  }

  /** Writes the object, or finds that it was written, or another one of ours in its stead. */
  async #write({ known, bytes }: EncodedObject, signal: AbortSignal): Promise<void> {
    const folder = this.#requireOpen();
    const { place, scope } = folder;
    const { first, sha256 } = known;
    if (this.#doubts.size >= DOUBTS_MAX) for (const oldest of this.#doubts) if (this.#doubts.delete(oldest)) break;
    this.#doubts.add(sha256);
    const outcome = await place.put(objectName(folder.folder, first), bytes, signal);
    if (outcome === "created") this.#end = known;
    else {
      const found = await readObject(folder, first, signal);
      if (found === undefined || !this.#doubts.has(found.sha256)) throw sinkTaken(scope, place.where);
      this.#end = found;
    }
    this.#doubts.clear();
  }
}
