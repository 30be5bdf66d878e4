/** The frame that takes events until it is sent: fixed log time, actors once, every event encoded exactly once, those of a request together. */
import assert from "node:assert/strict";
import type { Actor, LogEvent } from "../../../contracts/events.ts";
import type { Frame } from "../../../contracts/frame.ts";
import { FRAME_BYTES_AIM, FRAME_BYTES_MAX, FRAME_SCHEMA } from "../../../contracts/limits.ts";
import { chainOf } from "../../runtime/frame-codec.ts";
import { FrameBytes } from "./frame-bytes.ts";
import type { NodeConfig } from "./node-config.ts";
import type { Replica } from "./replica.ts";

/** Room for the frame's own fields. Bytes. */
const HEAD_BYTES = 1_024;

export interface FrameHead {
  readonly logId: string;
  readonly region: string;
  readonly shard: string;
  readonly term: number;
  readonly writer: string;
  readonly append: string;
  readonly first: number;
  readonly at: number;
  readonly prev: string;
}

/** A frame as it is sent: the same bytes however often. */
export interface SealedFrame {
  readonly frame: Frame;
  readonly payload: Uint8Array;
  readonly chain: string;
}

/**
 * Implements the core's EventSink.
 * Invariant: `at` and `first` never change after construction; the first `#encodedCount` events stand in the bytes, and `#bytes` counts them.
 */
export class OpenFrame {
  readonly head: FrameHead;
  readonly events: LogEvent[] = [];
  readonly #actors: Actor[] = [];
  readonly bytes: FrameBytes;
  #encodedCount = 0;
  /** The actor of the request at hand: nearly every event of a request has the same one. */
  #lastActor: Actor | undefined;
  #lastIndex = -1;
  #bytes = HEAD_BYTES;

  /** `bytes`: those of a frame that nobody needs any more. */
  constructor(head: FrameHead, bytes: FrameBytes = new FrameBytes()) {
    this.head = head;
    this.bytes = bytes;
    bytes.reset();
  }

  /** Bytes of events that still fit. */
  get bytesLeft(): number {
    this.#encode();
    return FRAME_BYTES_MAX - HEAD_BYTES - this.#bytes;
  }

  actor(actor: Actor): number {
    if (this.#lastActor !== undefined && isSameActor(this.#lastActor, actor)) return this.#lastIndex;
    let index = actor.requestId === undefined ? this.#actors.findIndex((known) => isSameActor(known, actor)) : -1;
    if (index === -1) {
      index = this.#actors.push(actor) - 1;
      this.#bytes += Buffer.byteLength(JSON.stringify(actor)) + 1;
    }
    this.#lastActor = actor;
    this.#lastIndex = index;
    return index;
  }

  push(event: LogEvent): void {
    this.events.push(event);
  }

  /** Whether a request of so many bytes (its events included) may still be decided into this frame. */
  hasRoomFor(bytes: number): boolean {
    if (this.events.length === 0) return true;
    this.#encode();
    return this.#bytes < FRAME_BYTES_AIM && this.#bytes + bytes <= FRAME_BYTES_MAX;
  }

  /** Encodes what has come since: one call for many events takes half the time of a call for each. */
  #encode(): void {
    const { length } = this.events;
    if (this.#encodedCount === length) return;
    const text = JSON.stringify(this.#encodedCount === 0 ? this.events : this.events.slice(this.#encodedCount));
    this.#bytes += this.bytes.add(text.slice(1, -1));
    this.#encodedCount = length;
  }

  /** Ends the frame; its payload stays as it is until its `bytes` are used again. `pending` and `active` are the counts after its events. */
  seal(pending: number, active: number): SealedFrame {
    const { head } = this;
    const fields = {
      schema: FRAME_SCHEMA,
      ...head,
      count: this.events.length,
      pending,
      active,
      actors: this.#actors,
    } as const;
    const { schema, logId, region, shard, term, writer, append, first, count, at, prev } = fields;
    const start = JSON.stringify({
      schema,
      logId,
      region,
      shard,
      term,
      writer,
      append,
      first,
      count,
      at,
      prev,
      pending,
      active,
      actors: this.#actors,
    });
    this.#encode();
    const payload = this.bytes.finish(`${start.slice(0, -1)},"events":[`, "]}");
    assert(payload.byteLength <= FRAME_BYTES_MAX, `a frame of ${payload.byteLength} bytes`);
    return { frame: { ...fields, events: this.events }, payload, chain: chainOf(payload) };
  }
}

/** The frame with which a candidate claims the next term. Nothing is applied: the claim may lose. */
export function campaignFrame(
  config: NodeConfig,
  { state, reader }: Replica,
  append: string,
  nowMs: number,
): SealedFrame {
  const term = state.term + 1;
  const open = new OpenFrame({
    logId: reader.logId,
    region: config.region,
    shard: config.shard,
    term,
    writer: config.peerId,
    append,
    first: state.sequence + 1,
    at: Math.max(nowMs, state.at),
    prev: reader.tip.chain,
  });
  open.push({ type: "termStarted", term, leader: config.peerId, tokenEpoch: state.tokenEpoch });
  return open.seal(state.pending, state.active);
}

function isSameActor(left: Actor, right: Actor): boolean {
  return (
    left.peerId === right.peerId &&
    left.principal === right.principal &&
    left.requestId === right.requestId &&
    left.digest === right.digest &&
    left.trace === right.trace
  );
}
