/** Keeps the position of a named subscription: a write at a time, the newest position only, each on the condition that nobody else has written. */
import { OperatingError } from "../../contracts/errors.ts";
import type { Kv, KvEntry, KvOutcome } from "../../contracts/ports.ts";
import { patiently } from "../jetstream/patience.ts";
import { Position } from "./changes-start.ts";

export interface PositionKeeperOptions {
  readonly kv: Kv;
  readonly key: string;
  /** Tells our writes from those of another subscription of the same name. */
  readonly reader: string;
  readonly intervalMs: number;
  /** What can only be mended by somebody; nothing is written any more. */
  readonly onFailure: (error: OperatingError) => void;
}

/** The older subscription writes too until it learns of us. */
const TAKE_ATTEMPTS_MAX = 50;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Invariant: what is written never goes back, and is never ahead of what was moved to. */
export class PositionKeeper {
  readonly #options: PositionKeeperOptions;
  #revision = 0;
  #wanted: Position | undefined;
  #saved: Position | undefined;
  #timer: NodeJS.Timeout | undefined;
  #saving: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: PositionKeeperOptions) {
    this.#options = options;
  }

  /**
   * The position that is kept, made ours: an older subscription of the name then learns that it is over.
   * Throws: `changes_taken` when others do the same all the time, `position_unreadable` (both definite), and what the bucket answers.
   */
  async take(): Promise<Position | undefined> {
    for (let attempt = 0; attempt < TAKE_ATTEMPTS_MAX; attempt += 1) {
      const entry = await this.#get();
      this.#revision = entry?.revision ?? 0;
      if (entry === undefined) return undefined;
      const position = { ...entry.position, reader: this.#options.reader };
      if ((await this.#tryPut(position)) === "ok") return position;
    }
    throw taken(this.#options.key);
  }

  /** To be written within the interval. */
  move(position: Position): void {
    this.#wanted = position;
    this.#schedule();
  }

  /**
   * Resolves when everything up to here is written.
   * Throws: `changes_taken` (definite) when another subscription moves the position, and what the bucket answers for 30 s.
   */
  async flush(): Promise<void> {
    // A write under way may hold an older position; the one behind it does not.
    for (let round = 0; round < 2 && this.#wanted !== this.#saved; round += 1) await this.#save();
  }

  /** Tries once more to write what is not yet written. What cannot be written now is not lost: those events come again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.flush().catch(() => undefined);
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#saving !== undefined || this.#isClosed) return;
    this.#timer = setTimeout(() => this.#saveInBackground(), this.#options.intervalMs);
  }

  #saveInBackground(): void {
    this.#save().catch((error: unknown) => {
      if (!(error instanceof OperatingError)) throw error;
      // Otherwise the server is away, and the next write is due already.
      if (error.definite) this.#options.onFailure(error);
    });
  }

  /** One write at a time; it takes the newest position. */
  #save(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#saving ??= this.#write().finally(() => {
      this.#saving = undefined;
      if (this.#wanted !== this.#saved) this.#schedule();
    });
    return this.#saving;
  }

  async #write(): Promise<void> {
    const position = this.#wanted;
    if (position === undefined) return;
    let attempts = 0;
    await patiently(() => {
      attempts += 1;
      if (this.#isClosed && attempts > 1) throw closed();
      return this.#put(position);
    });
    this.#saved = position;
  }

  async #put(position: Position): Promise<void> {
    while ((await this.#tryPut(position)) === "conflict") {
      const entry = await this.#get();
      // An attempt of ours of which we had no word may be what is there.
      if (entry !== undefined && entry.position.reader !== this.#options.reader) throw taken(this.#options.key);
      this.#revision = entry?.revision ?? 0;
    }
  }

  async #tryPut(position: Position): Promise<"ok" | "conflict"> {
    const { kv, key } = this.#options;
    const value = encoder.encode(JSON.stringify(position));
    const outcome = await new Promise<KvOutcome<number>>((resolve) => kv.put(key, value, this.#revision, resolve));
    if (outcome.kind === "failed") throw outcome.error;
    if (outcome.kind === "ok") this.#revision = outcome.value;
    return outcome.kind;
  }

  async #get(): Promise<{ readonly position: Position; readonly revision: number } | undefined> {
    const { kv, key } = this.#options;
    const outcome = await new Promise<KvOutcome<KvEntry | undefined>>((resolve) => kv.get(key, resolve));
    if (outcome.kind === "failed") throw outcome.error;
    if (outcome.kind === "conflict" || outcome.value === undefined) return undefined;
    const { value, revision } = outcome.value;
    return { position: positionOf(key, value), revision };
  }
}

function positionOf(key: string, value: Uint8Array): Position {
  try {
    return Position.parse(JSON.parse(decoder.decode(value)));
  } catch (cause) {
    throw unreadable(key, cause);
  }
}

function unreadable(key: string, cause: unknown): OperatingError {
  const message = `the entry ${key} of the bucket omnirelay-checkpoints is no position: mend it, or remove it to begin anew`;
  return new OperatingError("position_unreadable", message, { definite: true, cause });
}

const closed = (): OperatingError => new OperatingError("closed", "the subscription is closed", { definite: true });

function taken(key: string): OperatingError {
  const message = `another subscription moves the position ${key}: one at a time may use a name, and the newest does`;
  return new OperatingError("changes_taken", message, { definite: true, details: { key } });
}
