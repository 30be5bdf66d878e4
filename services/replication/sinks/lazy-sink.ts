/** A sink whose code is loaded when it is opened: the client libraries of some places are large, and most processes never need them. */
import assert from "node:assert/strict";
import type { Checkpoint } from "../../../contracts/followers.ts";
import type { Sink, SinkBatch, SinkScope } from "../sink.ts";

/** `load` makes the sink; what it throws is thrown by `open`. */
export function lazySink(load: () => Promise<Sink>): Sink {
  return new LazySink(load);
}

class LazySink implements Sink {
  readonly #load: () => Promise<Sink>;
  #sink: Sink | undefined;

  constructor(load: () => Promise<Sink>) {
    this.#load = load;
  }

  async open(scope: SinkScope, checkpoint: Checkpoint | undefined): Promise<Checkpoint | undefined> {
    this.#sink = await this.#load();
    return this.#sink.open(scope, checkpoint);
  }

  apply(batch: SinkBatch, signal: AbortSignal): Promise<void> {
    assert(this.#sink !== undefined, "a sink that is not open is given nothing");
    return this.#sink.apply(batch, signal);
  }

  async seek(to: Checkpoint): Promise<void> {
    await this.#sink?.seek?.(to);
  }

  async close(): Promise<void> {
    await this.#sink?.close();
  }
}
