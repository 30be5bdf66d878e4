/** A leader in memory: the production core behind a made-up clock and log, for histories that are valid by construction. */

import type { LogRecord } from "../../chaos/operations.ts";
import type { ShardCommand } from "../../contracts/commands.ts";
import { CHAIN_START } from "../../contracts/frame.ts";
import type { ShardOptions } from "../../contracts/options.ts";
import { CHAIN_HEADER, EXPECTED_SEQUENCE_HEADER, logSubject } from "../../contracts/subjects.ts";
import { execute } from "../../services/core/execute.ts";
import { stateHash } from "../../services/core/hash.ts";
import type { Outcome } from "../../services/core/outcome.ts";
import { writeTicks } from "../../services/core/schedule-ticks.ts";
import { createState } from "../../services/core/state.ts";
import { buryLapsed, createLog, expire, releaseTerm, startTerm, writeStateHash } from "../../services/core/term.ts";
import { OpenFrame } from "../../services/dispatcher/node/open-frame.ts";
import { nextTick } from "../../services/runtime/cron.ts";

export const REGION = "local";
export const SHARD = "default";
const LOG_ID = "log1";
/** Log time at the beginning. ms. */
const START_AT = 1_700_000_000_000;

/** Invariant: `log` holds every frame that was sealed; the state is that of the open frame. */
export class HistoryLeader {
  readonly state = createState();
  readonly log: LogRecord[] = [];
  /** By token: when the lease runs out on the leader's clock. ms. */
  readonly deadlines = new Map<number, number>();
  #open: OpenFrame | undefined;
  #chain = CHAIN_START;
  #frames = 0;
  #writer = "d1";
  #term = 0;

  constructor(options: ShardOptions) {
    createLog(this.state, { logId: LOG_ID, options, tokenEpoch: 0 }, { at: START_AT }, this.#frame(0));
    this.seal(0);
    this.lead("d1", 0);
  }

  /** A term begins; every lease lasts anew. */
  lead(peerId: string, nowMs: number): void {
    this.#writer = peerId;
    this.#term += 1;
    const open = this.#frame(nowMs);
    startTerm(this.state, { term: this.#term, leader: peerId, tokenEpoch: 0 }, { at: open.head.at }, open);
    this.seal(nowMs);
    for (const { lease } of this.state.leased)
      if (lease !== undefined) this.deadlines.set(lease.token, nowMs + lease.expiresAt - lease.renewedAt);
  }

  release(nowMs: number): void {
    const open = this.#frame(nowMs);
    releaseTerm(this.state, {}, { at: open.head.at }, open);
    this.seal(nowMs);
  }

  decide(command: ShardCommand, principal: string, peerId: string, nowMs: number): Outcome {
    const open = this.#frame(nowMs);
    const context = { at: open.head.at, principal, peerId, region: REGION, shard: SHARD, nextTick };
    return execute(this.state, command, context, open);
  }

  /** Ends every lease whose time is over. */
  expireDue(nowMs: number): void {
    const due = this.state.leased.filter(({ lease }) => (this.deadlines.get(lease?.token ?? 0) ?? 0) <= nowMs);
    for (const { itemId, lease } of due) {
      const open = this.#frame(nowMs);
      expire(this.state, itemId, lease?.token ?? 0, "duration", { at: open.head.at }, open);
    }
  }

  /** What log time brings about: items whose time is over, and those of schedules. */
  turn(nowMs: number): void {
    const open = this.#frame(nowMs);
    buryLapsed(this.state, open.head, open.bytesLeft, open);
    writeTicks(this.state, open.head.at, open.bytesLeft, nextTick, open);
  }

  markState(nowMs: number): void {
    const open = this.#frame(nowMs);
    writeStateHash(this.state, { at: open.head.at }, open);
  }

  /** The open frame is in the log. */
  seal(nowMs: number): void {
    const { frame, payload, chain } = this.#frame(nowMs).seal(this.state.pending, this.state.active);
    this.#open = undefined;
    this.#chain = chain;
    this.#store(new TextDecoder().decode(payload), { [CHAIN_HEADER]: chain });
    for (const [index, event] of frame.events.entries()) {
      if (event.type === "leased") this.deadlines.set(frame.first + index, nowMs + event.durationMs);
      if (event.type === "renewed")
        for (const { token, durationMs } of event.leases) this.deadlines.set(token, nowMs + durationMs);
    }
  }

  /** Something that is no frame lies in the stream. */
  storeStranger(text: string): void {
    this.#store(text, {});
  }

  hash(): { readonly sequence: number; readonly stateHash: string } {
    return { sequence: this.state.sequence, stateHash: stateHash(this.state) };
  }

  #store(payload: string, headers: Record<string, string>): void {
    const last = this.log.length;
    const subject = logSubject(REGION, SHARD);
    const expected = { [EXPECTED_SEQUENCE_HEADER]: String(last) };
    this.log.push({ streamSequence: last + 1, subject, headers: { ...headers, ...expected }, payload });
  }

  #frame(nowMs: number): OpenFrame {
    if (this.#open !== undefined) return this.#open;
    this.#frames += 1;
    this.#open = new OpenFrame({
      ...{ logId: LOG_ID, region: REGION, shard: SHARD, term: this.#term, writer: this.#writer },
      append: `a-${this.#frames}`,
      first: this.state.sequence + 1,
      at: Math.max(START_AT + Math.floor(nowMs), this.state.at),
      prev: this.#chain,
    });
    return this.#open;
  }
}
