/**
 * Compares the replicas of a shard's stream, each read from its own server's store. NATS itself never does: a server that comes back with a
 * damaged block may lead, and then silently misses what stood in it.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import { logStream } from "../../contracts/subjects.ts";
import { apiFailure, askApiAsync, asNumber, asRecord } from "./api.ts";
import { Inbox } from "./inbox.ts";
import { patiently } from "./patience.ts";
import { ReplicaComparison, type ReplicaReport } from "./replica-comparison.ts";
import { openReaders, type ReadDepth, type ReplicaReader } from "./replica-reader.ts";

export interface ReplicaAuditRequest {
  readonly region: string;
  readonly shard: string;
  /** First stream sequence; the first that the stream's leader holds when absent or below it. */
  readonly from?: number | undefined;
  /** Last stream sequence; the last that the stream's leader holds when absent. One above it makes the leader itself count as behind. */
  readonly to?: number | undefined;
  /** Default `bytes`. */
  readonly depth?: ReadDepth | undefined;
  /** How long a copy that ends early is waited for: it may be catching up. ms. Default 1,000. */
  readonly patienceMs?: number | undefined;
  /** Called between pages; the audit goes on when it resolves, so that it can be slowed down. */
  readonly pace?: (() => Promise<void>) | undefined;
  /** Ends the audit early with what was compared so far. */
  readonly signal?: AbortSignal | undefined;
}

export interface ReplicaAudit {
  readonly region: string;
  readonly shard: string;
  readonly stream: string;
  /** The range that was compared; `to` is below `from` when it is empty. */
  readonly from: number;
  readonly to: number;
  /** The server that leads the stream. */
  readonly leader: string;
  /** Stream sequences of the range that no replica holds. */
  readonly absent: number;
  /** The first of them; 0 when there is none. */
  readonly absentAt: number;
  /** The leader first. One alone has nothing to be compared with and is not read. */
  readonly replicas: readonly ReplicaReport[];
}

const PATIENCE_MS_DEFAULT = 1_000;
/** Sequences that are compared at a time. */
const PAGE = 200;
/** How long an election may keep us from beginning. ms. */
const START_PATIENCE_MS = 15_000;
const INFO_TIMEOUT_MS = 1_000;
/** How often the audit is made when its findings do not show again, or the log is trimmed under it. */
const ROUNDS_MAX = 3;

/**
 * Compares every replica with the others over one range, in bounded memory.
 *
 * Result: a report for each server that should hold a replica. `differs` is told only when a second look shows it too.
 * Throws: `stream_missing`, and what JetStream answers when that does not pass within 15 s; all definite.
 */
export async function auditReplicas(connection: NatsConnection, request: ReplicaAuditRequest): Promise<ReplicaAudit> {
  const inbox = new Inbox(connection);
  try {
    for (let round = 1; ; round += 1) {
      const group = await patiently(() => groupOf(inbox, request), START_PATIENCE_MS);
      const audit = await auditOnce({ connection, inbox, request, group });
      const isSure = round === ROUNDS_MAX || request.signal?.aborted === true;
      if (isSure || (await isConfirmed({ connection, inbox, request, group }, audit))) return audit;
    }
  } finally {
    inbox.close();
  }
}

/** The servers of a stream, as its leader names them. */
interface Group {
  readonly stream: string;
  readonly leader: string;
  /** The leader first. */
  readonly servers: readonly string[];
  readonly offline: ReadonlySet<string>;
  readonly first: number;
  readonly last: number;
}

interface Round {
  readonly connection: NatsConnection;
  readonly inbox: Inbox;
  readonly request: ReplicaAuditRequest;
  readonly group: Group;
}

async function groupOf(inbox: Inbox, { region, shard }: ReplicaAuditRequest): Promise<Group> {
  const stream = logStream(region, shard);
  const answer = await askApiAsync(inbox, `STREAM.INFO.${stream}`, undefined, INFO_TIMEOUT_MS);
  if (answer.kind !== "ok") throw apiFailure(answer, `asking for the replicas of ${stream}`, true);
  const cluster = asRecord(answer.value["cluster"]);
  const state = asRecord(answer.value["state"]);
  const others = Array.isArray(cluster["replicas"]) ? cluster["replicas"].map(asRecord) : [];
  const leader = String(cluster["leader"] ?? "");
  if (leader === "" && others.length > 0)
    throw new OperatingError("jetstream_unavailable", `${stream} is electing its leader`, { definite: true });
  return {
    stream,
    leader,
    // A server that is not in a cluster names itself, or nobody.
    servers: leader === "" ? [] : [leader, ...others.map((replica) => String(replica["name"]))],
    offline: new Set(others.filter((replica) => replica["offline"] === true).map((replica) => String(replica["name"]))),
    first: Math.max(1, asNumber(state["first_seq"])),
    last: asNumber(state["last_seq"]),
  };
}

async function auditOnce(round: Round): Promise<ReplicaAudit> {
  const { request, group } = round;
  const { region, shard, signal } = request;
  const from = Math.max(request.from ?? 1, group.first);
  let to = request.to ?? group.last;
  const comparison = new ReplicaComparison(group.servers);
  if (group.servers.length > 1 && from <= to) {
    const readers = await openFor(round, from);
    try {
      for (let page = from; page <= to; page += PAGE) {
        const end = Math.min(to, page + PAGE - 1);
        comparison.take(
          page,
          end,
          await Promise.all(group.servers.map((server) => pageOf(readers.get(server), end, server, group))),
        );
        if (signal?.aborted === true) to = end;
        else if (end < to) await request.pace?.();
      }
    } finally {
      for (const reader of readers.values()) reader.close();
    }
  }
  const { stream, leader } = group;
  const { absent, absentAt } = comparison;
  return { region, shard, stream, from, to, leader, absent, absentAt, replicas: comparison.reports() };
}

function openFor(
  { connection, inbox, request, group }: Round,
  from: number,
): Promise<ReadonlyMap<string, ReplicaReader>> {
  return openReaders({
    connection,
    inbox,
    stream: group.stream,
    servers: group.servers.filter((server) => !group.offline.has(server)),
    from,
    depth: request.depth ?? "bytes",
    patienceMs: request.patienceMs ?? PATIENCE_MS_DEFAULT,
  });
}

async function pageOf(reader: ReplicaReader | undefined, end: number, server: string, group: Group) {
  if (reader !== undefined)
    return { entries: await reader.readTo(end), goesOn: reader.goesOn, failure: reader.failure };
  const failure = group.offline.has(server) ? "its server is offline" : "no consumer could be placed on its server";
  return { entries: [], failure };
}

/** Whether what was found shows again, in the log as it is now: a trim removes messages from one replica a moment before the others. */
async function isConfirmed(round: Round, audit: ReplicaAudit): Promise<boolean> {
  const found = audit.replicas.filter(({ verdict }) => verdict === "differs");
  if (found.length === 0 && audit.absent === 0) return true;
  const group = await patiently(() => groupOf(round.inbox, round.request), START_PATIENCE_MS);
  if (audit.absentAt > 0 && group.first > audit.absentAt) return false;
  for (const { server, missing, differsAt } of found) {
    const at = Math.min(...missing.first, ...(differsAt === 0 ? [] : [differsAt]));
    if (at < group.first) return false;
    const request = { ...round.request, from: at, to: Math.min(audit.to, at + PAGE - 1), pace: undefined };
    const again = await auditOnce({ ...round, group, request });
    const seen = again.replicas.find((report) => report.server === server);
    if (seen === undefined || !(seen.differsAt === at || seen.missing.first[0] === at)) return false;
  }
  return true;
}
