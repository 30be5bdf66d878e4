/** Audits a shard's whole log: from its first frame, or, once that is trimmed away, from a snapshot that the chain goes through. */
import type { NatsConnection } from "@nats-io/transport-node";
import type { LogPlace } from "../core/log-fold.ts";
import { readLogMessages } from "../jetstream/read-log.ts";
import { chainOf, decodeFrame } from "../runtime/frame-codec.ts";
import { againWhenTrimmed } from "./fold-log.ts";
import { type AuditOptions, type AuditReport, LogAudit } from "./log-audit.ts";
import { type LogBounds, logBounds } from "./log-bounds.ts";
import { type FoundSnapshot, type PassedSnapshot, type ShardAddress, SnapshotPlaces } from "./snapshot-places.ts";

/** `whole`: proven. `broken`: `problem` says where. `incomplete`: what is left holds together, but nothing says what state it continues. */
type LogVerdict = "whole" | "broken" | "incomplete";

export interface LogReport extends AuditReport {
  readonly verdict: LogVerdict;
  /** First stream sequence that is left of a trimmed log. */
  readonly trimmedBelow?: number;
  /** The snapshot that the log's state continues. */
  readonly anchoredBy?: {
    readonly sequence: number;
    readonly streamSequence: number;
    readonly hash: string;
    readonly where: string;
  };
  /** Stream sequence of the first frame, when what it says of the frame before it cannot be checked. */
  readonly trustedFrame?: number;
  /** Snapshots that could not be used. */
  readonly passedSnapshots?: readonly PassedSnapshot[];
}

export interface AuditRequest extends ShardAddress {
  /** Only the chain, from this stream sequence on. */
  readonly from?: number | undefined;
  readonly dataDir?: string | undefined;
  readonly onProgress: (read: number, total: number) => void;
}

/** Begins again when the log is trimmed meanwhile. Throws what NATS and the stores of snapshots answer. */
export function auditLog(connection: NatsConnection, request: AuditRequest): Promise<LogReport> {
  return againWhenTrimmed(async () => {
    const bounds = await logBounds(connection, request);
    const run = new AuditRun(connection, request, bounds);
    if (request.from !== undefined || bounds.first === 1) {
      const audit = await run.audit({ from: request.from ?? 1 });
      return wholeOrBroken(audit.report());
    }
    const places = await SnapshotPlaces.open(connection, { dataDir: request.dataDir });
    try {
      return await run.trimmed(places);
    } finally {
      await places.close();
    }
  });
}

const wholeOrBroken = (report: AuditReport): LogReport => ({ ...report, verdict: report.ok ? "whole" : "broken" });

class AuditRun {
  readonly #connection: NatsConnection;
  readonly #request: AuditRequest;
  readonly #bounds: LogBounds;

  constructor(connection: NatsConnection, request: AuditRequest, bounds: LogBounds) {
    this.#connection = connection;
    this.#request = request;
    this.#bounds = bounds;
  }

  async audit(options: Required<Pick<AuditOptions, "from">> & Pick<AuditOptions, "base" | "chainFrom">) {
    const { region, shard, onProgress } = this.#request;
    const { first, last } = this.#bounds;
    const { from } = options;
    const audit = new LogAudit({ region, shard, ...options });
    if (last >= from)
      for await (const message of readLogMessages(this.#connection, { region, shard, from, to: last })) {
        if (!audit.take(message)) break;
        onProgress(message.streamSequence - from + 1, last - from + 1);
      }
    audit.end({ first, last });
    return audit;
  }

  async trimmed(places: SnapshotPlaces): Promise<LogReport> {
    const { first } = this.#bounds;
    const listed = await places.list(this.#request);
    const passedSnapshots: PassedSnapshot[] = [];
    // The oldest one: the more of the log is folded, the more is proven.
    const chosen = await places.choose(listed.toReversed(), this.#bounds, passedSnapshots);
    const more = { trimmedBelow: first, ...(passedSnapshots.length === 0 ? {} : { passedSnapshots }) };
    if (chosen === undefined) {
      const audit = await this.audit({ from: first });
      const report = { ...audit.report(), ok: false };
      return { ...report, verdict: report.problem === undefined ? "incomplete" : "broken", ...trusted(audit), ...more };
    }
    const audit = await this.#anchored(chosen.place);
    const { sequence, streamSequence, hash } = chosen.found.info.label;
    const anchoredBy = { sequence, streamSequence, hash, where: chosen.found.info.where };
    const report = await this.#withTail(audit.report(), chosen.place.state.logId, listed);
    return { ...wholeOrBroken(report), ...more, anchoredBy, ...trusted(audit) };
  }

  async #anchored(base: LogPlace): Promise<LogAudit> {
    const { first } = this.#bounds;
    const audit = await this.audit({ from: first, base });
    const problem = audit.report().problem;
    if (problem === undefined || problem.streamSequence > base.streamSequence) return audit;
    // The first message that is left may be a copy of the past, whose word for the chain must not be taken.
    const chainFrom = await this.#chainStart(base);
    return chainFrom <= (audit.trustedStreamSequence ?? first) ? audit : this.audit({ from: first, base, chainFrom });
  }

  /** Stream sequence of the earliest frame from which the chain leads to the snapshot's. */
  async #chainStart({ tip, streamSequence }: LogPlace): Promise<number> {
    const { region, shard } = this.#request;
    const frames = new Map<string, { readonly prev: string; readonly streamSequence: number }>();
    const range = { region, shard, from: this.#bounds.first, to: streamSequence };
    for await (const message of readLogMessages(this.#connection, range)) {
      const decoded = decodeFrame(message.payload);
      const chain = chainOf(message.payload);
      // A copy behind a frame stands where the frame itself does not.
      if (decoded.kind === "frame" && message.chainHeader === chain && !frames.has(chain))
        frames.set(chain, { prev: decoded.frame.prev, streamSequence: message.streamSequence });
    }
    let start = streamSequence;
    for (let frame = frames.get(tip.chain); frame !== undefined; frame = frames.get(frame.prev))
      start = frame.streamSequence;
    return start;
  }

  /** A snapshot is cut behind an acknowledged frame: one that reaches further than the stream tells of a tail that is lost. */
  async #withTail(report: AuditReport, logId: string, listed: readonly FoundSnapshot[]): Promise<AuditReport> {
    const { region, shard } = this.#request;
    if (!report.ok) return report;
    const { last } = await logBounds(this.#connection, { region, shard });
    const beyond = listed.find(
      ({ info }) => info.problem === undefined && info.label.logId === logId && info.label.streamSequence > last,
    );
    if (beyond === undefined) return report;
    const { sequence, streamSequence } = beyond.info.label;
    const message = `the stream ends at ${last}, but the snapshot at sequence ${sequence} was cut at stream sequence ${streamSequence}: acknowledged frames are lost; restore the stream before anybody leads`;
    return { ...report, ok: false, problem: { code: "log_tail_lost", message, streamSequence: last + 1 } };
  }
}

function trusted({ trustedStreamSequence }: LogAudit): Pick<LogReport, "trustedFrame"> {
  return trustedStreamSequence === undefined ? {} : { trustedFrame: trustedStreamSequence };
}
