/** The bytes of one frame while it is put together. Separate because they are used again: a new buffer for each frame costs more than what is written to it. */
import assert from "node:assert/strict";
import { FRAME_BYTES_MAX } from "../../../contracts/limits.ts";

/** Where the events begin: room for the frame's own fields and its actors, which are known last. Bytes. */
const HEAD_BYTES = 4_096;
const BYTES_FIRST = 16 * 1_024;
const SEPARATOR = 0x2c;

/** Invariant: the texts that were added stand from `HEAD_BYTES` to `#end`, with commas between them. */
export class FrameBytes {
  #buffer = Buffer.allocUnsafeSlow(BYTES_FIRST);
  #end = HEAD_BYTES;

  /** Forgets what was added. Whatever `finish` has returned is overwritten from now on. */
  reset(): void {
    this.#end = HEAD_BYTES;
  }

  /** Adds a text behind those before it, and answers the bytes that it takes with its comma. */
  add(text: string): number {
    const bytes = Buffer.byteLength(text) + 1;
    this.#grow(this.#end, bytes);
    if (this.#end > HEAD_BYTES) {
      this.#buffer[this.#end] = SEPARATOR;
      this.#end += 1;
    }
    this.#end += this.#buffer.write(text, this.#end, "utf8");
    return bytes;
  }

  /** Puts `head` before all that was added and `tail` behind it. The bytes stay as they are until `reset`. */
  finish(head: string, tail: string): Uint8Array {
    const headBytes = Buffer.byteLength(head);
    const tailBytes = Buffer.byteLength(tail);
    const moved = Math.max(0, headBytes - HEAD_BYTES);
    this.#grow(this.#end, moved + tailBytes);
    const begin = HEAD_BYTES + moved;
    const end = this.#end + moved;
    if (moved > 0) this.#buffer.copyWithin(begin, HEAD_BYTES, this.#end);
    this.#buffer.write(head, begin - headBytes, "utf8");
    this.#buffer.write(tail, end, "utf8");
    // No Buffer, whose `slice` is no copy: who wants to keep the bytes must be able to.
    const { buffer, byteOffset } = this.#buffer;
    return new Uint8Array(buffer, byteOffset + begin - headBytes, headBytes + end + tailBytes - begin);
  }

  /** Makes sure that so many bytes more fit behind `used`. */
  #grow(used: number, more: number): void {
    if (used + more <= this.#buffer.length) return;
    assert(used + more <= 4 * FRAME_BYTES_MAX, `a frame of ${used + more} bytes`);
    const grown = Buffer.allocUnsafeSlow(2 * (used + more));
    this.#buffer.copy(grown, 0, 0, used);
    this.#buffer = grown;
  }
}
