/** One dispatcher's part in one shard: follows the log, campaigns when nobody leads, leads while its frames are accepted. */
import assert from "node:assert/strict";
import type { Command } from "../../../contracts/commands.ts";
import type { Frame } from "../../../contracts/frame.ts";
import type { Alarm, Closable, InfoOutcome, LogInfo, Net, TimerHandle } from "../../../contracts/ports.ts";
import { beatSubject, registryKey } from "../../../contracts/subjects.ts";
import { applyFrame } from "../../core/apply.ts";
import type { Halt } from "../../core/log-reader.ts";
import { AlarmLines, VoidAlarm } from "./alarms.ts";
import { Appender, type AppendResult } from "./appender.ts";
import { type BeatView, decodeBeat, encodeBeat } from "./beats.ts";
import { Handovers } from "./handover.ts";
import { Identity } from "./identity.ts";
import { LeaderTerm } from "./leader-term.ts";
import type { TermEnd } from "./leader-term-options.ts";
import { LogTime } from "./log-time.ts";
import type { NodeConfig } from "./node-config.ts";
import type { NodeMode, NodePorts, NodeStatus } from "./node-ports.ts";
import { campaignFrame, type SealedFrame } from "./open-frame.ts";
import { Patience } from "./patience.ts";
import type { PendingRequest } from "./pending-request.ts";
import { Proof } from "./proof.ts";
import { Replica } from "./replica.ts";
import { RpcEndpoint } from "./rpc-endpoint.ts";
import { Upkeep } from "./upkeep.ts";
import { wedgeAlarms } from "./wedge.ts";

const SHOWN_SAVE_MS = 10_000;
/** Beats of a term that the log does not show yet make a leader confirm its own, at most so often. ms. */
const CONFIRM_MS = 1_000;

/** Callback-driven; everything outside comes through its ports, so that a simulator runs the same code. */
export class ShardNode {
  readonly endpoint: RpcEndpoint;
  readonly #config: NodeConfig;
  readonly #ports: NodePorts;
  readonly #replica: Replica;
  readonly #identity: Identity;
  readonly #patience: Patience;
  readonly #upkeep: Upkeep;
  readonly #proof: Proof;
  readonly #voidAlarm = new VoidAlarm();
  readonly #alarmLines: AlarmLines;
  #mode: NodeMode = "starting";
  #term: LeaderTerm | undefined;
  #appender: Appender | undefined;
  #logTime: LogTime | undefined;
  #halt: Halt | undefined;
  #tickTimer: TimerHandle | undefined;
  #rpc: Closable | undefined;
  readonly #subscriptions: Closable[] = [];
  #lastBeatMs = 0;
  #confirmedMs = Number.NEGATIVE_INFINITY;
  /** The last term that this process has led; 0 for none. */
  #ledTerm = 0;
  readonly #incarnation: string;
  #onStopped: (() => void) | undefined;

  constructor(config: NodeConfig, ports: NodePorts) {
    assert(config.suspectMs >= config.beatMs * 2, "suspectMs must be at least two beats");
    this.#config = config;
    this.#ports = ports;
    this.#incarnation = ports.ids.id("node");
    const { clock, ids, log, reporter, snapshots, checkpoints } = ports;
    const onLook = (): ((look: InfoOutcome) => boolean) => {
      const shown = this.#identity.shownSequence;
      return (look) => this.#looked(look, shown);
    };
    const lastSequence = (): number => this.#appender?.lastSequence ?? 0;
    this.#upkeep = new Upkeep({ config, clock, log, reporter, snapshots, checkpoints, onLook, lastSequence });
    this.#alarmLines = new AlarmLines(reporter);
    this.#proof = new Proof({ config, ...ports });
    this.#identity = new Identity(config, ports.store);
    this.#patience = new Patience({ config, proof: this.#proof, ...ports });
    this.#replica = new Replica({
      ...{ config, log, clock, reporter, snapshots },
      onFrame: (frame) => this.#followed(frame),
      onHalt: (halt) => this.#haltWith(halt),
      onShown: (streamSequence) => this.#identity.heard(streamSequence),
      onTrimmed: () => {
        this.#upkeep.snapshooter?.cancel();
        this.#replica.rebuild(() => {});
      },
    });
    this.endpoint = new RpcEndpoint({ config, clock, ids, net: ports.rpc, reporter });
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
    this.#tickLater();
    this.#replica.rebuild(() => {
      this.#upkeep.snapshooter?.loaded(this.#replica.state);
      this.#catchUp();
    });
  }

  /** Hands the shard over in order and stops; calls back when nothing of ours is under way any more. */
  stop(onStopped: () => void): void {
    this.#onStopped = onStopped;
    if (this.#term === undefined) this.#stopped();
    else this.handOver(this.#ports.precedence.successor(this.#config.shard).peer);
  }

  /** Lets go of the shard, and follows; a `request` for it is answered behind the release. Without effect unless it leads. */
  handOver(successor: string | undefined, request?: PendingRequest<Command>, term = this.#term): void {
    this.#ports.reporter.info("handing_over", { successor });
    if (term === this.#term) this.#stopServing();
    term?.release(successor, request);
  }

  /** Stops at once, whatever is under way: its outcome stays unknown to its callers. */
  abandon(): void {
    this.#mode = "stopped";
    this.#term?.abandon();
    this.#stopped();
  }

  status(): NodeStatus {
    const { state, reader } = this.#replica;
    const { region, shard, logId } = this.#config;
    const { term, leader, sequence } = state;
    return {
      ...{ mode: this.#mode, region, shard, logId, term, leader, sequence },
      streamSequence: this.#appender?.lastSequence ?? this.#replica.streamSequence,
      ...{ chain: reader.tip.chain, voids: this.#voidCount() },
      ...{ unackedMs: this.#term?.unackedMs() ?? 0, isCutOff: this.#proof.isCutOff },
      halt: this.#halt,
      alarms: this.#alarms(),
    };
  }

  /** Learns where the log ends; until that is read nobody campaigns. */
  #catchUp(): void {
    this.#ports.log.info(this.#config.ackTimeoutMs, (outcome) => {
      if (this.#mode !== "starting") return;
      const last = outcome.kind === "info" ? outcome.info.lastSequence : Number.POSITIVE_INFINITY;
      const halt = this.#identity.problemOf(outcome, this.#now());
      if (halt !== undefined) return this.#haltWith(halt);
      if (outcome.kind === "info") this.#replica.leaderIsAt(last);
      if (last >= this.#identity.shownSequence && this.#replica.streamSequence >= last) this.#caughtUp();
      else this.#ports.clock.setTimer(this.#config.tickMs, () => this.#catchUp());
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
    this.#upkeep.followed(this.#replica);
    if (this.#mode !== "following") return;
    const last = frame.events.at(-1);
    if (last?.type === "termReleased") {
      if (this.#patience.released(last)) this.#campaign();
    } else if (frame.writer !== this.#config.peerId) this.#patience.renew();
  }

  /** A log that is gone, shorter than it was, or written by others is noticed also by a node that has nothing to append or to read. */
  #looked(look: InfoOutcome, shown: number): boolean {
    if (look.kind === "info") this.#logTime?.observe(look.info.serverTimeMs);
    if (this.#mode === "leading") {
      const isAsKnown = look.kind === "info" && look.info.lastSequence === this.#appender?.lastSequence;
      // Whatever it is, the next append finds it out.
      if (!isAsKnown && look.kind !== "failed") this.#term?.confirm();
    } else if (this.#mode === "following") {
      const halt = this.#identity.problemOf(look, this.#now(), shown);
      if (halt !== undefined) this.#haltWith(halt);
    }
    return this.#mode === "following" && this.#identity.isSuspect;
  }

  #heard(beat: BeatView): void {
    const { state } = this.#replica;
    if (beat.logId !== this.#config.logId) {
      this.#ports.reporter.error("foreign_beat", { leader: beat.leader, logId: beat.logId });
      return;
    }
    if (beat.leader === this.#config.peerId) {
      this.#heardOwnName(beat);
      return;
    }
    const isOfLog = beat.term === state.term && beat.leader === state.leader;
    if (isOfLog) this.#identity.heard(beat.streamSequence);
    if (this.#mode === "following" && isOfLog) {
      this.#replica.leaderIsAt(beat.streamSequence);
      this.#patience.renew();
    } else if (this.#mode === "leading" && beat.term > state.term && this.#now() - this.#confirmedMs >= CONFIRM_MS) {
      this.#confirmedMs = this.#now();
      this.#term?.confirm();
    }
  }

  /** Another process beats under our peer id: of two that would depose each other for ever, the one whose term is older leaves. */
  #heardOwnName(beat: BeatView): void {
    // A late beat of a process of ours that has ended is of no term above one that we have led.
    if (beat.incarnation === this.#incarnation || this.#ledTerm === 0 || beat.term <= this.#ledTerm) return;
    this.#term?.abandon();
    this.#haltWith({
      code: "peer_id_taken",
      message: `another process leads shard ${this.#config.shard} as ${this.#config.peerId}; give each dispatcher a peer id of its own`,
    });
  }

  #campaign(): void {
    this.#ports.log.info(this.#config.ackTimeoutMs, (outcome) => {
      if (this.#mode !== "following") return;
      const halt = this.#identity.problemOf(outcome, this.#now());
      if (halt !== undefined) return this.#haltWith(halt);
      if (outcome.kind === "info") this.#replica.leaderIsAt(outcome.info.lastSequence);
      const isCurrent = outcome.kind === "info" && outcome.info.lastSequence === this.#replica.streamSequence;
      // A log that is shorter than it has been seen is not led, also before that is certain.
      if (isCurrent && this.#identity.isWhole(outcome.info)) this.#stand(outcome.info);
      else this.#patience.endIn(this.#config.tickMs);
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
      ...{ log, clock, reporter, reader, lastSequence: streamSequence },
      ...{ ackTimeoutMs: this.#config.ackTimeoutMs, confirmMs: this.#config.confirmMs },
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
    this.#ledTerm = state.term;
    this.#term = new LeaderTerm({
      ...{ config: this.#config, clock, ids, reporter, state, reader },
      ...{ appender: this.#appender, logTime: this.#logTime, upkeep: this.#upkeep },
      ...{ proof: this.#proof, nextTick: this.#ports.nextTick, net: rpc },
      onEnd: (end) => this.#termEnded(end),
    });
    this.#rpc = this.endpoint.serve(this.#handovers(this.#term), state.term);
    reporter.info("leading", { term: state.term, sequence: state.sequence });
    // Behind the subscription, on the same connection: whoever hears it finds us served.
    this.#beat(rpc);
    this.#identity.announce(this.#ports.kv, registryKey(this.#config.region, this.#config.shard), state.term, reporter);
  }

  #termEnded(end: TermEnd): void {
    this.#stopServing();
    this.#term = undefined;
    this.#upkeep.resigned(end.kind === "deposed");
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
      this.#appender = undefined;
      this.#replica.rebuild(() => {});
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
    if (this.#replica.streamSequence > 0) this.#replica.open();
    this.#patience.renew();
  }

  #stopServing(): void {
    this.#rpc?.close();
    this.#rpc = undefined;
  }

  #handovers(term: LeaderTerm): Handovers {
    const startedAt = this.#replica.state.sequence;
    const release = (to: string, request: PendingRequest<Command>): void => this.handOver(to, request, term);
    return new Handovers({ config: this.#config, precedence: this.#ports.precedence, term, startedAt, release });
  }

  #beat(net: Net = this.#ports.gossip): void {
    const { state } = this.#replica;
    this.#lastBeatMs = this.#now();
    net.publish(
      beatSubject(this.#config.region, this.#config.shard),
      encodeBeat({
        ...{ logId: this.#config.logId, leader: this.#config.peerId },
        ...{ term: state.term, sequence: state.sequence },
        ...{ streamSequence: this.#appender?.lastSequence ?? 0, incarnation: this.#incarnation },
        state: this.#onStopped === undefined ? "leading" : "stopping",
      }),
    );
  }

  #alarms(): readonly Alarm[] {
    const own = [...wedgeAlarms(this.#term?.unackedMs() ?? 0), ...this.#voidAlarm.alarms(this.#now())];
    return [...own, ...this.#proof.alarms, ...this.#replica.alarms, ...this.#upkeep.alarms, ...this.#identity.alarms];
  }

  #voidCount(): number {
    return this.#replica.voids + (this.#appender?.counts.voids ?? 0);
  }

  #tickLater(): void {
    this.#tickTimer = this.#ports.clock.setTimer(this.#config.tickMs, () => {
      this.#tick();
      if (this.#mode !== "stopped" && this.#mode !== "halted") this.#tickLater();
    });
  }

  #tick(): void {
    const nowMs = this.#now();
    this.#proof.keep();
    this.#identity.save(this.#appender?.lastSequence ?? this.#replica.streamSequence, nowMs, SHOWN_SAVE_MS);
    this.#upkeep.tick(this.#replica.state, this.#mode === "leading");
    this.#voidAlarm.look(this.#voidCount(), nowMs);
    this.#alarmLines.look(this.#alarms());
    if (this.#mode === "leading") {
      if (this.#upkeep.snapshooter?.isWaiting === true) this.#term?.mark();
      this.#term?.tick();
      // Silence lets another one lead.
      if (nowMs - this.#lastBeatMs >= this.#config.beatMs && !this.#proof.isCutOff) this.#beat();
    } else if (this.#mode === "following") {
      this.#upkeep.quiet(this.#replica);
      if (this.#patience.isOver(this.#replica.state.leader)) this.#campaign();
    }
  }

  #haltWith(halt: Halt): void {
    this.#halt = { code: halt.code, message: halt.message };
    if (this.#replica.state.sequence > 0) this.#ports.dump?.(this.#halt, this.#replica.state);
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
    this.#upkeep.snapshooter?.cancel();
    this.#appender?.stop();
    for (const subscription of this.#subscriptions.splice(0)) subscription.close();
    if (this.#tickTimer !== undefined) this.#ports.clock.clearTimer(this.#tickTimer);
    this.#tickTimer = undefined;
  }

  #now(): number {
    return this.#ports.clock.monotonicMs();
  }
}
