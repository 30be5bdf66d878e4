/** Entries in the order of their sequence, in chunks of bounded size, so that insert, remove and seek cost the same at any length. */
import assert from "node:assert/strict";
import { CHUNK_LENGTH_MAX, CHUNK_LENGTH_MIN } from "./limits.ts";

interface Sequenced {
  readonly sequence: number;
}

/** What was removed at its front stays as a gap up to `from`: the oldest goes first nearly always, and nothing is moved for it. */
interface Chunk<Entry> {
  readonly entries: (Entry | undefined)[];
  from: number;
}

/** Invariant: no chunk is empty or longer than CHUNK_LENGTH_MAX, gap included, and sequences rise within and across chunks. */
export class SequenceIndex<Entry extends Sequenced> {
  private readonly chunks: Chunk<Entry>[] = [];
  private count = 0;

  get size(): number {
    return this.count;
  }

  get chunkCount(): number {
    return this.chunks.length;
  }

  insert(entry: Entry): void {
    this.count += 1;
    const last = this.chunks[this.chunks.length - 1];
    if (last === undefined || (last.entries[last.entries.length - 1] as Entry).sequence < entry.sequence) {
      if (last !== undefined && last.entries.length < CHUNK_LENGTH_MAX) last.entries.push(entry);
      else this.chunks.push({ entries: [entry], from: 0 });
      return;
    }
    const at = this.chunkOf(entry.sequence);
    const chunk = this.chunks[at] as Chunk<Entry>;
    chunk.entries.splice(indexIn(chunk, entry.sequence), 0, entry);
    if (chunk.entries.length > CHUNK_LENGTH_MAX) this.split(at, chunk);
  }

  remove(entry: Entry): void {
    const at = this.chunkOf(entry.sequence);
    const chunk = this.chunks[at];
    const index = chunk === undefined ? -1 : indexIn(chunk, entry.sequence);
    if (chunk === undefined || chunk.entries[index] !== entry)
      assert.fail(`sequence ${entry.sequence} is not in the index`);
    this.count -= 1;
    if (index === chunk.from) {
      chunk.entries[index] = undefined;
      chunk.from += 1;
    } else chunk.entries.splice(index, 1);
    const length = lengthOf(chunk);
    if (length === 0) this.chunks.splice(at, 1);
    else if (length < CHUNK_LENGTH_MIN && !this.merge(at)) this.merge(at - 1);
  }

  /** The entries above a sequence, in order. The index must not change meanwhile. */
  *after(sequence: number): Generator<Entry> {
    let at = this.chunkOf(sequence + 1);
    let index = at < this.chunks.length ? indexIn(this.chunks[at] as Chunk<Entry>, sequence + 1) : 0;
    while (at < this.chunks.length) {
      const { entries } = this.chunks[at] as Chunk<Entry>;
      for (; index < entries.length; index += 1) yield entries[index] as Entry;
      at += 1;
      index = this.chunks[at]?.from ?? 0;
    }
  }

  /** Halves a chunk that has grown too long; one that is long by its gap only loses that. */
  private split(at: number, chunk: Chunk<Entry>): void {
    chunk.entries.splice(0, chunk.from);
    chunk.from = 0;
    if (chunk.entries.length <= CHUNK_LENGTH_MAX) return;
    this.chunks.splice(at + 1, 0, { entries: chunk.entries.splice(chunk.entries.length >> 1), from: 0 });
  }

  /** Joins a chunk with the next one when both are short; true when it did. */
  private merge(at: number): boolean {
    const chunk = this.chunks[at];
    const next = this.chunks[at + 1];
    if (chunk === undefined || next === undefined) return false;
    if (lengthOf(chunk) + lengthOf(next) > CHUNK_LENGTH_MIN * 2) return false;
    chunk.entries.splice(0, chunk.from);
    chunk.from = 0;
    for (let index = next.from; index < next.entries.length; index += 1) chunk.entries.push(next.entries[index]);
    this.chunks.splice(at + 1, 1);
    return true;
  }

  /** The last chunk that begins at or below a sequence; 0 when none does. */
  private chunkOf(sequence: number): number {
    const { chunks } = this;
    let low = 0;
    let high = chunks.length;
    // The oldest goes first nearly always.
    if (high > 1 && firstOf(chunks[1] as Chunk<Entry>) > sequence) return 0;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (firstOf(chunks[middle] as Chunk<Entry>) <= sequence) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : low - 1;
  }
}

const lengthOf = ({ entries, from }: Chunk<unknown>): number => entries.length - from;

const firstOf = <Entry extends Sequenced>({ entries, from }: Chunk<Entry>): number => (entries[from] as Entry).sequence;

/** The first index in a chunk whose sequence is not below the given one. */
function indexIn<Entry extends Sequenced>({ entries, from }: Chunk<Entry>, sequence: number): number {
  let low = from;
  let high = entries.length;
  if (low < high && (entries[low] as Entry).sequence >= sequence) return low;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((entries[middle] as Entry).sequence < sequence) low = middle + 1;
    else high = middle;
  }
  return low;
}
