/** Audits the replicas of one shard's stream while the dispatcher leads it: what is new every time, and the older log piece by piece. */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import type { Alarm, Clock, Reporter, TimerHandle } from "../../contracts/ports.ts";
import { replicaAdvice } from "./replica-advice.ts";
import { auditReplicas, type ReplicaAudit } from "./replica-audit.ts";

export interface ReplicaAuditorOptions {
  /** For its own questions and pages; not the connection that appends. */
  readonly connection: NatsConnection;
  readonly region: string;
  readonly shard: string;
  readonly clock: Clock;
  readonly reporter: Reporter;
  /** Only a leader audits: one is enough. */
  readonly isLeading: () => boolean;
  /** Stream sequence of the last acknowledged frame. */
  readonly lastSequence: () => number;
}

/** Time between two rounds: damage in what a round looks at is told well within a minute. ms. */
const EVERY_MS = 30_000;
/** Messages of the older log that one round looks at: 50,000 a minute, at a few microseconds each. */
const SWEEP = 25_000;
/** Pause between two pages, so that no round is felt by the shard. ms. */
const PACE_MS = 5;
/** Messages behind a known damage that are looked at again to see whether it was mended. */
const RECHECK = 500;

interface Damage {
  readonly code: string;
  readonly text: string;
  /** Stream sequence of the damage; 0 for a replica that is behind or cannot be read. */
  readonly at: number;
}

/**
 * Invariant: what lies below `#tailFrom` was compared on every replica that could be read at the time, from where the first round began.
 * An alarm stays until an audit of the same place shows it mended, or until another dispatcher leads.
 */
export class ReplicaAuditor {
  readonly #options: ReplicaAuditorOptions;
  /** By server; what concerns all of them stands under the empty name. */
  readonly #alarms = new Map<string, Damage>();
  /** Servers that were behind or unread in the last round. */
  readonly #late = new Set<string>();
  /** First sequence that is new to the next round; 0 before the first one. */
  #tailFrom = 0;
  #sweepFrom = 1;
  #failures = 0;
  /** Why no round has succeeded lately; empty when one has. */
  #failed = "";
  #timer: TimerHandle | undefined;
  readonly #abort = new AbortController();

  constructor(options: ReplicaAuditorOptions) {
    this.#options = options;
  }

  /** What needs an operator; empty when nothing does. */
  get alarms(): readonly Alarm[] {
    const alarms = [...this.#alarms.values()].map(({ code, text }) => ({ code, message: text, isServing: true }));
    if (this.#failed !== "") alarms.push({ code: "replica_audit_failed", message: this.#failed, isServing: true });
    return alarms;
  }

  /** Begins rounds; once. */
  start(): void {
    this.#timer = this.#options.clock.setTimer(EVERY_MS, () => void this.#turn());
  }

  /** Ends what is under way at its next page, without waiting for it. */
  stop(): void {
    this.#abort.abort();
    if (this.#timer !== undefined) this.#options.clock.clearTimer(this.#timer);
    this.#timer = undefined;
  }

  async #turn(): Promise<void> {
    if (this.#options.isLeading()) await this.#tryRound();
    else this.#forget();
    if (!this.#abort.signal.aborted) this.start();
  }

  async #tryRound(): Promise<void> {
    try {
      await this.#round();
      this.#failures = 0;
      this.#failed = "";
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      if (this.#abort.signal.aborted) return;
      this.#failures += 1;
      this.#options.reporter.warn("replica_audit_failed", { code: error.code, message: error.message });
      // One failure is an election or a restart; an auditor that never runs must not look like a clean log.
      if (this.#failures > 1) this.#failed = `${error.code}: ${error.message}`;
    }
  }

  async #round(): Promise<void> {
    const last = this.#options.lastSequence();
    if (last < 1) return;
    if (this.#tailFrom === 0) this.#tailFrom = Math.max(1, last - SWEEP + 1);
    // At least one message, so that a server that is down shows also while the log stands still.
    const from = Math.min(this.#tailFrom, last);
    const tail = await this.#audit(from, last);
    this.#judgeLate(tail);
    // A stream with one replica has nothing to compare; it may be given more later.
    if (tail.replicas.length < 2 || this.#abort.signal.aborted) return;
    this.#tailFrom = nextTail(tail, from);
    if (this.#sweepFrom >= from) this.#sweepFrom = 1;
    const sweepTo = Math.min(this.#sweepFrom + SWEEP, from) - 1;
    if (this.#sweepFrom <= sweepTo) await this.#audit(this.#sweepFrom, sweepTo);
    this.#sweepFrom = sweepTo + 1;
    await this.#recheck();
  }

  async #audit(from: number, to: number): Promise<ReplicaAudit> {
    const { connection, region, shard, clock } = this.#options;
    const pace = (): Promise<void> => new Promise((resolve) => void clock.setTimer(PACE_MS, resolve));
    const { signal } = this.#abort;
    const audit = await auditReplicas(connection, { region, shard, from, to, depth: "headers", pace, signal });
    for (const { code, server, text } of replicaAdvice(audit)) {
      const at = placeOf(audit, server);
      if ((code === "replica_differs" || code === "replicas_gap") && (this.#alarms.get(server)?.at ?? 0) === 0)
        this.#raise(server, { code, text, at });
    }
    return audit;
  }

  /**
   * A replica that is behind, or away, for two rounds is told; the first time it may be starting. A server that no longer carries a replica
   * has nothing to mend.
   */
  #judgeLate(tail: ReplicaAudit): void {
    for (const server of this.#alarms.keys())
      if (server !== "" && !tail.replicas.some((each) => each.server === server)) this.#mended(server);
    const advice = new Map(replicaAdvice(tail).map((each) => [each.server, each]));
    for (const { server, verdict } of tail.replicas) {
      const alarm = this.#alarms.get(server);
      const { code = "", text = "" } = advice.get(server) ?? {};
      if (verdict === "equal" || verdict === "differs") {
        this.#late.delete(server);
        if (alarm?.at === 0) this.#mended(server);
      } else if (!this.#late.has(server)) this.#late.add(server);
      else if (alarm === undefined) this.#raise(server, { code, text, at: 0 });
    }
  }

  /** Looks again at the places that are known to be damaged. */
  async #recheck(): Promise<void> {
    for (const [server, { at }] of [...this.#alarms]) {
      if (at === 0 || this.#abort.signal.aborted) continue;
      const audit = await this.#audit(at, Math.min(at + RECHECK - 1, this.#options.lastSequence()));
      const report = audit.replicas.find((each) => each.server === server);
      if (audit.from > at || report?.verdict === "equal" || (server === "" && audit.absent === 0)) this.#mended(server);
    }
  }

  #raise(server: string, damage: Damage): void {
    this.#alarms.set(server, damage);
    const { code, text, at } = damage;
    this.#options.reporter.error("replica_alarm", { server, message: text, code, ...(at === 0 ? {} : { at }) });
  }

  #mended(server: string): void {
    this.#alarms.delete(server);
    this.#options.reporter.info("replica_mended", { server });
  }

  /** Whoever leads now begins anew. */
  #forget(): void {
    this.#alarms.clear();
    this.#late.clear();
    this.#tailFrom = 0;
    this.#sweepFrom = 1;
    this.#failures = 0;
    this.#failed = "";
  }
}

/** Where the next tail begins: behind this one, or where the first replica that is late ended, as far back as one sweep. */
function nextTail({ to, replicas }: ReplicaAudit, from: number): number {
  const late = replicas.filter(({ verdict }) => verdict === "behind" || verdict === "unread");
  const reached = Math.min(to, ...late.map(({ last }) => Math.max(last, from - 1)));
  return Math.max(reached + 1, to - SWEEP + 1);
}

/** The first stream sequence at which something is wrong. */
function placeOf({ replicas, absentAt }: ReplicaAudit, server: string): number {
  const report = replicas.find((each) => each.server === server);
  if (report === undefined) return absentAt;
  return Math.min(...report.missing.first, ...(report.differsAt === 0 ? [] : [report.differsAt]));
}
