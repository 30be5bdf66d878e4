/** Named draws: every chance of a run is a pure function of seed, name and index, so that one draw more elsewhere shifts nothing. */

/** A draw that a failing run made and that a smaller run may do without, as `name#index`. */
export type DrawKey = string;
/** Values that replace draws; 0 is always the boring choice. */
export type Overrides = Readonly<Record<DrawKey, number>>;

const SPAN = 2 ** 32;

/** FNV-1a over the UTF-16 units of a text: 32 bits. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash >>> 0;
}

/** Mixes 32 bits well (the finalizer of murmur3). */
function mix(value: number): number {
  let mixed = value | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** The draws of one name, in order. */
export class Draws {
  readonly #salt: number;
  #index = 0;

  constructor(seed: number, name: string) {
    this.#salt = mix(mix(seed ^ 0x9e3779b9) ^ hashText(name));
  }

  /** A number in [0, 1) for an index, whatever was drawn before. */
  at(index: number): number {
    return mix(this.#salt ^ Math.imul(index + 1, 0x9e3779b1)) / SPAN;
  }

  next(): number {
    this.#index += 1;
    return this.at(this.#index);
  }

  /** A number in [low, high). */
  between(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  /** An integer in [0, count). */
  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  chance(probability: number): boolean {
    return this.next() >= 1 - probability;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }
}

/** The chances of one run. Draws by key can be overridden and are remembered, so that a shrinker can take them away one by one. */
export class Choices {
  readonly seed: number;
  /** Keys of the overridable draws that were not boring, in the order in which they were made. */
  readonly made: DrawKey[] = [];
  readonly #overrides: Overrides;
  readonly #names = new Map<string, Draws>();

  constructor(seed: number, overrides: Overrides = {}) {
    this.seed = seed;
    this.#overrides = overrides;
  }

  /** A stream of draws of its own, for what nobody wants to shrink. */
  draws(name: string): Draws {
    return new Draws(this.seed, name);
  }

  /** An overridable draw in [0, 1); below `boring` it counts as none and answers undefined. */
  event(name: string, index: number, probability: number): number | undefined {
    const key = `${name}#${index}`;
    const drawn = this.#overrides[key] ?? this.#of(name).at(index);
    const boring = 1 - probability;
    if (drawn < boring) return undefined;
    this.made.push(key);
    return (drawn - boring) / probability;
  }

  /** A number in [0, 1) that belongs to an index of a name. */
  at(name: string, index: number): number {
    return this.#of(name).at(index);
  }

  /** A switch of the run: overridable, so that a shrinker can turn it off. */
  switch(name: string, probability: number): boolean {
    return this.event(name, 0, probability) !== undefined;
  }

  #of(name: string): Draws {
    const known = this.#names.get(name);
    if (known !== undefined) return known;
    const draws = new Draws(this.seed, name);
    this.#names.set(name, draws);
    return draws;
  }
}
