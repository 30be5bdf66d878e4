/** A store that workers write to under their leases: it accepts a token only if it is not below the highest that it has seen for the key. */
import type { LogOracle } from "./log-oracle.ts";

export class Resource {
  readonly #log: LogOracle;
  readonly #fail: (invariant: string, message: string) => void;
  readonly #cover: (point: string) => void;
  readonly #highest = new Map<string, number>();

  constructor(log: LogOracle, fail: (invariant: string, message: string) => void, cover: (point: string) => void) {
    this.#log = log;
    this.#fail = fail;
    this.#cover = cover;
  }

  /** Answers whether the write took effect. */
  write(fenceKey: string, token: number): boolean {
    const { model } = this.#log;
    const item = model.itemOfToken.get(token);
    const highest = this.#highest.get(fenceKey) ?? 0;
    if (token >= highest) {
      this.#highest.set(fenceKey, token);
      if (item === undefined) this.#fail("F4", `token ${token} of no lease writes to ${fenceKey}`);
      return true;
    }
    this.#cover("zombie_write_refused");
    // F4: the one effective owner is never refused at its own resource.
    if (item?.lease?.token === token)
      this.#fail("F4", `the live lease ${token} is refused at ${fenceKey}, where ${highest} was accepted`);
    return false;
  }
}
