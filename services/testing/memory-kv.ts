/** A bucket and a data folder in memory: they pass for the ports `Kv` and `Store` in tests and in the simulator. */
import type { Clock, Kv, KvEntry, KvOutcome, Store } from "../../contracts/ports.ts";

/** Shared by all who open it. Revisions count over the whole bucket, as they do on JetStream. */
export class MemoryKv implements Kv {
  readonly #clock: Clock;
  readonly #entries = new Map<string, KvEntry>();
  #revision = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get(key: string, callback: (outcome: KvOutcome<KvEntry | undefined>) => void): void {
    this.#clock.defer(() => callback({ kind: "ok", value: this.#entries.get(key) }));
  }

  put(key: string, value: Uint8Array, revision: number, callback: (outcome: KvOutcome<number>) => void): void {
    this.#clock.defer(() => {
      if ((this.#entries.get(key)?.revision ?? 0) !== revision) return callback({ kind: "conflict" });
      this.#revision += 1;
      this.#entries.set(key, { value, revision: this.#revision });
      callback({ kind: "ok", value: this.#revision });
    });
  }
}

/** A data folder that outlives its node, as a disk would. */
export class MemoryStore implements Store {
  readonly #values = new Map<string, string>();

  get(key: string): string | undefined {
    return this.#values.get(key);
  }

  put(key: string, value: string): void {
    this.#values.set(key, value);
  }
}
