/** One dispatcher's part in one shard: follows the log, campaigns when nobody leads, leads while its frames are accepted. */
import assert from "node:assert/strict";
import type { Frame } from "../../../contracts/frame.ts";
import type {
  Clock,
  Closable,
  Ids,
  Kv,
  Log,
  LogInfo,
  Net,
  Reporter,
  Store,
  TimerHandle,
} from "../../../contracts/ports.ts";
import { beatSubject, registryKey } from "../../../contracts/subjects.ts";
import { applyFrame } from "../../core/apply.ts";
import type { Halt } from "../../core/log-reader.ts";
import { Appender, type AppendResult } from "./appender.ts";
import { type BeatView, decodeBeat, encodeBeat } from "./beats.ts";
import { Identity } from "./identity.ts";
import { LeaderTerm, type TermEnd } from "./leader-term.ts";
import { LogTime } from "./log-time.ts";
import type { NodeConfig } from "./node-config.ts";
import { campaignFrame, type SealedFrame } from "./open-frame.ts";
import { Patience, type Precedence } from "./patience.ts";
import { Replica } from "./replica.ts";
import { RpcEndpoint } from "./rpc-endpoint.ts";

/** How often a leader compares log time with the server's clock. ms. */
const TIME_CHECK_MS = 30_000;
const SHOWN_SAVE_MS = 10_000;

export interface NodePorts {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  /** Bucket of the shard registry. */
  readonly kv: Kv;
  /** Carries requests and answers only; its user may not publish to the log. */
  readonly rpc: Net;
  /** Carries beats and pings. */
  readonly gossip: Net;
  readonly store: Store;
  readonly precedence: Precedence;
  readonly reporter: Reporter;
}

/**
 * `following`: reads the log; campaigns when the leader is silent. Left by campaigning, halting, stopping.
 * `campaigning`: its `termStarted` is under way; follows nothing. `leading`: a term runs; requests are served.
 * `halted`: the log is not what it must be; only a restart leaves it. `stopped`: final.
 */
export type NodeMode = "starting" | "following" | "campaigning" | "leading" | "halted" | "stopped";

export interface NodeStatus {
  readonly mode: NodeMode;
  readonly region: string;
  readonly shard: string;
  readonly logId: string;
  readonly term: number;
  readonly leader: string;
  readonly sequence: number;
  readonly streamSequence: number;
  readonly chain: string;
  readonly voids: number;
  readonly unackedMs: number;
  readonly halt: Halt | undefined;
}

/** Callback-driven; everything outside comes through its ports, so that a simulator runs the same code. */
export class ShardNode {
  readonly endpoint: RpcEndpoint;
  readonly #config: NodeConfig;
  readonly #ports: NodePorts;
  readonly #replica: Replica;
  readonly #identity: Identity;
  readonly #patience: Patience;
  #mode: NodeMode = "starting";
  #term: LeaderTerm | undefined;
  #appender: Appender | undefined;
  #logTime: LogTime | undefined;
  #halt: Halt | undefined;
  #tickTimer: TimerHandle | undefined;
  #rpc: Closable | undefined;
  readonly #subscriptions: Closable[] = [];
  #lastBeatMs = 0;
  #lastTimeCheckMs = 0;
  #onStopped: (() => void) | undefined;

  constructor(config: NodeConfig, ports: NodePorts) {
    assert(config.suspectMs >= config.beatMs * 2, "suspectMs must be at least two beats");
    this.#config = config;
    this.#ports = ports;
    this.#identity = new Identity(config, ports.store);
    this.#patience = new Patience({ config, ...ports });
    this.#replica = new Replica({
      config,
      log: ports.log,
      clock: ports.clock,
      reporter: ports.reporter,
      onFrame: (frame) => this.#followed(frame),
      onHalt: (halt) => this.#haltWith(halt),
    });
    this.endpoint = new RpcEndpoint({
      config,
      clock: ports.clock,
      ids: ports.ids,
      net: ports.rpc,
      reporter: ports.reporter,
    });
  }

  start(): void {
    const { gossip } = this.#ports;
    const refused = this.#identity.check();
    if (refused !== undefined) {
      this.#haltWith(refused);
      return;
    }
    this.#subscriptions.push(
      gossip.subscribe(beatSubject(this.#config.region, this.#config.shard), (message) => {
        const beat = decodeBeat(message.payload);
        if (beat !== undefined) this.#heard(beat);
      }),
    );
    this.#replica.open();
    this.#tickLater();
    this.#catchUp();
  }

  /** Hands the shard over in order and stops; calls back when nothing of ours is under way any more. */
  stop(onStopped: () => void): void {
    this.#onStopped = onStopped;
    if (this.#term === undefined) this.#stopped();
    else {
      this.#stopServing();
      this.#term.release();
    }
  }

  /** Lets go of the shard for a successor, and follows. Without effect unless it leads. */
  handOver(successor: string): void {
    if (this.#mode !== "leading") return;
    this.#stopServing();
    this.#term?.release(successor);
  }

  /** Stops at once, whatever is under way: its outcome stays unknown to its callers. */
  abandon(): void {
    this.#mode = "stopped";
    this.#term?.abandon();
    this.#stopped();
  }

  status(): NodeStatus {
    const { state, reader } = this.#replica;
    return {
      mode: this.#mode,
      region: this.#config.region,
      shard: this.#config.shard,
      logId: this.#config.logId,
      term: state.term,
      leader: state.leader,
      sequence: state.sequence,
      streamSequence: this.#appender?.lastSequence ?? this.#replica.streamSequence,
      chain: reader.tip.chain,
      voids: this.#replica.voids + (this.#appender?.counts.voids ?? 0),
      unackedMs: this.#term?.unackedMs() ?? 0,
      halt: this.#halt,
    };
  }

  // ── following ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Learns where the log ends; until that is read nobody campaigns. */
  #catchUp(): void {
    this.#ports.log.info(this.#config.ackTimeoutMs, (outcome) => {
      if (this.#mode !== "starting") return;
      const last = outcome.kind === "info" ? outcome.info.lastSequence : Number.POSITIVE_INFINITY;
      const halt =
        outcome.kind === "failed" ? undefined : this.#identity.problemOf(outcome, this.#now(), this.#config.confirmMs);
      if (halt !== undefined) return this.#haltWith(halt);
      if (last >= this.#identity.shownSequence && this.#replica.streamSequence >= last) this.#caughtUp();
      else this.#after(this.#config.tickMs, () => this.#catchUp());
    });
  }

  #caughtUp(): void {
    this.#mode = "following";
    const { state } = this.#replica;
    this.#ports.reporter.info("caught_up", { term: state.term, leader: state.leader, sequence: state.sequence });
    // Nobody leads, or the log says that we did before a restart: no need to wait for a silence.
    if (state.leader === "" || state.leader === this.#config.peerId) this.#patience.end();
    else this.#patience.renew();
  }

  #followed(frame: Frame): void {
    if (this.#mode !== "following") return;
    const last = frame.events.at(-1);
    if (last?.type === "termReleased") this.#patience.released(last);
    else if (frame.writer !== this.#config.peerId) this.#patience.renew();
  }

  #heard(beat: BeatView): void {
    const { state } = this.#replica;
    if (beat.logId !== this.#config.logId) {
      this.#ports.reporter.error("foreign_beat", { leader: beat.leader, logId: beat.logId });
      return;
    }
    if (beat.leader === this.#config.peerId) return;
    this.#identity.heard(beat.streamSequence);
    if (this.#mode === "following" && beat.term === state.term) this.#replica.leaderIsAt(beat.streamSequence);
    if (this.#mode === "leading" && beat.term > state.term) this.#term?.confirm();
    else if (this.#mode === "following" && beat.term >= state.term) this.#patience.renew();
  }

  // ── campaigning ──────────────────────────────────────────────────────────────────────────────────────────────────

  #campaign(): void {
    this.#ports.log.info(this.#config.ackTimeoutMs, (outcome) => {
      if (this.#mode !== "following") return;
      const halt =
        outcome.kind === "failed" ? undefined : this.#identity.problemOf(outcome, this.#now(), this.#config.confirmMs);
      if (halt !== undefined) return this.#haltWith(halt);
      if (outcome.kind !== "info" || outcome.info.lastSequence !== this.#replica.streamSequence)
        this.#patience.endIn(this.#config.tickMs);
      else this.#stand(outcome.info);
    });
  }

  /** Appends `termStarted` behind what we have read: success proves that we are current, and fences the leader before. */
  #stand(info: LogInfo): void {
    const { clock, ids, log, reporter } = this.#ports;
    const { state, reader, streamSequence } = this.#replica;
    this.#mode = "campaigning";
    this.#replica.close();
    this.#logTime = new LogTime(clock, state.at, info.serverTimeMs);
    this.#appender = new Appender({
      log,
      clock,
      reporter,
      reader,
      lastSequence: streamSequence,
      ackTimeoutMs: this.#config.ackTimeoutMs,
      confirmMs: this.#config.confirmMs,
      shownSequence: () => this.#identity.shownSequence,
    });
    const sealed = campaignFrame(this.#config, this.#replica, ids.id("append"), this.#logTime.now());
    this.#appender.append(sealed.payload, sealed.chain, (result) => this.#elected(sealed, result));
  }

  #elected(sealed: SealedFrame, result: AppendResult): void {
    if (this.#mode !== "campaigning") return;
    if (result.kind === "halted") {
      this.#haltWith(result);
      return;
    }
    if (result.kind === "deposed") {
      this.#followAgain();
      return;
    }
    const { clock, ids, reporter, rpc } = this.#ports;
    const { state, reader } = this.#replica;
    assert(this.#appender !== undefined && this.#logTime !== undefined);
    applyFrame(state, sealed.frame);
    reader.advance(sealed.frame, sealed.chain);
    this.#mode = "leading";
    this.#lastTimeCheckMs = this.#now();
    this.#term = new LeaderTerm({
      config: this.#config,
      clock,
      ids,
      reporter,
      state,
      reader,
      appender: this.#appender,
      logTime: this.#logTime,
      isReachable: () => rpc.isConnected(),
      onEnd: (end) => this.#termEnded(end),
    });
    this.#rpc = this.endpoint.serve(this.#term, state.term);
    reporter.info("leading", { term: state.term, sequence: state.sequence });
    this.#beat();
    this.#identity.announce(this.#ports.kv, registryKey(this.#config.region, this.#config.shard), state.term, reporter);
  }

  // ── leading ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #termEnded(end: TermEnd): void {
    this.#stopServing();
    this.#term = undefined;
    if (this.#onStopped !== undefined || this.#mode === "stopped") {
      this.#stopped();
      return;
    }
    if (end.kind === "halted") {
      this.#haltWith(end);
      return;
    }
    this.#ports.reporter.warn("term_ended", { end: end.kind });
    if (end.kind === "deposed" && end.dirty) {
      this.#replica.reset();
      this.#appender = undefined;
    }
    this.#followAgain();
  }

  #followAgain(): void {
    if (this.#appender !== undefined) {
      this.#replica.voids += this.#appender.counts.voids;
      this.#replica.streamSequence = this.#appender.lastSequence;
    }
    this.#appender = undefined;
    this.#mode = "following";
    this.#replica.open();
    this.#patience.renew();
  }

  #stopServing(): void {
    this.#rpc?.close();
    this.#rpc = undefined;
  }

  #beat(): void {
    const { state } = this.#replica;
    this.#lastBeatMs = this.#now();
    this.#ports.gossip.publish(
      beatSubject(this.#config.region, this.#config.shard),
      encodeBeat({
        logId: this.#config.logId,
        term: state.term,
        leader: this.#config.peerId,
        sequence: state.sequence,
        streamSequence: this.#appender?.lastSequence ?? 0,
        state: this.#onStopped === undefined ? "leading" : "stopping",
      }),
    );
  }

  #checkTime(): void {
    this.#lastTimeCheckMs = this.#now();
    this.#ports.log.info(this.#config.ackTimeoutMs, (outcome) => {
      if (outcome.kind === "info") this.#logTime?.observe(outcome.info.serverTimeMs);
    });
  }

  // ── all modes ────────────────────────────────────────────────────────────────────────────────────────────────────

  #tickLater(): void {
    this.#tickTimer = this.#ports.clock.setTimer(this.#config.tickMs, () => {
      this.#tick();
      if (this.#mode !== "stopped" && this.#mode !== "halted") this.#tickLater();
    });
  }

  #tick(): void {
    const nowMs = this.#now();
    this.#identity.save(this.#appender?.lastSequence ?? this.#replica.streamSequence, nowMs, SHOWN_SAVE_MS);
    if (this.#mode === "leading") {
      this.#term?.tick();
      if (nowMs - this.#lastBeatMs >= this.#config.beatMs) this.#beat();
      if (nowMs - this.#lastTimeCheckMs >= TIME_CHECK_MS) this.#checkTime();
    } else if (this.#mode === "following" && this.#patience.isOver(this.#replica.state.leader)) this.#campaign();
  }

  #haltWith(halt: Halt): void {
    this.#halt = { code: halt.code, message: halt.message };
    this.#ports.reporter.error("halted", { code: halt.code, message: halt.message });
    this.#mode = "halted";
    this.#release();
    if (this.#onStopped !== undefined) this.#stopped();
  }

  #stopped(): void {
    this.#release();
    if (this.#halt === undefined) this.#identity.save(this.#replica.streamSequence, this.#now(), 0);
    this.#mode = "stopped";
    const onStopped = this.#onStopped;
    this.#onStopped = undefined;
    onStopped?.();
  }

  #release(): void {
    this.#stopServing();
    this.#replica.close();
    this.#appender?.stop();
    for (const subscription of this.#subscriptions.splice(0)) subscription.close();
    if (this.#tickTimer !== undefined) this.#ports.clock.clearTimer(this.#tickTimer);
    this.#tickTimer = undefined;
  }

  #after(delayMs: number, callback: () => void): void {
    this.#ports.clock.setTimer(delayMs, callback);
  }

  #now(): number {
    return this.#ports.clock.monotonicMs();
  }
}
