/** A store that workers write to under their leases: each write is compared with what a fenced resource promises. */
import type { LogOracle } from "./log-oracle.ts";
import { FenceFile } from "./sim-files.ts";

export class Resource {
  readonly #log: LogOracle;
  readonly #fail: (invariant: string, message: string) => void;
  readonly #cover: (point: string) => void;
  readonly #file: FenceFile;
  /** What it must remember, whatever happens to its machine: the highest token of each key, and the effects. */
  readonly #highest = new Map<string, number>();
  readonly #effects = new Set<string>();

  constructor(
    name: string,
    log: LogOracle,
    fail: (invariant: string, message: string) => void,
    cover: (point: string) => void,
  ) {
    this.#file = new FenceFile(name);
    this.#log = log;
    this.#fail = fail;
    this.#cover = cover;
  }

  /** A worker writes under its lease: that it has begun, or the effect of an item. */
  write(fenceKey: string, token: number, effectId = ""): void {
    const item = this.#log.model.itemOfToken.get(token);
    const highest = this.#highest.get(fenceKey) ?? 0;
    const result = this.#file.write(fenceKey, token, effectId);
    if (result === "rejected") {
      this.#cover("zombie_write_refused");
      // F4: the one effective owner is never refused at its own resource.
      if (item?.lease?.token === token)
        this.#fail("F4", `the live lease ${token} is refused at ${fenceKey}, where ${highest} was accepted`);
      return;
    }
    if (item === undefined) this.#fail("F4", `token ${token} of no lease writes to ${fenceKey}`);
    if (token < highest) this.#fail("F4", `token ${token} writes to ${fenceKey} behind ${highest}`);
    this.#highest.set(fenceKey, Math.max(token, highest));
    if (effectId === "") return;
    if ((result === "duplicate") !== this.#effects.has(effectId))
      this.#fail(
        "K2",
        `the effect of ${effectId} is ${result}, and was ${this.#effects.has(effectId) ? "" : "not "}there`,
      );
    if (result === "duplicate") this.#cover("effect_repeated");
    this.#effects.add(effectId);
  }

  /** Its machine loses its power: nothing that was committed may be lost. */
  cut(kept: number): void {
    this.#file.cut(kept);
  }

  /** K1: who completes an item has applied its effect before. */
  completed(itemId: string): void {
    if (!this.#effects.has(itemId)) this.#fail("K1", `item ${itemId} is completed, and its effect was not there`);
  }

  /** The effects of all that is completed are there in the end. */
  check(): void {
    for (const { itemId, status } of this.#log.model.items)
      if (status === "completed" && !this.#file.hasEffect(itemId))
        this.#fail("K1", `item ${itemId} is completed, and its effect is not there any more`);
  }
}
