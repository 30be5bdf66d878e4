/** Snapshots of a shard's state: what one is, what a place that keeps them must do, and by which names it refuses a bad one. */
import assert from "node:assert/strict";
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import { ChainValue, Hex64, LogId, LogTimeMs, RegionName, Sequence, ShardName } from "../../contracts/ids.ts";
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";

/** Layout of what we store: chunks, checksums, label. Never reused; a higher one was written by a newer release. */
export const SNAPSHOT_FORMAT = 1;

/** Where in which log a snapshot was cut. */
export const SnapshotLabel = z.strictObject({
  region: RegionName,
  shard: ShardName,
  logId: LogId,
  /** Stream sequence of the last frame in it. */
  streamSequence: Sequence,
  /** Event sequence of the last event in it. */
  sequence: Sequence,
  /** Chain value of the last frame in it. */
  chain: ChainValue,
  term: z.int().min(0),
  /** Event sequence at which that frame began. */
  first: Sequence,
  /** Log time of that frame. ms. */
  at: LogTimeMs,
  /** State hash of what it holds. */
  hash: Hex64,
  logVersion: z.int().min(1),
  /** The writer's wall clock; only reported. ms since 1970. */
  createdAtMs: z.int().min(0),
});
export type SnapshotLabel = Readonly<z.infer<typeof SnapshotLabel>>;

/** A chunk as stores keep it. */
export interface EncodedChunk {
  /** gzip of the text's UTF-8. */
  readonly data: Uint8Array;
  readonly textBytes: number;
  /** Of `data`. Hex. */
  readonly sha256: string;
}

/** What the root is made of, and all that is left of a chunk when it has been used. */
export type ChunkSum = Omit<EncodedChunk, "data">;

/** Plain data, so that it can cross threads. */
export interface SnapshotProblem {
  readonly code: "snapshot_damaged" | "snapshot_version" | "snapshot_foreign";
  readonly message: string;
}

/** A published snapshot. */
export interface SnapshotInfo {
  /** When `problem` is set, only region, shard and sequence are certain: they stand in its name. */
  readonly label: SnapshotLabel;
  /** Names it within its store. */
  readonly id: string;
  /** The store, for people. */
  readonly where: string;
  /** As stored. */
  readonly bytes: number;
  /** As UTF-8. */
  readonly textBytes: number;
  readonly chunks: number;
  /** Checksum over label and all chunks, in their order. Hex. */
  readonly root: string;
  /** When it was read back and found whole, before it was published. ms since 1970. */
  readonly verifiedAtMs: number;
  /** Why it can be neither opened nor verified, as far as its label tells. */
  readonly problem?: SnapshotProblem | undefined;
}

/**
 * Takes one snapshot, piece by piece. Nothing of it is listed before `publish` resolves, whatever happens.
 *
 * After a failure every call fails with the same error, and the writer is to be aborted.
 */
export interface SnapshotWriter {
  /**
   * Adds text, of any length. A promise means that the queue is full: await it before the next call. The text of the whole snapshot is what
   * was written, joined; where it is cut into chunks is the store's affair. Lone surrogates are a defect of the caller.
   */
  write(text: string): Promise<void> | void;
  /** Adds a chunk as another store keeps it: for copies, which then cost no compression. Not mixed with `write`. */
  add(chunk: EncodedChunk): Promise<void> | void;
  /**
   * Makes it durable, reads it back, and lists it in one step.
   *
   * A sound snapshot of the same place in the same log that is there already is returned instead: publishing again is safe. A damaged one is replaced.
   * Throws: OperatingError `snapshot_exists` (another log's), `snapshot_damaged` (what was read back is not what was written), and the store's own.
   */
  publish(label: SnapshotLabel): Promise<SnapshotInfo>;
  /** Gives up; without effect after `publish` or a second time. */
  abort(): void;
}

/** A place that keeps snapshots of any number of shards. */
export interface SnapshotStore {
  begin(): SnapshotWriter;
  /** All published ones, highest sequence first, also those that cannot be used (`problem`). */
  list(region: string, shard: string): Promise<SnapshotInfo[]>;
  /**
   * Its text. Every chunk is checked before it is handed out, the whole when the last one was: use nothing for good before the end.
   * Throws: `snapshot_damaged`, `snapshot_version`, `snapshot_foreign`, `snapshot_missing` (removed meanwhile), and the store's own.
   */
  open(info: SnapshotInfo): AsyncIterable<string>;
  /** Its chunks as they are stored, checked as by `open` but not unpacked. Throws as `open`. */
  chunks(info: SnapshotInfo): AsyncIterable<EncodedChunk>;
  /** Reads it to its end. Throws as `open`. */
  verify(info: SnapshotInfo): Promise<void>;
  /** Without effect when it is gone. */
  remove(info: SnapshotInfo): Promise<void>;
  /**
   * Removes all but the `keep` newest of a log up to the one that was published last; answers how many. Another log's, and those that say that
   * they are of higher sequences, are left alone: they must not push out what is known to be good.
   */
  prune(newest: SnapshotLabel, keep: number): Promise<number>;
  /** Aborts what is being written. Closing twice is allowed. */
  close(): Promise<void>;
}

/** The label as it is stored and checksummed: its fields in one order. */
export function labelText(label: SnapshotLabel): string {
  const names = Object.keys(SnapshotLabel.shape) as (keyof SnapshotLabel)[];
  return JSON.stringify(Object.fromEntries(names.map((name) => [name, label[name]])));
}

/** Asserts what a writer is to be given. */
export function assertLabel(label: SnapshotLabel): void {
  const result = SnapshotLabel.safeParse(label);
  assert(result.success, `a label that breaks its schema: ${result.error?.message}`);
  assert(label.logVersion <= LOG_VERSION_MAX, `log version ${label.logVersion} is above ${LOG_VERSION_MAX}`);
}

export interface SnapshotName {
  readonly region: string;
  readonly shard: string;
  readonly sequence: number;
}

/** Reads a stored label and says what is wrong with it. Version first: a newer release may have given the label other fields. */
export function readLabel(
  name: SnapshotName,
  format: number,
  text: string,
): { readonly label: SnapshotLabel; readonly problem?: SnapshotProblem } {
  const value = parseJson(text);
  const parsed = SnapshotLabel.safeParse(value);
  const version = typeof value["logVersion"] === "number" ? value["logVersion"] : 0;
  const { region, shard, sequence } = name;
  const certain = { region, shard, sequence };
  const label = { ...(parsed.success ? parsed.data : { ...BLANK, logVersion: Math.max(1, version) }), ...certain };
  const title = titleOf(name);
  const told = (code: SnapshotProblem["code"], message: string) => ({ label, problem: { code, message } });
  if (format > SNAPSHOT_FORMAT || version > LOG_VERSION_MAX)
    return told(
      "snapshot_version",
      `${title} was written by a newer release (format ${format}, log version ${version}; this one reads up to ${SNAPSHOT_FORMAT} and ${LOG_VERSION_MAX}); start the newer release, or use an older snapshot`,
    );
  if (!parsed.success)
    return told("snapshot_damaged", `${title} is damaged: its label cannot be read; use an older one`);
  const own = parsed.data;
  if (own.region !== region || own.shard !== shard || own.sequence !== sequence)
    return told("snapshot_foreign", `${title} is in truth ${titleOf(own)}; remove it`);
  return { label };
}

const BLANK = {
  ...{ logId: "unknown", streamSequence: 0, chain: "", term: 0, first: 0, at: 0 },
  ...{ hash: "0".repeat(16), createdAtMs: 0 },
};

function parseJson(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
  } catch {
    return {};
  }
}

export function titleOf({ region, shard, sequence }: SnapshotName): string {
  return `the snapshot of ${region}/${shard} at sequence ${sequence}`;
}

export function snapshotError(
  code: string,
  label: SnapshotName,
  message: string,
  cause?: unknown,
  definite = true,
): OperatingError {
  const { region, shard, sequence } = label;
  const details = { region, shard, sequence };
  return new OperatingError(code, message, { definite, details, ...(cause === undefined ? {} : { cause }) });
}

export function damaged(label: SnapshotName, reason: string, cause?: unknown): OperatingError {
  const message = `${titleOf(label)} is damaged: ${reason}; use an older one`;
  return snapshotError("snapshot_damaged", label, message, cause);
}

export function missing(label: SnapshotName): OperatingError {
  return snapshotError("snapshot_missing", label, `${titleOf(label)} is gone; list again`);
}

export function aborted(): OperatingError {
  return new OperatingError("snapshot_aborted", "the snapshot was aborted while it was written", { definite: true });
}

/** Throws the problem that a listing found. */
export function requireUsable(info: SnapshotInfo): void {
  if (info.problem !== undefined) throw snapshotError(info.problem.code, info.label, info.problem.message);
}

/** Makes sure that a snapshot is of the log at hand. Throws: `snapshot_foreign` (definite), and what its listing found. */
export function requireLog(info: SnapshotInfo, log: { region: string; shard: string; logId: string }): void {
  requireUsable(info);
  const { region, shard, logId } = info.label;
  if (region === log.region && shard === log.shard && logId === log.logId) return;
  const message = `${titleOf(info.label)} is of log ${logId}, but this is log ${log.logId} of ${log.region}/${log.shard}; it must not be used here`;
  throw snapshotError("snapshot_foreign", info.label, message);
}

export function takenMeanwhile(label: SnapshotName): OperatingError {
  const message = `${titleOf(label)} was published by somebody else in this moment; list again`;
  return snapshotError("snapshot_exists", label, message);
}

/** What to do when the name of a new snapshot is taken. Throws: `snapshot_exists` (definite). */
export async function judgeExisting(
  existing: SnapshotInfo,
  label: SnapshotLabel,
  verify: (info: SnapshotInfo) => Promise<void>,
): Promise<"keep" | "replace"> {
  const { problem } = existing;
  const isSame = (["logId", "sequence", "chain", "hash"] as const).every(
    (name) => existing.label[name] === label[name],
  );
  if (problem?.code === "snapshot_version" || (problem === undefined && !isSame))
    throw snapshotError(
      "snapshot_exists",
      label,
      `${titleOf(label)} exists already, of log ${existing.label.logId} with chain ${existing.label.chain} and not of log ${label.logId} with chain ${label.chain}; remove it first`,
    );
  if (problem !== undefined) return "replace";
  try {
    await verify(existing);
    return "keep";
  } catch (error) {
    if (error instanceof OperatingError && error.code === "snapshot_damaged") return "replace";
    throw error;
  }
}

/** Which of a listing `prune` removes. */
export function surplus(list: readonly SnapshotInfo[], keep: number, newest: SnapshotLabel): SnapshotInfo[] {
  assert(Number.isSafeInteger(keep) && keep >= 1, `at least one snapshot is kept, not ${keep}`);
  const counted = list.filter(
    ({ problem, label }) => problem === undefined && label.logId === newest.logId && label.sequence <= newest.sequence,
  );
  return counted.slice(keep);
}
