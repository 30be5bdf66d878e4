/** Watches one shard's log from its first message: folds it strictly, asks the naive model about each event, and keeps true times. */

import type { NaiveWorld } from "../../chaos/checker/naive-item.ts";
import { NaiveModel } from "../../chaos/checker/naive-model.ts";
import type { Frame } from "../../contracts/frame.ts";
import { LOG_VERSION_TERMS } from "../../contracts/limits.ts";
import { applyProblem } from "../../services/core/log-fold.ts";
import { LogReader } from "../../services/core/log-reader.ts";
import { createState } from "../../services/core/state.ts";
import { chainOf } from "../../services/runtime/frame-codec.ts";
import { DrainOracle } from "./drain-oracle.ts";
import { EndsOracle } from "./ends-oracle.ts";
import { FlowOracle } from "./flow-oracle.ts";
import { ScheduleOracle } from "./schedule-oracle.ts";
import { ShareOracle } from "./share-oracle.ts";
import type { StoredMessage } from "./sim-stream.ts";
import { TimeOracle } from "./time-oracle.ts";

/** The fastest clock of a leader against true time, with room for rounding. */
const CLOCK_SLACK = 1.0105;
const ROUNDING_MS = 2;
/** An expiry that comes later than this has been held back on purpose. */
const HELD_BACK_MS = 1_500;
/** Part of a lease behind which a beat surely renews it. */
const RENEWING_SHARE = 0.7;

interface LeaseTime {
  /** True time from which on it must last its whole length. */
  startMs: number;
  durationMs: number;
  /** Length of the grant, and of every renewal that names no other. ms. */
  grantMs: number;
  /** Sequence of grant or last renewal. */
  sequence: number;
  /** True time until which its worker was told that it is valid. */
  promisedMs: number;
  /** When the last beat that was answered well had reached its leader; 0 for none. ms. */
  beatenMs: number;
}

export interface LogOracleOptions extends Omit<NaiveWorld, "moved"> {
  readonly region: string;
  readonly shard: string;
  readonly logId: string;
  readonly isStrict: boolean;
  /** Whether the stream has a limit. */
  readonly isBounded: boolean;
  readonly nowMs: () => number;
  readonly cover: (point: string) => void;
  readonly onCompleted: (itemId: string) => void;
}

export class LogOracle {
  readonly model: NaiveModel;
  readonly state = createState();
  readonly reader: LogReader;
  voids = 0;
  /** By sequence: counts behind the event, and the term of its frame. */
  readonly pending: number[] = [0];
  readonly active: number[] = [0];
  readonly deadLettered: number[] = [0];
  readonly removed: number[] = [0];
  readonly terms: number[] = [0];
  /** By sequence: log time from which on backpressure lets go unless something happens. ms. */
  readonly easesAt: number[] = [0];
  /** By sequence: true time of the commit. */
  readonly committedMs: number[] = [0];
  /** Stream sequence and chain of each frame, by its chain. */
  readonly places = new Map<string, number>();
  readonly frames: Frame[] = [];
  readonly chains: string[] = [];
  /** True time of the last change of each follower's registration. */
  readonly followersSinceMs = new Map<string, number>();
  /** True time from which on the log holds what state version 2 brings. ms. */
  raisedMs = Number.POSITIVE_INFINITY;
  readonly #options: LogOracleOptions;
  readonly #times: TimeOracle;
  readonly #shares: ShareOracle;
  readonly #ends: EndsOracle;
  readonly #flows: FlowOracle;
  readonly #drains: DrainOracle;
  readonly #schedules: ScheduleOracle;
  /** The frame that is being taken. */
  #frame: Frame | undefined;
  readonly #sentMs = new Map<string, number>();
  readonly #leases = new Map<number, LeaseTime>();
  /** Stream sequence of the last message that was committed. */
  #lastStored = 0;
  #successor: string | undefined;
  readonly #expired = new Map<number, { readonly ms: number; readonly sequence: number; readonly isOfAge: boolean }>();

  constructor(options: LogOracleOptions) {
    this.#options = options;
    this.model = new NaiveModel({ ...options, moved: () => this.#moved() });
    this.#times = new TimeOracle(this.model, options.fail, options.cover);
    this.#shares = new ShareOracle(this.model, options.cover);
    this.#ends = new EndsOracle(this.model, options.fail, options.cover);
    this.#flows = new FlowOracle(this.model, options.fail, options.cover);
    this.#drains = new DrainOracle(this.model, options.cover);
    this.#schedules = new ScheduleOracle(this.model, options.isBounded, options.fail, options.cover);
    const { region, shard, logId, isStrict: strict } = options;
    this.reader = new LogReader({ region, shard, logId, hashOf: chainOf, strict });
  }

  get sequence(): number {
    return this.model.sequence;
  }

  /** The sequence that the log had reached at a moment of true time. */
  sequenceAt(timeMs: number): number {
    let low = 0;
    let high = this.committedMs.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.committedMs[middle] as number) <= timeMs) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** A frame leaves its leader. */
  sending(chain: string): void {
    if (!this.#sentMs.has(chain)) this.#sentMs.set(chain, this.#options.nowMs());
  }

  committed(message: StoredMessage): void {
    const { fail } = this.#options;
    this.#mustGoOn(message.streamSequence);
    const verdict = this.reader.classify({ ...message, pending: 0 });
    if (verdict.kind === "halt") {
      fail("L4", `${verdict.code}: ${verdict.message}`);
      return;
    }
    if (verdict.kind === "void") {
      this.voids += 1;
      return;
    }
    const { frame, chain } = verdict;
    if (frame.count === 0 && frame.term !== this.model.term) fail("L6", `an empty frame of term ${frame.term}`);
    this.#frame = frame;
    this.model.take(frame);
    this.#times.wrote(frame);
    this.#flows.wrote(frame);
    this.#schedules.wrote(frame);
    const problem = applyProblem(this.state, frame);
    if (problem !== undefined) {
      fail(problem.code === "state_diverged" ? "S1" : "L4", problem.message);
      return;
    }
    this.reader.advance(frame, chain);
    this.frames.push(frame);
    this.chains.push(chain);
    this.places.set(chain, message.streamSequence);
    this.#remember(frame, chain);
  }

  #moved(): void {
    const frame = this.#frame;
    const event = frame?.events[this.model.sequence - frame.first];
    if (event === undefined) return;
    if (this.model.logVersion >= LOG_VERSION_TERMS) this.raisedMs = Math.min(this.raisedMs, this.#options.nowMs());
    const { model } = this;
    this.pending[model.sequence] = model.count("pending");
    this.active[model.sequence] = model.count("leased");
    this.deadLettered[model.sequence] = model.count("deadLettered");
    this.removed[model.sequence] = model.count("cancelled") + model.count("purged") + model.count("discarded");
    this.easesAt[model.sequence] = model.pressure.easesAt;
    this.#coverPressure(model.sequence);
    this.#times.happened(event);
    this.#shares.happened(event);
    this.#ends.happened(event);
    this.#flows.happened(event);
    this.#drains.happened(event);
    this.#schedules.happened(event);
  }

  #coverPressure(sequence: number): void {
    const [before = 0, now = 0] = [this.easesAt[sequence - 1], this.easesAt[sequence]];
    if (before === 0 && now > 0) this.#options.cover("pressed");
    if (before > 0 && now === 0) this.#options.cover(Number.isFinite(before) ? "eased_by_time" : "eased_at_once");
  }

  /** L3: the stream ends where it was seen to end. */
  ends(lastSequence: number): void {
    if (lastSequence !== this.#lastStored)
      this.#options.fail("L3", `the stream ends at ${lastSequence}, and ${this.#lastStored} was committed`);
  }

  /** L2, L3: what was committed is never replaced. */
  #mustGoOn(streamSequence: number): void {
    if (streamSequence !== this.#lastStored + 1)
      this.#options.fail("L3", `stream sequence ${streamSequence} is written behind ${this.#lastStored}`);
    this.#lastStored = streamSequence;
  }

  /** A worker was told that its lease is valid until a moment of true time, by an answer as of `sequence`. */
  promised(token: number, untilMs: number, sequence: number): void {
    const lease = this.#leases.get(token);
    if (lease !== undefined && sequence >= lease.sequence) lease.promisedMs = Math.max(lease.promisedMs, untilMs);
    const expired = this.#expired.get(token);
    if (expired !== undefined && sequence < expired.sequence && sequence >= (lease?.sequence ?? 0))
      this.#checkPromise(token, expired.ms, untilMs);
  }

  /** A beat that had reached the leader then was answered well, as of `sequence`. */
  beaten(token: number, routedMs: number, sequence: number): void {
    const lease = this.#leases.get(token);
    if (lease === undefined || sequence < lease.sequence) return;
    lease.beatenMs = Math.max(lease.beatenMs, routedMs);
    if (this.#expired.get(token)?.isOfAge === false) this.#checkBeat(token, lease);
  }

  /** Earliest true time at which the present leader may let a lease run out that has ended; undefined for an unknown one. ms. */
  dueMs(token: number): number | undefined {
    const lease = this.#leases.get(token);
    return lease === undefined ? undefined : lease.startMs + (lease.durationMs - ROUNDING_MS) / CLOCK_SLACK;
  }

  #remember(frame: Frame, chain: string): void {
    const nowMs = this.#options.nowMs();
    const sentMs = this.#sentMs.get(chain) ?? nowMs;
    for (const [index, event] of frame.events.entries()) {
      const sequence = frame.first + index;
      this.terms[sequence] = frame.term;
      this.committedMs[sequence] = nowMs;
      if (event.type === "leased") {
        const token = this.model.tokenEpoch * 2 ** 40 + sequence;
        const durationMs = event.expiresAt - frame.at;
        const times = { promisedMs: 0, beatenMs: 0 };
        this.#leases.set(token, { startMs: nowMs, durationMs, grantMs: durationMs, sequence, ...times });
      } else if (event.type === "renewed")
        for (const { token, durationMs } of event.leases) {
          const grantMs = this.#leases.get(token)?.grantMs ?? durationMs;
          this.#leases.set(token, { startMs: nowMs, durationMs, grantMs, sequence, promisedMs: 0, beatenMs: 0 });
        }
      else if (event.type === "termStarted") {
        if (event.leader === this.#successor) this.#options.cover("handover_to_named");
        for (const [token, lease] of this.#leases) if (!this.model.ends.has(token)) lease.startMs = nowMs;
      } else if (event.type === "configured")
        for (const name of Object.keys(event.followers ?? {})) this.followersSinceMs.set(name, nowMs);
      else if (event.type === "completed") this.#options.onCompleted(event.itemId);
      else if (event.type === "termReleased") this.#successor = event.successor;
      else if (event.type === "expired") this.#expiredAt(event.token, sentMs, sequence, event.reason === "age");
    }
  }

  /** F6: the whole length has passed since grant, renewal or takeover stood in the log, on any clock that a leader may have. */
  #expiredAt(token: number, sentMs: number, sequence: number, isOfAge: boolean): void {
    const lease = this.#leases.get(token);
    if (lease === undefined) return;
    const ranMs = sentMs - lease.startMs;
    if (ranMs * CLOCK_SLACK + ROUNDING_MS < lease.durationMs)
      this.#options.fail("F6", `lease ${token} of ${lease.durationMs} ms expired after ${ranMs} ms`);
    if (ranMs > lease.durationMs + HELD_BACK_MS) this.#options.cover("expiry_held_back");
    this.#checkPromise(token, sentMs, lease.promisedMs);
    this.#expired.set(token, { ms: sentMs, sequence, isOfAge });
    if (!isOfAge) this.#checkBeat(token, lease);
  }

  /**
   * A beat renews once a third of the lease has run, by a log time that may go at half speed: then the lease must not have run out. To the length
   * of the grant: of a lease that was extended beyond it there may be more left.
   */
  #checkBeat(token: number, { beatenMs, startMs, durationMs, grantMs }: LeaseTime): void {
    if (durationMs > grantMs) return;
    const isInTime = beatenMs > startMs + durationMs * RENEWING_SHARE && beatenMs < (this.dueMs(token) ?? 0);
    if (isInTime) this.#options.fail("F6", `lease ${token} ran out although a beat at ${beatenMs} was answered well`);
  }

  #checkPromise(token: number, expiredMs: number, promisedMs: number): void {
    if (expiredMs < promisedMs - 1)
      this.#options.fail("F6", `lease ${token} expired at ${expiredMs}, its worker was told ${promisedMs}`);
  }
}
