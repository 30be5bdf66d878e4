/**
 * The sink that writes events as objects: each object is created once, never changed, and named by the first sequence that it covers. That
 * name is the only one that the next object can have, so the place's own refusal to create it twice keeps instances and repeats apart.
 */
import assert from "node:assert/strict";
import type { Checkpoint } from "../../../contracts/followers.ts";
import type { Clock, Reporter } from "../../../contracts/ports.ts";
import type { Sink, SinkBatch, SinkScope } from "../sink.ts";
import { EMPTY_SPAN_MAX, findEnd, missing, type ObjectFolder, readObject } from "./objects-end.ts";
import { type EncodedObject, encodeObject, type KnownObject } from "./objects-format.ts";
import { readManifest, requireManifest } from "./objects-manifest.ts";
import { NO_SIGNAL, type ObjectPlace, objectName } from "./objects-place.ts";
import { placeIn } from "./places.ts";
import { foreignLog, sinkTaken } from "./sink-errors.ts";

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
    const { reporter, clock } = this.#deps;
    if (isUnchecked) reporter.warn("objects_unchecked", { ...scope, where: place.where, upTo: end?.upTo.sequence });
    this.#folder = folder;
    this.#end = end;
    const known = checkpoint?.sequence ?? 0;
    if (end === undefined && known > 0 && manifest !== undefined) throw missing(folder, 1);
    if (end === undefined && checkpoint !== undefined && known > 0) {
      // A sink that begins later, or a place that is not the one it was: whoever reads the log of the process can tell.
      reporter.warn("objects_begin_later", { ...scope, where: place.where, after: known });
      await this.seek(checkpoint);
    }
    await requireManifest(folder, manifest, clock.wallMs());
    const own = this.#covered();
    // Frames without events, and events that a filter left out, move a checkpoint and leave no object.
    const isAhead = checkpoint !== undefined && checkpoint.streamSequence > own.streamSequence;
    return isAhead && known >= own.sequence ? placeIn(checkpoint) : own;
  }

  async apply(batch: SinkBatch, signal: AbortSignal): Promise<void> {
    const { scope, place } = this.#requireOpen();
    signal.throwIfAborted();
    const { logId, streamSequence, chain } = batch.after;
    const covered = this.#covered();
    if (logId !== scope.logId) throw foreignLog(scope, place.where, logId);
    if (streamSequence === covered.streamSequence && chain !== covered.chain)
      throw foreignLog(scope, place.where, `${logId} with another past`);
    try {
      // The log is not read from its beginning.
      if (this.#end === undefined && batch.after.sequence > 0) await this.#skipTo(batch.after, signal);
      for (let next = this.#nextOf(batch); next !== undefined; next = this.#nextOf(batch)) {
        signal.throwIfAborted();
        await this.#write(next, signal);
      }
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  }

  /** To the past: the objects stay, and what comes again is recognised by them. Ahead: an object says that events were left out. */
  async seek(to: Checkpoint): Promise<void> {
    if (to.sequence > this.#covered().sequence) await this.#skipTo(to, NO_SIGNAL);
  }

  async close(): Promise<void> {
    await this.#place.close();
  }

  #requireOpen(): ObjectFolder {
    assert(this.#folder !== undefined, "a sink is opened first");
    return this.#folder;
  }

  /** Where the objects end. */
  #covered(): Checkpoint {
    const { logId } = this.#requireOpen().scope;
    return this.#end?.upTo ?? { logId, streamSequence: 0, sequence: 0, chain: "", term: 0, at: 0 };
  }

  /** The next object of a batch; undefined when the objects that there are cover all of it. */
  #nextOf({ events, after, upTo }: SinkBatch): EncodedObject | undefined {
    const covered = this.#covered();
    if (upTo.sequence <= covered.sequence) return undefined;
    const begin = events.findIndex((event) => event.sequenceNumber > covered.sequence);
    if (begin === -1) {
      // The first object without events stands for what follows, see `findEnd`.
      if (this.#end?.count === 0 && upTo.sequence - covered.sequence < EMPTY_SPAN_MAX) return undefined;
      return this.#encode(upTo, []);
    }
    const lines = this.#linesOf(events, begin, covered.sequence);
    const last = events[begin + lines.length - 1]?.sequenceNumber ?? 0;
    assert(last <= upTo.sequence, `event ${last} is behind the batch's end, ${upTo.sequence}`);
    if (begin + lines.length === events.length) return this.#encode(upTo, lines);
    // Which frame ends here is not known: the log is then read on from where the batch began, up to the sequence for nothing.
    const base = covered.streamSequence > after.streamSequence ? covered : after;
    return this.#encode({ ...base, sequence: last }, lines);
  }

  /** As many events as one object holds. */
  #linesOf(events: SinkBatch["events"], begin: number, covered: number): string[] {
    const { eventsPerObject, bytesPerObject } = this.#options;
    const lines: string[] = [];
    let bytes = 0;
    let last = covered;
    for (let index = begin; index < events.length && lines.length < eventsPerObject; index += 1) {
      const event = events[index];
      assert(event !== undefined && event.sequenceNumber > last, `an event behind ${last} is not in its place`);
      last = event.sequenceNumber;
      const line = JSON.stringify(event);
      bytes += Buffer.byteLength(line);
      if (lines.length > 0 && bytes > bytesPerObject) break;
      lines.push(line);
    }
    return lines;
  }

  #encode(upTo: Checkpoint, lines: readonly string[], skipped?: true): EncodedObject {
    return encodeObject({ scope: this.#requireOpen().scope, after: this.#covered(), upTo, skipped }, lines);
  }

  #skipTo(to: Checkpoint, signal: AbortSignal): Promise<void> {
    return this.#write(this.#encode(to, [], true), signal);
  }

  /** Writes the object, or finds that it was written, or another one of ours in its stead. */
  async #write({ known, bytes }: EncodedObject, signal: AbortSignal): Promise<void> {
    const folder = this.#requireOpen();
    const { place, scope } = folder;
    const { sha256 } = known;
    const first = known.after.sequence + 1;
    const [oldest] = this.#doubts;
    if (oldest !== undefined && this.#doubts.size >= DOUBTS_MAX) this.#doubts.delete(oldest);
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
