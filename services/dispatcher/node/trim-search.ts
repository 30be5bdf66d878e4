/** Finds by bisection how far a log may be trimmed: the last frame that is old enough by events and by time. */
import type { Log } from "../../../contracts/ports.ts";

export interface TrimRange {
  /** Sequence of the first stored message. */
  readonly lower: number;
  /** Highest stream sequence that may become the first one. */
  readonly upper: number;
  /** A frame is old enough when its first event and its log time are at most these. */
  readonly first: number;
  readonly at: number;
}

/** Messages without a place that are stepped over in one probe: a stranger's, not a frame. */
const VOIDS_MAX = 32;

/** Calls back once with the sequence to keep from, or undefined when nothing may be trimmed or something could not be read. */
export function searchPlace(
  log: Log,
  timeoutMs: number,
  range: TrimRange,
  callback: (keepFrom: number | undefined) => void,
): void {
  if (range.first === Number.POSITIVE_INFINITY && range.at === Number.POSITIVE_INFINITY) {
    callback(range.upper);
    return;
  }
  /** Invariant: `low` is old enough or unknown, everything above `high` is not. */
  const narrow = (low: number, high: number): void => {
    if (low >= high) {
      callback(low > range.lower ? low : undefined);
      return;
    }
    const middle = Math.ceil((low + high) / 2);
    probe(log, timeoutMs, { from: middle, downTo: low, voidsLeft: VOIDS_MAX }, (frame) => {
      if (frame === "failed") callback(undefined);
      else if (frame === undefined || (frame.first <= range.first && frame.at <= range.at)) narrow(middle, high);
      else narrow(low, middle - 1);
    });
  };
  narrow(range.lower, range.upper);
}

interface FramePlace {
  readonly first: number;
  readonly at: number;
}

/** The frame at a place or the next one below it; undefined where there is none down to `downTo`. */
function probe(
  log: Log,
  timeoutMs: number,
  { from, downTo, voidsLeft }: { readonly from: number; readonly downTo: number; readonly voidsLeft: number },
  callback: (frame: FramePlace | "failed" | undefined) => void,
): void {
  if (from <= downTo) {
    callback(undefined);
    return;
  }
  log.read(from, timeoutMs, (outcome) => {
    const frame = outcome.kind === "found" ? placeOf(outcome.message.payload) : undefined;
    if (outcome.kind !== "found" || (frame === undefined && voidsLeft === 0)) callback("failed");
    else if (frame !== undefined) callback(frame);
    else probe(log, timeoutMs, { from: from - 1, downTo, voidsLeft: voidsLeft - 1 }, callback);
  });
}

function placeOf(payload: Uint8Array): FramePlace | undefined {
  try {
    const { first, at } = JSON.parse(new TextDecoder().decode(payload)) as Partial<FramePlace>;
    return typeof first === "number" && typeof at === "number" ? { first, at } : undefined;
  } catch {
    return undefined; // a stranger's message
  }
}
