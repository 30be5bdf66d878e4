/** Places of a log: found by reading the stream's leader, so that a pump can begin, go on, or be sent elsewhere. */
import { OperatingError } from "../../contracts/errors.ts";
import type { Checkpoint } from "../../contracts/followers.ts";
import type { Frame } from "../../contracts/frame.ts";
import type { LogInfo, LogMessage, LogSource } from "../../contracts/ports.ts";
import { logSubject } from "../../contracts/subjects.ts";
import { chainOf, decodeFrame } from "../runtime/frame-codec.ts";
import { tokenEpochBehind } from "./outward.ts";

const ASK_MS = 5_000;
/** Void messages in a row that are stepped over in search of a frame. */
const VOID_MAX = 1_000;

export interface LogAddress {
  readonly region: string;
  readonly shard: string;
}

/** A frame where it stands. */
interface Found {
  readonly frame: Frame;
  readonly streamSequence: number;
  readonly chain: string;
}

/** Bounds of the stream. Throws: OperatingError `stream_missing`, and what the stream's leader answers. */
export function logInfo(log: LogSource): Promise<LogInfo> {
  return new Promise((resolve, reject) =>
    log.info(ASK_MS, (outcome) => {
      if (outcome.kind === "info") resolve(outcome.info);
      else if (outcome.kind === "failed") reject(outcome.error);
      else
        reject(
          new OperatingError("stream_missing", "the shard has no log here; check region and shard", { definite: true }),
        );
    }),
  );
}

function readMessage(log: LogSource, streamSequence: number): Promise<LogMessage | undefined> {
  return new Promise((resolve, reject) =>
    log.read(streamSequence, ASK_MS, (outcome) => {
      if (outcome.kind === "found") resolve(outcome.message);
      else if (outcome.kind === "absent") resolve(undefined);
      else reject(outcome.error);
    }),
  );
}

function frameOf(message: LogMessage | undefined, address: LogAddress): Found | undefined {
  if (message === undefined || message.subject !== logSubject(address.region, address.shard)) return undefined;
  const decoded = decodeFrame(message.payload);
  if (decoded.kind === "void") return undefined;
  return { frame: decoded.frame, streamSequence: message.streamSequence, chain: chainOf(message.payload) };
}

/** The first frame at `from` or behind it, up to `to`; undefined when there is none. */
async function frameFrom(log: LogSource, address: LogAddress, from: number, to: number): Promise<Found | undefined> {
  for (let sequence = from; sequence <= to && sequence - from < VOID_MAX; sequence += 1) {
    const found = frameOf(await readMessage(log, sequence), address);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The last frame at `from` or before it, down to `to`. */
async function frameBefore(log: LogSource, address: LogAddress, from: number, to: number): Promise<Found | undefined> {
  for (let sequence = from; sequence >= to && from - sequence < VOID_MAX; sequence -= 1) {
    const found = frameOf(await readMessage(log, sequence), address);
    if (found !== undefined) return found;
  }
  return undefined;
}

const noFrame = (address: LogAddress): OperatingError =>
  new OperatingError("log_empty", `the log of shard ${address.shard} in region ${address.region} holds no frame yet`, {
    definite: true,
  });

/**
 * Where what is stored begins: the place before the first frame. Its token epoch is that frame's term's.
 * Throws: OperatingError `log_empty` while there is no frame, and as `logInfo`.
 */
export async function earliestPlace(log: LogSource, address: LogAddress): Promise<Checkpoint> {
  const info = await logInfo(log);
  const first = await frameFrom(log, address, Math.max(info.firstSequence, 1), info.lastSequence);
  if (first === undefined) throw noFrame(address);
  return placeBefore(log, address, first, info);
}

/** Where the log ends. Throws: as `earliestPlace`. */
export async function latestPlace(log: LogSource, address: LogAddress): Promise<Checkpoint> {
  const info = await logInfo(log);
  const last = await frameBefore(log, address, info.lastSequence, Math.max(info.firstSequence, 1));
  if (last === undefined) throw noFrame(address);
  const { frame, streamSequence, chain } = last;
  const before = await epochBefore(log, address, last, info);
  const sequence = frame.first + frame.count - 1;
  const place = {
    logId: frame.logId,
    streamSequence,
    sequence,
    chain,
    term: frame.term,
    at: frame.at,
    first: frame.first,
  };
  return { ...place, tokenEpoch: tokenEpochBehind(frame, before) };
}

/**
 * The last place behind which everything with a sequence of at least `sequence`, or a log time of at least `atMs`, lies.
 * Throws: OperatingError `log_trimmed` (definite, `details.first`) when that begins before what is stored, `checkpoint_ahead` (definite,
 * `details.last`) for a sequence behind the one that comes next, `log_empty`, and as `logInfo`.
 */
export async function placeOf(
  log: LogSource,
  address: LogAddress,
  target: { readonly sequence: number } | { readonly atMs: number },
): Promise<Checkpoint> {
  const info = await logInfo(log);
  const isBehind = (frame: Frame): boolean =>
    "sequence" in target ? frame.first + frame.count > target.sequence : frame.at >= target.atMs;
  const first = await frameFrom(log, address, Math.max(info.firstSequence, 1), info.lastSequence);
  if (first === undefined) throw noFrame(address);
  if ("sequence" in target && target.sequence < first.frame.first)
    throw new OperatingError(
      "log_trimmed",
      `the log begins with sequence ${first.frame.first} now: ${target.sequence} was trimmed away`,
      {
        definite: true,
        details: { first: first.frame.first },
      },
    );
  if (isBehind(first.frame)) return placeBefore(log, address, first, info);
  // Invariant: the frame at or behind `lower` is not wanted; that at or behind `upper` is, or there is none.
  let lower = first.streamSequence;
  let upper = info.lastSequence + 1;
  while (upper - lower > 1) {
    const middle = Math.floor((lower + upper) / 2);
    const found = await frameFrom(log, address, middle, info.lastSequence);
    if (found === undefined || isBehind(found.frame)) upper = middle;
    else lower = found.streamSequence;
  }
  const wanted = await frameFrom(log, address, upper, info.lastSequence);
  if (wanted !== undefined) return placeBefore(log, address, wanted, info);
  const end = await latestPlace(log, address);
  if ("sequence" in target && target.sequence > end.sequence + 1)
    throw new OperatingError(
      "checkpoint_ahead",
      `the log of shard ${address.shard} ends with sequence ${end.sequence}: ${target.sequence} is not there yet. For only what comes, seek to the end of the log (--latest)`,
      { definite: true, details: { ...address, last: end.sequence } },
    );
  return end;
}

/** Where a reading begins: behind `from`, a place between frames, without the events up to `through`. */
export interface Start {
  readonly from: Checkpoint;
  readonly through: number;
}

/**
 * Checks a place against the log and finds where reading begins: a place may lie inside of a frame, where a sink was cut off.
 * Throws: OperatingError, all definite: `checkpoint_ahead` (the log ends before it), `log_identity` (it is of another log), `checkpoint_wrong`
 * (the log has another frame there), `log_trimmed`, `log_empty`; and as `logInfo`.
 */
export async function startOf(log: LogSource, address: LogAddress, place: Checkpoint): Promise<Start> {
  const info = await logInfo(log);
  const { streamSequence, sequence, chain } = place;
  if (streamSequence > info.lastSequence)
    throw placeError(
      "checkpoint_ahead",
      address,
      place,
      `it stands behind the log, which ends at ${info.lastSequence}`,
    );
  const firstStored = Math.max(info.firstSequence, 1);
  const found = await frameBefore(log, address, streamSequence, firstStored);
  const known = found ?? (await frameFrom(log, address, firstStored, info.lastSequence));
  if (known === undefined) throw noFrame(address);
  if (known.frame.logId !== place.logId)
    throw placeError(
      "log_identity",
      address,
      place,
      `the log there is ${known.frame.logId}: the stream was made anew, or is another's`,
    );
  if (found === undefined) {
    if (streamSequence < firstStored - 1) throw trimmedAway(address, streamSequence + 1, info.firstSequence);
    if (sequence >= known.frame.first) await mustBeReached(log, address, place);
    return { from: place, through: sequence };
  }
  const last = found.frame.first + found.frame.count - 1;
  if (found.chain !== chain)
    throw placeError(
      "checkpoint_wrong",
      address,
      place,
      `the frame at stream sequence ${found.streamSequence} is another one`,
    );
  if (sequence > last) await mustBeReached(log, address, place);
  if (sequence >= last) return { from: { ...place, sequence: last, first: found.frame.first }, through: sequence };
  return { from: await placeBefore(log, address, found, info), through: sequence };
}

/** A place inside of what is behind its frame leaves out events up to its sequence: those must be there. */
async function mustBeReached(log: LogSource, address: LogAddress, place: Checkpoint): Promise<void> {
  const end = await latestPlace(log, address);
  if (place.sequence > end.sequence)
    throw placeError(
      "checkpoint_ahead",
      address,
      place,
      `it stands behind the log, which ends with sequence ${end.sequence}`,
    );
}

function placeError(code: string, address: LogAddress, place: Checkpoint, what: string): OperatingError {
  const { shard, region } = address;
  return new OperatingError(
    code,
    `the place of the sink in shard ${shard} of region ${region} (log ${place.logId}, stream sequence ${place.streamSequence}, sequence ${place.sequence}) is not to be used: ${what}. Nothing was brought; if it is to go on in this log, send it there with seek`,
    { definite: true, details: { ...address, logId: place.logId, streamSequence: place.streamSequence } },
  );
}

export function trimmedAway(address: LogAddress, missing: number, first: number): OperatingError {
  return new OperatingError(
    "log_trimmed",
    `the log of shard ${address.shard} begins at stream sequence ${first} now, and ${missing} was to be read: it was trimmed away. Begin anew from what is stored (seek), and register the sink so that the log is kept for it`,
    { definite: true, details: { ...address, first } },
  );
}

async function placeBefore(log: LogSource, address: LogAddress, found: Found, info: LogInfo): Promise<Checkpoint> {
  const { frame, streamSequence } = found;
  const sequence = frame.first - 1;
  const place = { logId: frame.logId, streamSequence: streamSequence - 1, sequence, chain: frame.prev, at: frame.at };
  const isStart = sequence === 0 && frame.prev === "";
  return {
    ...place,
    term: isStart ? 0 : frame.term,
    at: isStart ? 0 : frame.at,
    tokenEpoch: await epochBefore(log, address, found, info),
  };
}

/**
 * The token epoch in force before a frame: that of the newest `termStarted` before it, which stands in the first frame of its term.
 * What was trimmed away counts as epoch 0: a higher one comes with a snapshot of a log that was restored, which begins a term of its own.
 */
async function epochBefore(log: LogSource, address: LogAddress, found: Found, info: LogInfo): Promise<number> {
  const { term } = found.frame;
  let lower = Math.max(info.firstSequence, 1);
  let upper = found.streamSequence;
  // Terms never fall: the first frame of the term is found by halving.
  while (lower < upper) {
    const middle = Math.floor((lower + upper) / 2);
    const at = await frameFrom(log, address, middle, found.streamSequence);
    if (at === undefined || at.frame.term >= term) upper = middle;
    else lower = at.streamSequence + 1;
  }
  const start = await frameFrom(log, address, lower, found.streamSequence);
  if (start === undefined || start.streamSequence >= found.streamSequence) return 0;
  return tokenEpochBehind(start.frame, 0);
}
