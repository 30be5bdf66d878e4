/** Makes a failing run small: takes away faults, operations and time as long as the same invariant still fails. */
import type { Overrides } from "./choices.ts";
import { runSeed, type SeedResult, type SeedSpec } from "./seed-run.ts";
import { trapped } from "./traps.ts";

export interface Shrunk {
  readonly spec: SeedSpec;
  readonly invariant: string;
  readonly message: string;
  /** Draws that are still made. */
  readonly left: readonly string[];
  readonly runs: number;
}

const RUNS_MAX = 2_000;

export class Shrinker {
  #spec: SeedSpec;
  #result: SeedResult;
  readonly #invariant: string;
  #runs = 0;

  constructor(spec: SeedSpec) {
    this.#spec = spec;
    this.#result = trapped(() => runSeed(spec));
    this.#invariant = this.#result.violations[0]?.invariant ?? "";
  }

  shrink(): Shrunk | undefined {
    const [violation] = this.#result.violations;
    if (violation === undefined) return undefined;
    // Nothing behind the failure matters.
    this.#try({ ...this.#spec, faultMsMax: violation.atMs });
    for (const part of ["switch.", "fault.", "op.", "fault."]) this.#without(part);
    this.#shorten();
    const [last] = this.#result.violations;
    return {
      spec: this.#spec,
      invariant: this.#invariant,
      message: last?.message ?? "",
      left: this.#result.made,
      runs: this.#runs,
    };
  }

  /** Delta debugging: takes away halves, quarters and so on of the draws whose names begin with a text. */
  #without(part: string): void {
    const keysLeft = (): string[] => this.#result.made.filter((key) => key.startsWith(part));
    for (let size = Math.ceil(keysLeft().length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      for (let from = 0; from < keysLeft().length && this.#runs < RUNS_MAX; ) {
        const taken = keysLeft().slice(from, from + size);
        const overrides: Overrides = { ...this.#spec.overrides, ...Object.fromEntries(taken.map((key) => [key, 0])) };
        if (!this.#try({ ...this.#spec, overrides })) from += size;
      }
    }
  }

  #shorten(): void {
    for (let cut = 0.5; cut > 0.01 && this.#runs < RUNS_MAX; cut /= 2)
      this.#try({ ...this.#spec, faultMsMax: (this.#spec.faultMsMax ?? 1e9) * (1 - cut) });
  }

  /** Takes a smaller run if it fails in the same way. */
  #try(spec: SeedSpec): boolean {
    this.#runs += 1;
    const result = trapped(() => runSeed(spec));
    if (result.violations[0]?.invariant !== this.#invariant) return false;
    this.#spec = spec;
    this.#result = result;
    return true;
  }
}
