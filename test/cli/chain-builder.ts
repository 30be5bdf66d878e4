/** Builds the stored messages of a log by hand, so that each way in which a log can be wrong can be made on purpose. */
import type { LogEvent } from "../../contracts/events.ts";
import type { Frame } from "../../contracts/frame.ts";
import { SHARD_OPTIONS_DEFAULT } from "../../contracts/options.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import { logSubject } from "../../contracts/subjects.ts";
import { itemIdOf } from "../../services/core/state.ts";
import { chainOf, encodeFrame } from "../../services/runtime/frame-codec.ts";

const LOG_ID = "log1";

export class ChainBuilder {
  readonly messages: LogMessage[] = [];
  #chain = "";
  #sequence = 0;
  #term = 0;
  #pending = 0;
  #at = 1_000;

  /** `logCreated` and the first term. */
  begin(): this {
    this.frame([{ type: "logCreated", logId: LOG_ID, logVersion: 1, options: SHARD_OPTIONS_DEFAULT, tokenEpoch: 0 }]);
    return this.term();
  }

  term(): this {
    this.#term += 1;
    return this.frame([{ type: "termStarted", term: this.#term, leader: `dispatcher--${this.#term}`, tokenEpoch: 0 }]);
  }

  /** One frame that enqueues `count` items. */
  enqueue(count: number, change: Partial<Frame> = {}): this {
    this.#pending += count;
    const events = Array.from({ length: count }, (_, index): LogEvent => {
      const itemId = itemIdOf(0, this.#sequence + index + 1);
      return { type: "enqueued", actor: 0, itemId, item: { resourceType: "t", resourceId: `r${index}` } };
    });
    return this.frame(events, change);
  }

  /** A frame that continues the chain, but for what `change` says. */
  frame(events: readonly LogEvent[], change: Partial<Frame> = {}): this {
    this.#at += 10;
    const frame: Frame = {
      schema: 1,
      logId: LOG_ID,
      region: "local",
      shard: "default",
      term: this.#term,
      writer: "dispatcher--1",
      append: `a${this.messages.length}`,
      first: this.#sequence + 1,
      count: events.length,
      at: this.#at,
      prev: this.#chain,
      pending: this.#pending,
      active: 0,
      actors: [{ principal: "me", peerId: "me" }],
      events: [...events],
      ...change,
    };
    const payload = encodeFrame(frame);
    this.#chain = chainOf(payload);
    this.#sequence += events.length;
    return this.stored(payload, this.#chain);
  }

  /** Any message, as it is. */
  stored(payload: Uint8Array, chainHeader: string, subject: string = logSubject("local", "default")): this {
    this.messages.push({ streamSequence: this.messages.length + 1, subject, payload, chainHeader, pending: -1 });
    return this;
  }
}
