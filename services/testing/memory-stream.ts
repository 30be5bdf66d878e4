/** A stream in memory that several `MemoryLog`s open, as several processes open one stream. */
import assert from "node:assert/strict";

/** A message as the stream keeps it. */
export interface MemoryMessage {
  readonly streamSequence: number;
  readonly subject: string;
  readonly payload: Uint8Array;
  readonly chainHeader: string;
}

/** What an append may add to a message beside the payload; counted in `bytes` like the server's own envelope. */
const ENVELOPE_BYTES = 64;

export interface MemoryStreamOptions {
  /** Subject of the log. */
  readonly subject?: string;
  /** Bytes that the stream may hold; -1 (default) for no limit. Beyond, publishes are refused, as with `discard: new`. */
  readonly bytesMax?: number;
}

export type MemoryPublish =
  | { readonly kind: "stored"; readonly streamSequence: number }
  | { readonly kind: "wrong_last"; readonly lastSequence: number }
  | { readonly kind: "full" };

/**
 * Invariant: stored messages have ascending sequences; `lastSequence` never decreases, except by `truncateTail`, which is the disaster
 * that it stands for.
 */
export class MemoryStream {
  readonly subject: string;
  readonly bytesMax: number;
  /** Whether the server would say that there is no such stream. */
  isMissing = false;
  readonly #messages = new Map<number, MemoryMessage>();
  readonly #listeners = new Set<() => void>();
  #firstSequence = 1;
  #lastSequence = 0;
  #bytes = 0;

  constructor(options: MemoryStreamOptions = {}) {
    this.subject = options.subject ?? "omnirelay.log.test.test";
    this.bytesMax = options.bytesMax ?? -1;
  }

  /** 0 for a stream that nothing was ever stored in, as the server says it. */
  get firstSequence(): number {
    return this.#lastSequence === 0 ? 0 : this.#firstSequence;
  }
  get lastSequence(): number {
    return this.#lastSequence;
  }
  get messageCount(): number {
    return this.#messages.size;
  }
  get bytes(): number {
    return this.#bytes;
  }

  at(streamSequence: number): MemoryMessage | undefined {
    return this.#messages.get(streamSequence);
  }

  /** All that is stored, in order. */
  messages(): readonly MemoryMessage[] {
    return [...this.#messages.values()].sort((a, b) => a.streamSequence - b.streamSequence);
  }

  /** Stores a message if the last sequence is `expectedLast`; undefined expects nothing, as a stranger's publish does. */
  publish(payload: Uint8Array, chainHeader: string, expectedLast?: number, subject = this.subject): MemoryPublish {
    if (expectedLast !== undefined && expectedLast !== this.#lastSequence)
      return { kind: "wrong_last", lastSequence: this.#lastSequence };
    const bytes = payload.length + ENVELOPE_BYTES;
    if (this.bytesMax !== -1 && this.#bytes + bytes > this.bytesMax) return { kind: "full" };
    const streamSequence = this.#lastSequence + 1;
    this.#lastSequence = streamSequence;
    this.#bytes += bytes;
    this.#messages.set(streamSequence, { streamSequence, subject, payload: payload.slice(), chainHeader });
    for (const listener of this.#listeners) listener();
    return { kind: "stored", streamSequence };
  }

  /** Takes one message out, as corruption or an administrator would: a hole. */
  drop(streamSequence: number): void {
    const message = this.#messages.get(streamSequence);
    assert(message !== undefined, `there is no message ${streamSequence} to drop`);
    this.#messages.delete(streamSequence);
    this.#bytes -= message.payload.length + ENVELOPE_BYTES;
  }

  /** Takes out everything below a sequence, as a trim does. The last sequence stays. */
  trimBelow(streamSequence: number): void {
    for (const message of this.messages())
      if (message.streamSequence < streamSequence) this.drop(message.streamSequence);
    this.#firstSequence = Math.max(this.#firstSequence, streamSequence);
  }

  /** Loses everything behind a sequence, as a power cut of servers without `sync_interval: always` does. */
  truncateTail(lastSequence: number): void {
    for (const message of this.messages()) if (message.streamSequence > lastSequence) this.drop(message.streamSequence);
    this.#lastSequence = Math.min(this.#lastSequence, lastSequence);
  }

  /** Calls after each stored message. */
  onStored(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
