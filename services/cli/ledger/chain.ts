/** Follows the chain of a ledger message by message, from the log's beginning or from the word of the first frame. */
import type { LogMessage } from "../../../contracts/ports.ts";
import { type ChainTip, LogReader } from "../../core/log-reader.ts";
import { chainOf, decodeFrame } from "../../runtime/frame-codec.ts";
import { tipBefore } from "../log-marker.ts";
import type { PlaceUnit } from "./problem.ts";
import type { LedgerFrame } from "./sum.ts";

/** A frame that does not continue the chain: what must have happened is found by looking at the frames around. */
export interface ChainBreak {
  readonly kind: "break";
  /** Of the frame that does not continue. */
  readonly at: number;
  /** Of the last frame that does; 0 when there is none. */
  readonly tipAt: number;
  readonly tip: ChainTip;
}

type ChainStep =
  | ({ readonly kind: "frame" } & LedgerFrame)
  | { readonly kind: "void"; readonly reason: string }
  | { readonly kind: "halt"; readonly code: string; readonly message: string }
  | ChainBreak;

export interface ChainOptions {
  readonly region: string;
  readonly shard: string;
  /** Empty adopts that of the first frame. */
  readonly logId: string;
  /** Validate every event against its schema. */
  readonly isStrict: boolean;
  readonly unit: PlaceUnit;
  /** Where the chain stands; absent: the first frame is believed. */
  readonly tip?: ChainTip | undefined;
}

export class LedgerChain {
  readonly #options: ChainOptions;
  #reader: LogReader | undefined;
  #tipAt = 0;

  constructor(options: ChainOptions) {
    this.#options = options;
    if (options.tip !== undefined) this.#reader = this.#readerFrom(options.tip);
  }

  /** `streamSequence` of the message is its place, whatever the unit. After a halt or a break nothing more is to be taken. */
  take(message: LogMessage): ChainStep {
    const at = message.streamSequence;
    this.#reader ??= this.#trust(message);
    if (this.#reader === undefined) return { kind: "void", reason: "no frame of the log" };
    const verdict = this.#reader.classify(message);
    const isBreak =
      (verdict.kind === "halt" && verdict.code === "log_fork") ||
      // Nobody publishes into an export.
      (verdict.kind === "void" && verdict.reason === "copy of the past" && this.#options.unit === "line");
    if (isBreak) return { kind: "break", at, tipAt: this.#tipAt, tip: this.#reader.tip };
    if (verdict.kind === "void") return verdict;
    if (verdict.kind === "halt") return { kind: "halt", code: verdict.code, message: verdict.message };
    this.#reader.advance(verdict.frame, verdict.chain);
    this.#tipAt = at;
    return { ...verdict, payload: message.payload, place: { unit: this.#options.unit, at } };
  }

  /** A reader that takes the frame's word for what stood before it; undefined when the message holds none of this log. */
  #trust(message: LogMessage): LogReader | undefined {
    const decoded = decodeFrame(message.payload);
    if (decoded.kind === "void" || message.chainHeader !== chainOf(message.payload)) return undefined;
    const { frame } = decoded;
    const { region, shard, logId } = this.#options;
    const isOurs = frame.region === region && frame.shard === shard && (logId === "" || frame.logId === logId);
    return isOurs ? this.#readerFrom(tipBefore(frame)) : undefined;
  }

  #readerFrom(tip: ChainTip): LogReader {
    const { region, shard, logId, isStrict } = this.#options;
    return new LogReader({ region, shard, logId, hashOf: chainOf, strict: isStrict, tip });
  }
}
