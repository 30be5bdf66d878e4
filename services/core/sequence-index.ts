/** Entries in the order of their sequence, in chunks of bounded size, so that insert, remove and seek cost the same at any length. */
import assert from "node:assert/strict";
import { CHUNK_LENGTH_MAX, CHUNK_LENGTH_MIN } from "./limits.ts";

interface Sequenced {
  readonly sequence: number;
}

/** Invariant: no chunk is empty or longer than CHUNK_LENGTH_MAX, and sequences rise within and across chunks. */
export class SequenceIndex<Entry extends Sequenced> {
  private readonly chunks: Entry[][] = [];
  private count = 0;

  get size(): number {
    return this.count;
  }

  get chunkCount(): number {
    return this.chunks.length;
  }

  insert(entry: Entry): void {
    this.count += 1;
    const last = this.chunks.at(-1);
    if (last === undefined) {
      this.chunks.push([entry]);
      return;
    }
    if ((last.at(-1) as Entry).sequence < entry.sequence) {
      if (last.length < CHUNK_LENGTH_MAX) last.push(entry);
      else this.chunks.push([entry]);
      return;
    }
    const at = this.chunkOf(entry.sequence);
    const chunk = this.chunks[at] as Entry[];
    chunk.splice(indexIn(chunk, entry.sequence), 0, entry);
    if (chunk.length > CHUNK_LENGTH_MAX) this.chunks.splice(at + 1, 0, chunk.splice(chunk.length >> 1));
  }

  remove(entry: Entry): void {
    const at = this.chunkOf(entry.sequence);
    const chunk = this.chunks[at];
    const index = chunk === undefined ? -1 : indexIn(chunk, entry.sequence);
    assert(chunk !== undefined && chunk[index] === entry, `sequence ${entry.sequence} is not in the index`);
    this.count -= 1;
    if (index === 0 && chunk.length > 1) chunk.shift();
    else chunk.splice(index, 1);
    if (chunk.length === 0) this.chunks.splice(at, 1);
    else if (chunk.length < CHUNK_LENGTH_MIN && !this.merge(at)) this.merge(at - 1);
  }

  /** The entries above a sequence, in order. The index must not change meanwhile. */
  *after(sequence: number): Generator<Entry> {
    let at = this.chunkOf(sequence + 1);
    let index = at < this.chunks.length ? indexIn(this.chunks[at] as Entry[], sequence + 1) : 0;
    for (; at < this.chunks.length; at += 1) {
      const chunk = this.chunks[at] as Entry[];
      for (; index < chunk.length; index += 1) yield chunk[index] as Entry;
      index = 0;
    }
  }

  /** Joins a chunk with the next one when both are short; true when it did. */
  private merge(at: number): boolean {
    const chunk = this.chunks[at];
    const next = this.chunks[at + 1];
    if (chunk === undefined || next === undefined) return false;
    if (chunk.length + next.length > CHUNK_LENGTH_MIN * 2) return false;
    for (const entry of next) chunk.push(entry);
    this.chunks.splice(at + 1, 1);
    return true;
  }

  /** The last chunk that begins at or below a sequence; 0 when none does. */
  private chunkOf(sequence: number): number {
    let low = 0;
    let high = this.chunks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (((this.chunks[middle] as Entry[])[0] as Entry).sequence <= sequence) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : low - 1;
  }
}

/** The first index in a chunk whose sequence is not below the given one. */
function indexIn<Entry extends Sequenced>(chunk: readonly Entry[], sequence: number): number {
  let low = 0;
  let high = chunk.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((chunk[middle] as Entry).sequence < sequence) low = middle + 1;
    else high = middle;
  }
  return low;
}
