/** Adds up the frames of a range: to their digest, and to the proof of one event if that is wanted. Memory grows with the logarithm. */
import assert from "node:assert/strict";
import type { Frame } from "../../../contracts/frame.ts";
import {
  LEDGER_ALGORITHM,
  LEDGER_FORMATS,
  LEDGER_VERSION,
  type LedgerDigest,
  type LedgerProof,
} from "../../../contracts/ledger.ts";
import { MerkleTree } from "../../runtime/merkle.ts";
import { type Place, placeText } from "./problem.ts";

/** Void messages that are named one by one; the others are only counted. */
const VOIDS_NAMED_MAX = 20;

/** A frame that continues the chain. */
export interface LedgerFrame {
  readonly frame: Frame;
  readonly chain: string;
  /** The stored bytes. */
  readonly payload: Uint8Array;
  readonly place: Place;
}

export interface SumOptions {
  /** Event that is to be proven. */
  readonly sequence?: number | undefined;
  /** Frames of an older digest that is to be proven to be the beginning. */
  readonly olderFrames?: number | undefined;
}

export class LedgerSum {
  readonly #options: SumOptions;
  readonly #tree = new MerkleTree();
  readonly #voids: string[] = [];
  #voidCount = 0;
  #emptyCount = 0;
  #first: Frame | undefined;
  #last: Pick<LedgerFrame, "frame" | "chain"> | undefined;
  #found: Pick<LedgerProof, "sequence" | "index" | "payload"> | undefined;
  #older: LedgerDigest | undefined;

  constructor(options: SumOptions = {}) {
    this.#options = options;
  }

  get frames(): number {
    return this.#tree.size;
  }

  add({ frame, chain, payload }: LedgerFrame): void {
    const { sequence, olderFrames } = this.#options;
    const isWanted = sequence !== undefined && frame.first <= sequence && sequence < frame.first + frame.count;
    if (isWanted) this.#found = { sequence, index: this.frames, payload: new TextDecoder().decode(payload) };
    this.#tree.add(payload, isWanted);
    this.#first ??= frame;
    this.#last = { frame, chain };
    if (frame.count === 0) this.#emptyCount += 1;
    if (this.frames !== olderFrames) return;
    this.#older = this.digest();
    this.#tree.markBeginning();
  }

  addVoid(place: Place, reason: string): void {
    this.#voidCount += 1;
    if (this.#voids.length < VOIDS_NAMED_MAX) this.#voids.push(`${placeText(place)}: ${reason}`);
  }

  /** What was added so far. There must be a frame. */
  digest(): LedgerDigest {
    assert(this.#first !== undefined);
    assert(this.#last !== undefined);
    const { frame, chain } = this.#last;
    const { region, shard, logId, first, prev } = this.#first;
    return {
      format: LEDGER_FORMATS.digest,
      schemaVersion: LEDGER_VERSION,
      algorithm: LEDGER_ALGORITHM,
      ...{ region, shard, logId },
      firstSequence: first,
      lastSequence: frame.first + frame.count - 1,
      frames: this.frames,
      at: frame.at,
      chainBefore: prev,
      chainAfter: chain,
      root: this.#tree.root(),
    };
  }

  /** The frame that holds the wanted event, with its path to the root; undefined when the event is not in the range. */
  proof(): Pick<LedgerProof, "sequence" | "index" | "payload" | "path"> | undefined {
    return this.#found === undefined ? undefined : { ...this.#found, path: [...this.#tree.path()] };
  }

  /** The digest of the first `olderFrames` frames, with the path that shows them to be the beginning; undefined when there are fewer. */
  beginning(): { readonly digest: LedgerDigest; readonly path: string[] } | undefined {
    return this.#older === undefined ? undefined : { digest: this.#older, path: [...this.#tree.path()] };
  }

  /** What a digest does not hold. */
  counts() {
    return { emptyFrames: this.#emptyCount, voids: { count: this.#voidCount, first: this.#voids } };
  }
}
