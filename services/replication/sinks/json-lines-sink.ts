/** The sink that writes files of JSON lines: one event per line, one folder per shard, each event once. */
import assert from "node:assert/strict";
import { join, resolve } from "node:path";
import { z } from "zod";
import type { ReplicationEvent } from "../../../contracts/envelope.ts";
import type { Checkpoint } from "../../../contracts/followers.ts";
import type { TimerHandle } from "../../../contracts/ports.ts";
import { isObject } from "../option-problems.ts";
import type { Sink, SinkBatch, SinkDeps, SinkKind, SinkScope } from "../sink.ts";
import { LinesCompressor } from "./lines-compressor.ts";
import { LinesFile } from "./lines-file.ts";
import { type LinesFolder, openLinesFolder } from "./lines-folder.ts";
import { dayOf, linesName } from "./lines-names.ts";
import { eventsBehind, isBehind, placeIn } from "./places.ts";
import { asFileError, FILE_HOST, type FileHost, folderTarget, syncFolder } from "./sink-files.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const ROTATE_BYTES_DEFAULT = 64 * MIB;
const FSYNC_MS_DEFAULT = 200;
/** Lines are written in pieces of about this size, so that a stop does not wait for a large batch. Bytes. */
const PIECE_BYTES = MIB;

const JsonLinesOptions = z
  .strictObject({
    folder: z
      .string()
      .min(1)
      .describe(
        "Folder; the files are below it, in `<region>/<shard>`. Relative paths begin at the working directory.",
      ),
    rotateBytes: z
      .int()
      .min(4 * KIB)
      .max(16 * KIB * MIB)
      .default(ROTATE_BYTES_DEFAULT)
      .describe("A file that would grow beyond this is closed and the next one begun. Bytes; 64 MiB by default."),
    rotateDaily: z.boolean().default(true).describe("Begin a file with each UTC day, by the events' log time."),
    gzip: z.boolean().default(false).describe("Compress files once they are closed."),
    fsync: z
      .enum(["batch", "interval", "never"])
      .default("batch")
      .describe(
        "When lines are brought to the disk. `batch`: before each batch counts as done. `interval`: every `fsyncMs`; a power cut may take the lines since, which then come again. `never`: when the system does.",
      ),
    fsyncMs: z.int().min(1).max(60_000).optional().describe("Of `fsync: interval`. ms; 200 by default."),
  })
  .refine(({ fsync, fsyncMs }) => fsyncMs === undefined || fsync === "interval", {
    error: "fsyncMs goes with fsync: interval only",
    path: ["fsyncMs"],
    when: isObject,
  });
type JsonLinesOptions = z.infer<typeof JsonLinesOptions>;

/** How old the place on the disk may be: a power cut brings that many events once more, to be recognised by the lines. ms. */
const PLACE_SYNC_MS = 1_000;

/** Lines that are made and not written. */
interface Piece {
  text: string;
  bytes: number;
  last: number;
}

/** An open folder. `last` is the sequence of the last line: no event up to it is written again. */
interface OpenState {
  readonly scope: SinkScope;
  readonly folder: LinesFolder;
  readonly compressor: LinesCompressor;
  file: LinesFile | undefined;
  last: number;
  place: Checkpoint | undefined;
  /** A file was made whose name is not on the disk yet. */
  hasNewName: boolean;
  /** When the place was last brought to the disk. Monotonic ms. */
  placeSyncedMs: number;
}

/**
 * Everything that touches the files takes turns, for the sync of an interval comes when it wants.
 * Invariant: the place on record is never ahead of lines that are on the disk, save with `fsync: never`; and with `interval`, where batches
 * count as done before, it is on the disk whenever lines are.
 */
export class JsonLinesSink implements Sink {
  readonly #options: JsonLinesOptions;
  readonly #deps: Pick<SinkDeps, "reporter" | "clock">;
  readonly #host: FileHost;
  #open: OpenState | undefined;
  #turn: Promise<void> = Promise.resolve();
  #timer: TimerHandle | undefined;
  /** The sync of an interval failed: nothing more is taken until it succeeds. */
  #isSyncOwed = false;

  constructor(options: JsonLinesOptions, deps: Pick<SinkDeps, "reporter" | "clock">, host: FileHost = FILE_HOST) {
    this.#options = options;
    this.#deps = deps;
    this.#host = host;
  }

  open(scope: SinkScope, checkpoint: Checkpoint | undefined): Promise<Checkpoint | undefined> {
    const folder = this.#folderOf(scope);
    return this.#inTurn(scope, async () => {
      assert(this.#open === undefined, "a sink is opened once");
      const { reporter } = this.#deps;
      const parts = { host: this.#host, folder, scope, reporter };
      const opened = await openLinesFolder(parts);
      const { file, last, place = checkpoint && placeIn(checkpoint) } = opened;
      const compressor = new LinesCompressor(parts);
      if (this.#options.gzip) compressor.add(...opened.closed);
      const placeSyncedMs = Number.NEGATIVE_INFINITY;
      const open = { scope, folder: opened, compressor, file, last, place, hasNewName: true, placeSyncedMs };
      this.#open = open;
      if (opened.place === undefined && this.#options.fsync !== "never") await this.#settle(open);
      return place;
    });
  }

  apply(batch: SinkBatch, signal: AbortSignal): Promise<void> {
    return this.#inTurn(batch.scope, async () => {
      signal.throwIfAborted();
      const open = this.#requireOpen();
      if (this.#isSyncOwed) await this.#settle(open);
      await this.#forgetTaken(open);
      await this.#write(open, eventsBehind(batch.events, open.last), signal);
      const { fsync } = this.#options;
      if (fsync === "batch") await this.#sync(open);
      if (open.place === undefined || isBehind(open.place, batch.upTo)) open.place = placeIn(batch.upTo);
      if (fsync === "interval" && isUnsynced(open)) this.#syncSoon(open);
      else await this.#record(open);
    });
  }

  /** Events up to the last line are there and are not written again; see the guarantee. */
  seek(to: Checkpoint): Promise<void> {
    const { scope } = this.#requireOpen();
    return this.#inTurn(scope, async () => {
      const open = this.#requireOpen();
      open.place = placeIn(to);
      await this.#settle(open);
    });
  }

  async close(): Promise<void> {
    if (this.#timer !== undefined) this.#deps.clock.clearTimer(this.#timer);
    this.#timer = undefined;
    const scope = this.#open?.scope;
    if (scope === undefined) return;
    await this.#inTurn(scope, async () => {
      const open = this.#open;
      if (open === undefined) return;
      this.#open = undefined;
      try {
        if (this.#options.fsync !== "never") await this.#settle(open);
      } finally {
        await giveBack(open);
      }
    });
  }

  #folderOf({ region, shard }: SinkScope): string {
    return resolve(this.#options.folder, region, shard);
  }

  #requireOpen(): OpenState {
    assert(this.#open !== undefined, "a sink that is not open is given nothing");
    return this.#open;
  }

  /** Runs one step after the other, and says what the file system says in our words. */
  #inTurn<T>(scope: SinkScope, step: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(step).catch((error: unknown) => {
      throw asFileError(error, scope, this.#folderOf(scope));
    });
    this.#turn = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }

  /** Writes lines, file after file. What is written by the time of an error stays, and is not written again. */
  async #write(open: OpenState, events: readonly ReplicationEvent[], signal: AbortSignal): Promise<void> {
    const piece: Piece = { text: "", bytes: 0, last: open.last };
    for (const event of events) {
      const line = `${JSON.stringify(event)}\n`;
      const bytes = Buffer.byteLength(line);
      if (!this.#fits(open.file, piece.bytes, bytes, event)) {
        await writePiece(open, piece);
        await this.#begin(open, event);
      }
      piece.text += line;
      piece.bytes += bytes;
      piece.last = event.sequenceNumber;
      if (piece.bytes < PIECE_BYTES) continue;
      await writePiece(open, piece);
      signal.throwIfAborted();
    }
    await writePiece(open, piece);
  }

  #fits(file: LinesFile | undefined, pieceBytes: number, lineBytes: number, event: ReplicationEvent): boolean {
    if (file === undefined) return false;
    const { rotateDaily, rotateBytes } = this.#options;
    const { first, day } = file.name;
    if (rotateDaily && day !== dayOf(event.timestamp)) return false;
    const before = file.bytes + pieceBytes;
    return before === 0 ? first === event.sequenceNumber : before + lineBytes <= rotateBytes;
  }

  /** Closes the file, whose lines are on the disk then, and begins the next with an event. */
  async #begin(open: OpenState, event: ReplicationEvent): Promise<void> {
    const folder = this.#folderOf(open.scope);
    if (this.#options.fsync !== "never") await this.#sync(open);
    const { file } = open;
    open.file = undefined;
    await file?.close();
    if (file?.bytes === 0) await this.#host.remove(join(folder, file.name.name));
    else if (file !== undefined && this.#options.gzip) open.compressor.add(file.name);
    open.file = await LinesFile.create(this.#host, folder, linesName(event.sequenceNumber, dayOf(event.timestamp)));
    open.hasNewName = true;
  }

  /** Somebody took the file away, or emptied it: its lines are gone, but none that are to come. */
  async #forgetTaken(open: OpenState): Promise<void> {
    const { file } = open;
    if (file === undefined || (await file.isInPlace())) return;
    this.#deps.reporter.warn("sink_file_taken_away", { ...open.scope, file: file.name.name });
    open.file = undefined;
    await file.close();
  }

  async #sync(open: OpenState): Promise<void> {
    await open.file?.sync();
    if (!open.hasNewName) return;
    await syncFolder(this.#host, this.#folderOf(open.scope));
    open.hasNewName = false;
  }

  async #record(open: OpenState): Promise<void> {
    const { folder, file, last, place } = open;
    if (place === undefined) return;
    await folder.placeFile.write({ place, last, file: file?.name.name ?? "", bytes: file?.bytes ?? 0 });
    const nowMs = this.#deps.clock.monotonicMs();
    if (this.#options.fsync === "never" || nowMs - open.placeSyncedMs < PLACE_SYNC_MS) return;
    await folder.placeFile.sync();
    open.placeSyncedMs = nowMs;
  }

  /** Lines and place are on the disk then. */
  async #settle(open: OpenState): Promise<void> {
    await this.#sync(open);
    open.placeSyncedMs = Number.NEGATIVE_INFINITY;
    await this.#record(open);
    this.#isSyncOwed = false;
  }

  #syncSoon(open: OpenState): void {
    const { clock, reporter } = this.#deps;
    this.#timer ??= clock.setTimer(this.#options.fsyncMs ?? FSYNC_MS_DEFAULT, () => {
      this.#timer = undefined;
      this.#inTurn(open.scope, async () => {
        if (this.#open === open) await this.#settle(open);
      }).catch((error: unknown) => {
        if (!this.#isSyncOwed) reporter.warn("sink_sync_failed", { ...open.scope, error });
        // The next batch meets it again, and fails with it as long as it lasts; where none comes, the timer tries.
        this.#isSyncOwed = true;
        if (this.#open === open) this.#syncSoon(open);
      });
    });
  }
}

/** Whatever fails of it, the folder is free for the next writer. */
async function giveBack({ compressor, file, folder }: OpenState): Promise<void> {
  try {
    await compressor.close();
    await file?.close();
    await folder.placeFile.close();
  } finally {
    folder.owned.close();
  }
}

const isUnsynced = ({ file, hasNewName }: OpenState): boolean =>
  hasNewName || (file !== undefined && file.syncedBytes < file.bytes);

async function writePiece(open: OpenState, piece: Piece): Promise<void> {
  if (piece.bytes === 0) return;
  assert(open.file !== undefined);
  await open.file.append(Buffer.from(piece.text));
  open.last = piece.last;
  piece.text = "";
  piece.bytes = 0;
}

export const jsonLinesKind: SinkKind<JsonLinesOptions> = {
  kind: "json-lines",
  summary: "Writes one event per line into files that are begun anew by size and by day.",
  guarantee: "exactly once",
  options: JsonLinesOptions,
  target: ({ folder }) => folderTarget(folder),
  create: (options, deps) => new JsonLinesSink(options, deps),
};
