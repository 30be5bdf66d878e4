/**
 * Keeps a sink's checkpoint in the bucket, by compare-and-set: the entry says where the sink is, which process moves it, and what operators
 * wish. Of two processes with the same sink one owns the entry; the other stands by until the entry has been still for a while.
 */
import { OperatingError } from "../../contracts/errors.ts";
import type { Checkpoint } from "../../contracts/followers.ts";
import type { Clock, Kv, KvEntry, KvOutcome, TimerHandle } from "../../contracts/ports.ts";
import { SinkCheckpoint, type SinkState } from "../../contracts/sinks.ts";
import { checkpointKey } from "../../contracts/subjects.ts";
import type { LogAddress } from "./log-access.ts";
import { pause } from "./pause.ts";

/** How processes with the same sink keep time. ms. */
export interface Pace {
  /** The owner writes at least this often, be it that nothing changed: wishes are noticed by it. */
  readonly beatMs: number;
  /** An entry that has been still for so long has lost its owner. */
  readonly silentMs: number;
  /** How often one that stands by looks. */
  readonly lookMs: number;
}
export const PACE: Pace = { beatMs: 2_000, silentMs: 10_000, lookMs: 500 };

const RETRY_MS = 500;
/** How long a release waits for what is being written. ms. */
const RELEASE_MS = 2_000;

export interface KeeperOptions extends LogAddress {
  readonly sink: string;
  /** `<peer id>/<id of this start>`, or more in front of the last `/`: those that are alike up to there are starts of one process. */
  readonly instance: string;
  readonly kv: Kv;
  readonly clock: Clock;
  readonly pace: Pace;
  /** The entry could not be written: told once, until a write succeeds. */
  readonly onUnwritten: (error: OperatingError) => void;
  /** Another process has the entry, and this one waits for it: told once for each waiting. */
  readonly onStandby: () => void;
}

interface Told {
  readonly state: SinkState;
  readonly problem?: { readonly code: string; readonly message: string } | undefined;
  readonly parked: number;
}

/** What an earlier start of the same process has as well. */
const processOf = (instance: string): string => instance.slice(0, instance.lastIndexOf("/"));
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Another process owns the sink now, or wrote where only the owner writes. */
const sinkTaken = (what: string): OperatingError => new OperatingError("sink_taken", what, { definite: true });

export class CheckpointKeeper {
  readonly #options: KeeperOptions;
  readonly #key: string;
  #revision = 0;
  #entry: SinkCheckpoint | undefined;
  #place: Checkpoint | undefined;
  #told: Told = { state: "standby", parked: 0 };
  #isDirty = false;
  #isOwner = false;
  #isUnwritten = false;
  /** Beginning of the last write that succeeded. */
  #writtenMs = 0;
  /** Whether it has never owned the entry. */
  #isFresh = true;
  #writing: Promise<void> | undefined;
  #timer: TimerHandle | undefined;
  #lost: AbortController = new AbortController();
  /** The newest wishes that were fulfilled: an entry that was written before must not bring them back. */
  #fulfilled: { seek?: string; resume?: string } = {};

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#key = checkpointKey(options.sink, options.region, options.shard);
  }

  /** Aborted, with the reason, when the entry is another's. One per ownership. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** What operators wish, as of the last write. */
  get wishes(): Pick<SinkCheckpoint, "paused" | "seek" | "resume"> {
    return this.#entry ?? {};
  }

  /** What the entry says of the last trouble. */
  get problem(): SinkCheckpoint["problem"] {
    return this.#entry?.problem;
  }

  /**
   * Waits until the entry is ours: at once when nobody owns it, or an earlier start of this process; else when its
   * owner has gone or been silent for ten seconds.
   * `first` finds the place where a sink without an entry begins.
   * Throws: OperatingError of the bucket, `checkpoint_unreadable` (definite), what `first` throws, and the reason of `signal`.
   */
  async acquire(first: () => Promise<Checkpoint>, signal: AbortSignal): Promise<SinkCheckpoint> {
    const { clock, instance, pace } = this.#options;
    this.#lost = new AbortController();
    this.#fulfilled = {};
    let seen = -1;
    let seenMs = 0;
    for (;;) {
      signal.throwIfAborted();
      const found = await this.#get();
      this.#entry = found?.entry;
      const owner = found?.entry.owner ?? "";
      if (found === undefined || owner === "" || owner === instance) break;
      // A process that has ended and been started again.
      if (this.#isFresh && processOf(owner) === processOf(instance)) break;
      if (seen === -1) this.#options.onStandby();
      if (found.revision !== seen) {
        seen = found.revision;
        seenMs = clock.monotonicMs();
      } else if (clock.monotonicMs() - seenMs >= pace.silentMs) break;
      await pause(clock, pace.lookMs, signal);
    }
    const place = this.#entry ?? (await first());
    this.#place = place;
    const { state, problem, parked = 0 } = this.#entry ?? {};
    this.#told = state === "stopped" ? { state, problem, parked } : { state: "running", parked };
    const beganMs = clock.monotonicMs();
    const outcome = await this.#put(this.#text(), this.#revision);
    this.#writtenMs = beganMs;
    if (outcome.kind === "conflict") return this.acquire(first, signal);
    if (outcome.kind === "failed") throw outcome.error;
    this.#own(outcome.value);
    return this.#entry ?? (place as SinkCheckpoint);
  }

  #own(revision: number): void {
    this.#revision = revision;
    this.#entry = this.#text();
    this.#isOwner = true;
    this.#isFresh = false;
    this.#isUnwritten = false;
    this.#schedule();
  }

  /**
   * Undefined while nobody else can have taken the entry. After a standstill of half the silence (the process was paused, the bucket is away) a
   * promise: it resolves when the entry is written anew. Throws: the reason of `signal`.
   */
  sure(signal: AbortSignal): Promise<void> | undefined {
    return this.#isSure() ? undefined : this.#becomeSure(signal);
  }

  #isSure(): boolean {
    const { clock, pace } = this.#options;
    return clock.monotonicMs() - this.#writtenMs < pace.silentMs / 2;
  }

  async #becomeSure(signal: AbortSignal): Promise<void> {
    while (this.#isOwner && !this.#isSure()) {
      this.#touch();
      await Promise.race([this.#writing, pause(this.#options.clock, RETRY_MS, signal)]);
    }
    signal.throwIfAborted();
  }

  /** The effects reach up to `place`: written soon, the newest only. */
  move(place: Checkpoint): void {
    this.#place = place;
    this.#touch();
  }

  tell(told: Partial<Told>): void {
    this.#told = { ...this.#told, ...told };
    this.#touch();
  }

  /** Takes the wished place as ours and the wish as fulfilled. Resolves when it is written. */
  async sought(to: Checkpoint): Promise<void> {
    this.#place = to;
    await this.#fulfil("seek", this.#entry?.seek?.id);
  }

  /** Takes the wish to begin again as fulfilled. Resolves when it is written. */
  async resumed(): Promise<void> {
    await this.#fulfil("resume", this.#entry?.resume);
  }

  async #fulfil(name: "seek" | "resume", id: string | undefined): Promise<void> {
    if (id !== undefined) this.#fulfilled[name] = id;
    const { [name]: _, ...rest } = this.#entry as SinkCheckpoint;
    this.#entry = rest;
    this.#touch();
    await this.flush();
  }

  /** Resolves when everything told so far is written, or the entry is lost. */
  async flush(): Promise<void> {
    while (this.#isOwner && (this.#isDirty || this.#writing !== undefined)) {
      if (this.#writing === undefined) this.#touch();
      await this.#writing;
    }
  }

  /** Leaves the entry to whoever wants it. Never throws: who finds it still takes it a little later. */
  async release(state: SinkState): Promise<void> {
    if (!this.#isOwner) return;
    const { clock } = this.#options;
    await Promise.race([this.flush(), pause(clock, RELEASE_MS, this.lost)]).catch(() => undefined);
    if (!this.#isOwner) return;
    this.#stopOwning();
    this.#told = { ...this.#told, state };
    const entry = { ...this.#text(), owner: "" };
    await this.#put(entry, this.#revision);
  }

  /** Writes no more, and gives nothing back: who wants the entry finds it silent. */
  abandon(): void {
    this.#stopOwning();
  }

  #stopOwning(): void {
    this.#isOwner = false;
    if (this.#timer !== undefined) this.#options.clock.clearTimer(this.#timer);
    this.#timer = undefined;
  }

  #schedule(): void {
    const { clock, pace } = this.#options;
    if (this.#timer !== undefined) clock.clearTimer(this.#timer);
    this.#timer = this.#isOwner ? clock.setTimer(pace.beatMs, () => this.#touch()) : undefined;
  }

  #touch(): void {
    this.#isDirty = true;
    if (!this.#isOwner || this.#writing !== undefined) return;
    this.#writing = this.#write().finally(() => {
      this.#writing = undefined;
      if (this.#isDirty && this.#isOwner) this.#touch();
      else this.#schedule();
    });
  }

  /** One write; a wish that came in between is taken over and the write repeated. */
  async #write(): Promise<void> {
    this.#isDirty = false;
    const entry = this.#text();
    const beganMs = this.#options.clock.monotonicMs();
    const outcome = await this.#put(entry, this.#revision);
    if (outcome.kind === "ok") {
      this.#writtenMs = beganMs;
      this.#revision = outcome.value;
      this.#isUnwritten = false;
      // A wish may have been fulfilled while the entry was on its way.
      this.#entry = this.#withWishes(entry, entry);
      return;
    }
    this.#isDirty = true;
    // After anything but a conflict the entry may be ours already: its revision is read anew.
    if (outcome.kind === "failed") {
      if (!this.#isUnwritten) this.#options.onUnwritten(outcome.error);
      this.#isUnwritten = true;
      await pause(this.#options.clock, RETRY_MS, this.#lost.signal).catch(() => undefined);
    }
    const found = await this.#get().catch(() => undefined);
    if (found === undefined) return;
    if (found.entry.owner !== this.#options.instance) this.#loseTo(found.entry.owner ?? "");
    else this.#entry = this.#withWishes(this.#entry ?? found.entry, found.entry);
  }

  /** An entry with the wishes of another one that are not fulfilled. */
  #withWishes({ seek: _s, paused: _p, resume: _r, ...own }: SinkCheckpoint, wished: SinkCheckpoint): SinkCheckpoint {
    const { paused } = wished;
    const seek = wished.seek?.id === this.#fulfilled.seek ? undefined : wished.seek;
    const resume = wished.resume === this.#fulfilled.resume ? undefined : wished.resume;
    return { ...own, ...(seek && { seek }), ...(paused && { paused }), ...(resume && { resume }) };
  }

  #loseTo(owner: string): void {
    this.#stopOwning();
    this.#isDirty = false;
    const who = owner === "" ? "nobody" : owner;
    this.#lost.abort(sinkTaken(`the checkpoint ${this.#key} belongs to ${who} now: this process stands by`));
  }

  #text(): SinkCheckpoint {
    const { state, problem, parked } = this.#told;
    const { paused, seek, resume } = this.#entry ?? {};
    const { logId, streamSequence, sequence, chain, term, at, first, tokenEpoch } = this.#place as Checkpoint;
    return {
      ...{ logId, streamSequence, sequence, chain, term, at },
      ...(first === undefined ? {} : { first }),
      ...(tokenEpoch === undefined ? {} : { tokenEpoch }),
      owner: this.#options.instance,
      state,
      ...(problem === undefined ? {} : { problem }),
      parked,
      ...(paused === undefined ? {} : { paused }),
      ...(seek === undefined ? {} : { seek }),
      ...(resume === undefined ? {} : { resume }),
    };
  }

  async #get(): Promise<{ readonly entry: SinkCheckpoint; readonly revision: number } | undefined> {
    const outcome = await new Promise<KvOutcome<KvEntry | undefined>>((resolve) =>
      this.#options.kv.get(this.#key, resolve),
    );
    if (outcome.kind !== "ok") throw outcome.kind === "failed" ? outcome.error : sinkTaken(this.#key);
    if (outcome.value === undefined) {
      this.#revision = 0;
      return undefined;
    }
    this.#revision = outcome.value.revision;
    return { entry: readEntry(this.#key, outcome.value.value), revision: outcome.value.revision };
  }

  #put(entry: SinkCheckpoint, revision: number): Promise<KvOutcome<number>> {
    const bytes = encoder.encode(JSON.stringify(entry));
    return new Promise((resolve) => this.#options.kv.put(this.#key, bytes, revision, resolve));
  }
}

/** Throws: OperatingError `checkpoint_unreadable` (definite). */
export function readEntry(key: string, value: Uint8Array): SinkCheckpoint {
  let json: unknown;
  try {
    json = JSON.parse(decoder.decode(value));
  } catch {
    json = undefined; // told below, with the same words
  }
  const parsed = SinkCheckpoint.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new OperatingError(
    "checkpoint_unreadable",
    `the entry ${key} of the bucket omnirelay-checkpoints is no checkpoint (${issue?.path.join(".")}: ${issue?.message}): mend it, or remove it to begin anew`,
    { definite: true },
  );
}
