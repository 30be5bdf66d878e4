/**
 * What is under way, by a token that goes with it. Its places are used again: a map that many come to and go from leaves tables behind that keep
 * each other, and all that ever stood in them, until the whole heap is collected.
 */

interface Seated<Value> {
  readonly value: Value;
  readonly token: string;
}

/** Tokens are unique and have no dot: each is one token of a subject. */
export class Seats<Value> {
  readonly #seats: (Seated<Value> | undefined)[] = [];
  readonly #free: number[] = [];
  #serial = 0;

  get size(): number {
    return this.#seats.length - this.#free.length;
  }

  /** Returns the token by which the value is found again. */
  add(value: Value): string {
    const seat = this.#free.pop() ?? this.#seats.length;
    this.#serial += 1;
    const token = `${seat}-${this.#serial}`;
    this.#seats[seat] = { value, token };
    return token;
  }

  /** Undefined for a token that is not, or no longer, one of ours. */
  get(token: string): Value | undefined {
    const seated = this.#seats[Number.parseInt(token, 10)];
    return seated?.token === token ? seated.value : undefined;
  }

  /** What `get` says, and forgets it. */
  take(token: string): Value | undefined {
    const value = this.get(token);
    if (value === undefined) return undefined;
    const seat = Number.parseInt(token, 10);
    this.#seats[seat] = undefined;
    this.#free.push(seat);
    return value;
  }

  /** Those that are there now, with their tokens. */
  entries(): readonly (readonly [string, Value])[] {
    return this.#seats.flatMap((seated) => (seated === undefined ? [] : [[seated.token, seated.value] as const]));
  }

  values(): readonly Value[] {
    return this.#seats.flatMap((seated) => (seated === undefined ? [] : [seated.value]));
  }
}
