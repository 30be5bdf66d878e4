/** Where objects are kept, as a port with promises that a folder, the JetStream object store and S3 can all keep; and how objects are named. */
import { OperatingError } from "../../../contracts/errors.ts";

/**
 * Objects under names, written once. Objects of events stand in folders (`<prefix>/<region>/<shard>`) and are named by a sequence.
 *
 * All methods throw OperatingErrors, `definite` where only a person can mend it; none waits without end. The `signal` ends them early, with
 * any OperatingError.
 */
export interface ObjectPlace {
  /** For people; holds no secret. */
  readonly where: string;
  /** Makes ready what objects of the folder are written to, and durable what is there. */
  prepare(folder: string): Promise<void>;
  /**
   * Creates an object; it is durable when this resolves, and whole whenever it can be seen. `taken`: there is one of that name, and it stays as
   * it was; it is durable too. After an error it may be there, or may yet come.
   */
  put(name: string, bytes: Uint8Array, signal: AbortSignal): Promise<"created" | "taken">;
  /** The bytes of an object; undefined for none. Throws `object_damaged`, definite, for one above `OBJECT_BYTES_MAX`. */
  get(name: string, signal: AbortSignal): Promise<Uint8Array | undefined>;
  /** Sequences of the folder's objects above `after`, rising, the first `limit` of them: a page. */
  list(folder: string, after: number, limit: number): Promise<readonly number[]>;
  /** The highest sequence of the folder's objects that is not above `upTo`; undefined for none. */
  last(folder: string, upTo: number): Promise<number | undefined>;
  /** Closing twice is allowed. */
  close(): Promise<void>;
}

/** Largest object that is read. Far above the largest that is written: its bound, one event and the head. Bytes. */
export const OBJECT_BYTES_MAX: number = 128 * 1024 * 1024;

/** What a step says that its signal cut short. */
export function cutShort(where: string, cause?: unknown): OperatingError {
  return new OperatingError("objects_cut_short", `${where}: cut short`, { definite: false, cause });
}

/** For steps that nobody cuts short; the place's own time limits end them. */
export const NO_SIGNAL: AbortSignal = new AbortController().signal;

const SEQUENCE_DIGITS = 20;
const OBJECT_NAME = /^(\d{20})\.json$/;

/** Zero-padded, so that names sort as sequences do. */
export const objectName = (folder: string, sequence: number): string =>
  `${folder}/${String(sequence).padStart(SEQUENCE_DIGITS, "0")}.json`;

/** The sequence that an object is named by; undefined for what is no object of events, or none of that folder. */
export function sequenceOfName(folder: string, name: string): number | undefined {
  if (!name.startsWith(`${folder}/`)) return undefined;
  const sequence = Number(OBJECT_NAME.exec(name.slice(folder.length + 1))?.[1]);
  return Number.isSafeInteger(sequence) && sequence > 0 ? sequence : undefined;
}

/** Keeps the lowest sequences above a bound out of any number that are shown to it, in memory for twice as many. */
export class LowestSequences {
  readonly #after: number;
  readonly #limit: number;
  #kept: number[] = [];

  constructor(after: number, limit: number) {
    this.#after = after;
    this.#limit = limit;
  }

  add(sequence: number): void {
    if (sequence <= this.#after) return;
    this.#kept.push(sequence);
    if (this.#kept.length >= 2 * this.#limit) this.#kept = this.rising();
  }

  rising(): number[] {
    return this.#kept.toSorted((a, b) => a - b).slice(0, this.#limit);
  }
}
