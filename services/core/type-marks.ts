/** Names that are marked and unmarked again and again. */

/** Names that are remembered at least, marked or not; twice the marked ones when those are more. */
const NAMES_MAX = 10_000;

/** A set that forgets a name only when it has seen many: adding to and deleting from a set makes it a new table every few times. */
export class TypeMarks implements Iterable<string> {
  #marks = new Map<string, boolean>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(name: string): void {
    if (this.#marks.get(name) === true) return;
    if (this.#marks.size >= Math.max(NAMES_MAX, 2 * this.#size))
      this.#marks = new Map([...this.#marks].filter(([, isMarked]) => isMarked));
    this.#marks.set(name, true);
    this.#size += 1;
  }

  delete(name: string): void {
    if (this.#marks.get(name) !== true) return;
    this.#marks.set(name, false);
    this.#size -= 1;
  }

  clear(): void {
    if (this.#size > 0) for (const name of this) this.delete(name);
  }

  /** Marked names, also those that are marked meanwhile. */
  *[Symbol.iterator](): IterableIterator<string> {
    if (this.#size === 0) return;
    for (const [name, isMarked] of this.#marks) if (isMarked) yield name;
  }
}
