/** Which log this node serves and how far it is known to reach: refuses another log, a vanished one, and one that lost its tail. */
import type { Alarm, InfoOutcome, Kv, LogInfo, Reporter, Store } from "../../../contracts/ports.ts";
import type { Halt } from "../../core/log-reader.ts";
import type { NodeConfig } from "./node-config.ts";

/** What the data folder remembers of one shard. */
interface Remembered {
  readonly logId: string;
  readonly streamSequence: number;
}

type ShardName = Pick<NodeConfig, "region" | "shard">;

/** The log that the data folder knows for a shard; undefined where it has never met it. */
export const rememberedLog = (store: Store, shard: ShardName): string | undefined => recall(store, keyOf(shard))?.logId;

const keyOf = ({ region, shard }: ShardName): string => `log/${region}/${shard}`;

function recall(store: Store, key: string): Remembered | undefined {
  const text = store.get(key);
  return text === undefined ? undefined : (JSON.parse(text) as Remembered);
}

/** Invariant: `shownSequence` never decreases; the stream is known to have reached it. */
export class Identity {
  readonly #config: NodeConfig;
  readonly #store: Store;
  readonly #key: string;
  #shown = 0;
  /** What beats and snapshots have claimed. Not remembered on disk: a wrong beat must not outlive a restart. */
  #heard = 0;
  #saved = 0;
  #savedMs = 0;
  #suspectMs = -1;
  /** Why the data folder could not be written; undefined while it can. */
  #storeProblem: string | undefined;

  constructor(config: NodeConfig, store: Store) {
    this.#config = config;
    this.#store = store;
    this.#key = keyOf(config);
  }

  get shownSequence(): number {
    return Math.max(this.#shown, this.#heard);
  }

  /** What needs an operator; empty when nothing does. */
  get alarms(): readonly Alarm[] {
    const message = this.#storeProblem;
    return message === undefined ? [] : [{ code: "data_dir_unwritable", message, isServing: false }];
  }

  /** Compares the log with the data folder; a new folder learns it. */
  check(): Halt | undefined {
    const remembered = recall(this.#store, this.#key);
    if (remembered !== undefined && remembered.logId !== this.#config.logId)
      return {
        code: "log_identity",
        message: `the data folder knows shard ${this.#config.shard} as log ${remembered.logId}, the registry says ${this.#config.logId}: the stream was created again, or the folder belongs to another mesh; use the right folder, or a new one if the old log is given up`,
      };
    this.#shown = remembered?.streamSequence ?? 0;
    this.#saved = this.#shown;
    if (remembered === undefined) this.#put();
    return undefined;
  }

  /** A leader's beat, or a snapshot, says that the stream has reached this sequence. */
  heard(streamSequence: number): void {
    if (streamSequence > this.#heard) this.#heard = streamSequence;
  }

  /** Remembers how far the stream reaches, not more often than `everyMs`. */
  save(streamSequence: number, nowMs: number, everyMs: number): void {
    if (streamSequence > this.#shown) {
      this.#shown = streamSequence;
      // A stream that goes on where it was said to have ended had not ended there: somebody answered who did not know the newest.
      this.#suspectMs = -1;
    }
    if (this.#shown === this.#saved || nowMs - this.#savedMs < everyMs) return;
    this.#savedMs = nowMs;
    try {
      this.#put();
      this.#storeProblem = undefined;
    } catch (error) {
      // The log is the truth; what the folder remembers is one more safeguard, and its loss an alarm.
      this.#storeProblem = error instanceof Error ? error.message : String(error);
    }
  }

  /** Whether the stream is as long as it has been seen. */
  isWhole({ lastSequence }: LogInfo): boolean {
    return lastSequence >= this.shownSequence;
  }

  /**
   * What is wrong with the stream, once it has been seen twice, `confirmMs` apart; one sighting may be a server that starts.
   * `shown`: how far it had been seen when it was asked for.
   */
  problemOf(outcome: InfoOutcome, nowMs: number, shown = this.shownSequence): Halt | undefined {
    // Sightings count only in an unbroken row: two that lie far apart may each be of a server that does not know the newest.
    if (outcome.kind === "failed") this.#suspectMs = -1;
    if (outcome.kind === "failed") return undefined;
    const halt = this.#doubt(outcome, shown);
    if (halt === undefined) this.#suspectMs = -1;
    else if (this.#suspectMs < 0) this.#suspectMs = nowMs;
    return halt !== undefined && nowMs - this.#suspectMs >= this.#config.confirmMs ? halt : undefined;
  }

  /** Whether the last sighting was not as it should be, and another one should come soon. */
  get isSuspect(): boolean {
    return this.#suspectMs >= 0;
  }

  /** Writes who leads into the registry. Advisory: losing the race, or the bucket, costs nothing but a hint. */
  announce(kv: Kv, key: string, term: number, reporter: Reporter): void {
    kv.get(key, (read) => {
      if (read.kind !== "ok" || read.value === undefined)
        return reporter.warn("registry_unread", { key, outcome: read.kind });
      const entry = parseEntry(read.value.value);
      if (entry?.["logId"] !== this.#config.logId) {
        reporter.error("registry_entry_wrong", { key, logId: this.#config.logId });
        return;
      }
      if (typeof entry["term"] === "number" && entry["term"] > term) return;
      const value = new TextEncoder().encode(JSON.stringify({ ...entry, leader: this.#config.peerId, term }));
      kv.put(key, value, read.value.revision, (written) => {
        if (written.kind === "failed") reporter.warn("registry_unwritten", { key, code: written.error.code });
      });
    });
  }

  #doubt(outcome: Exclude<InfoOutcome, { kind: "failed" }>, shown: number): Halt | undefined {
    if (outcome.kind === "missing")
      return {
        code: "log_missing",
        message: `the stream of shard ${this.#config.shard} is gone: restore it from a backup or a mirror, or remove the shard from the registry`,
      };
    if (outcome.info.lastSequence >= shown) return undefined;
    return {
      code: "log_tail_lost",
      message: `the stream of shard ${this.#config.shard} ends at ${outcome.info.lastSequence}, but it has been seen up to ${shown}: acknowledged frames are lost; restore the stream before anybody leads`,
    };
  }

  #put(): void {
    this.#store.put(this.#key, JSON.stringify({ logId: this.#config.logId, streamSequence: this.#shown }));
    this.#saved = this.#shown;
  }
}

/** The registry's entry, whatever else is in it; undefined for bytes that are none, which anybody with the right could have put there. */
function parseEntry(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
