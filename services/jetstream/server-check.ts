/** Whether the servers that we are connected to can carry a log: asked once at start, so that nobody finds out by losing data. */
import type { NatsConnection } from "@nats-io/transport-node";
import { SERVER_MAX_PAYLOAD_MIN } from "../../contracts/limits.ts";
import { type ApiError, type ApiOutcome, apiFailure, askApiAsync, asRecord } from "./api.ts";
import { Inbox } from "./inbox.ts";
import { collectSyncReports, type SyncReport } from "./sync-interval.ts";

/** `refuse`: nothing may lead on this. `warn`: it works, and somebody should know. */
export interface Finding {
  readonly code: string;
  readonly severity: "refuse" | "warn";
  readonly message: string;
  readonly fix: string;
}

export interface ServerCheckOptions {
  /** Replicas that the logs shall have. */
  readonly replicas: number;
  /** Monitoring endpoints (`http://host:8222`), one per server, where there are any. */
  readonly monitorUrl?: string | readonly string[] | undefined;
  /** A connection of the system account, which sees the settings of all servers. */
  readonly system?: NatsConnection | undefined;
  /** Accept servers below 2.14.4 for replicated logs. Their stale leaders can still propose (nats-server #8370). */
  readonly allowOldServers?: boolean;
}

/**
 * `ok`: every server that we know of writes to the disk before it acknowledges. `unsafe`: at least one does not.
 * `unknown`: nobody could be asked, or fewer servers answered than the log has replicas.
 */
type SyncLevel = "ok" | "unsafe" | "unknown";

export interface ServerReport {
  readonly version: string;
  readonly serverName: string;
  readonly maxPayload: number;
  /** Level of the JetStream API; 0 when the server does not say. */
  readonly apiLevel: number;
  /** What is known about `sync_interval`. */
  readonly level: SyncLevel;
  readonly sync: readonly SyncReport[];
  /** Refusals first. */
  readonly findings: readonly Finding[];
}

type Version = readonly [major: number, minor: number, patch: number];

const VERSION_MIN: Version = [2, 12, 0];
const VERSION_REPLICATED_MIN: Version = [2, 14, 4];
const VERSION_WANTED: Version = [2, 15, 0];
/** The account has no JetStream; the server has none. */
const NO_JETSTREAM: ReadonlySet<number> = new Set([10039, 10076]);

/**
 * Checks version, JetStream, payload limit, replicas and durability.
 * Throws when JetStream cannot answer at the moment (`jetstream_timeout`, `nats_disconnected`, …, all definite): ask again later.
 */
export async function checkServer(connection: NatsConnection, options: ServerCheckOptions): Promise<ServerReport> {
  const { info } = connection;
  const version = info?.version ?? "";
  const maxPayload = info?.max_payload ?? 0;
  const account = await accountInfo(connection);
  const sync = await collectSyncReports(options.system, monitorUrls(options.monitorUrl));
  const level = syncLevel(sync, options.replicas);
  const findings = [
    ...versionFindings(version, options),
    ...jetstreamFindings(account),
    ...payloadFindings(maxPayload),
    ...replicaFindings(options.replicas, info?.cluster),
    ...syncFindings(level, sync),
  ];
  const apiLevel = account.kind === "ok" ? Number(asRecord(account.value["api"])["level"] ?? 0) : 0;
  const ordered = [...findings].sort((a, b) => Number(a.severity === "warn") - Number(b.severity === "warn"));
  return { version, serverName: info?.server_name ?? "", maxPayload, apiLevel, level, sync, findings: ordered };
}

async function accountInfo(connection: NatsConnection): Promise<ApiOutcome> {
  const inbox = new Inbox(connection);
  try {
    const answer = await askApiAsync(inbox, "INFO", undefined);
    if (answer.kind === "ok" || answer.kind === "no_responders" || isWithoutJetStream(answer)) return answer;
    throw apiFailure(answer, "asking for the account's JetStream", true);
  } finally {
    inbox.close();
  }
}

function isWithoutJetStream(answer: ApiOutcome): answer is { kind: "api_error"; error: ApiError } {
  return answer.kind === "api_error" && NO_JETSTREAM.has(answer.error.errCode);
}

function monitorUrls(given: string | readonly string[] | undefined): readonly string[] {
  if (given === undefined) return [];
  const urls = typeof given === "string" ? given.split(",") : given;
  return urls.map((url) => url.trim()).filter((url) => url !== "");
}

/** Reads `2.15.1` and `2.15.0-RC.1`; a text that is no version counts as the oldest. */
function parseVersion(text: string): Version {
  const match = /^v?(\d+)\.(\d+)\.(\d+)/.exec(text);
  return match === null ? [0, 0, 0] : [Number(match[1]), Number(match[2]), Number(match[3])];
}

function isBelow(version: Version, floor: Version): boolean {
  const index = version.findIndex((part, at) => part !== floor[at]);
  return index !== -1 && (version[index] ?? 0) < (floor[index] ?? 0);
}

function versionFindings(text: string, options: ServerCheckOptions): readonly Finding[] {
  const version = parseVersion(text);
  if (isBelow(version, VERSION_MIN))
    return [refusal("server_version", `nats-server ${text} is below 2.12`, "upgrade every server to 2.15.1 or newer")];
  if (options.replicas > 1 && isBelow(version, VERSION_REPLICATED_MIN)) {
    const message = `nats-server ${text} is below 2.14.4, where a stale stream leader can still propose to a replicated log`;
    const fix = "upgrade every server to 2.15.1 or newer";
    return [{ code: "server_version", severity: options.allowOldServers === true ? "warn" : "refuse", message, fix }];
  }
  if (isBelow(version, VERSION_WANTED))
    return [
      warning(
        "server_version",
        `nats-server ${text} is below 2.15, which fsyncs replicated logs far more cheaply`,
        "upgrade",
      ),
    ];
  return [];
}

function jetstreamFindings(account: ApiOutcome): readonly Finding[] {
  if (account.kind === "ok") return [];
  const fix = "start nats-server with -js or a jetstream block, and give the account `jetstream: enabled`";
  return [refusal("jetstream_disabled", "JetStream is not enabled for this account", fix)];
}

function payloadFindings(maxPayload: number): readonly Finding[] {
  if (maxPayload >= SERVER_MAX_PAYLOAD_MIN) return [];
  const message = `max_payload is ${maxPayload} bytes; frames and replies need ${SERVER_MAX_PAYLOAD_MIN}`;
  return [refusal("max_payload", message, "set max_payload: 1MB or more on every server")];
}

function replicaFindings(replicas: number, cluster: string | undefined): readonly Finding[] {
  if (replicas <= 1 || (cluster ?? "") !== "") return [];
  const message = `${replicas} replicas are asked for, but the server is not part of a cluster`;
  return [refusal("replicas", message, `set replicas to 1, or run at least ${replicas} servers in one cluster`)];
}

function syncLevel(reports: readonly SyncReport[], replicas: number): SyncLevel {
  if (reports.some((report) => !report.isAlways)) return "unsafe";
  return reports.length >= Math.max(1, replicas) ? "ok" : "unknown";
}

function syncFindings(level: SyncLevel, reports: readonly SyncReport[]): readonly Finding[] {
  const fix = "set jetstream { sync_interval: always } on every server that holds logs";
  if (level === "unsafe") {
    const lazy = reports
      .filter((report) => !report.isAlways)
      .map((report) => `${report.serverName} (${report.intervalMs} ms)`);
    return [
      warning(
        "sync_interval",
        `${lazy.join(", ")} acknowledge before the disk has it: a power cut loses acknowledged frames`,
        fix,
      ),
    ];
  }
  if (level === "ok") return [];
  const message = "whether the servers write to the disk before they acknowledge could not be found out";
  return [
    warning(
      "sync_interval_unknown",
      message,
      `${fix}; to have it checked, give --nats-monitor-url or a system account`,
    ),
  ];
}

function refusal(code: string, message: string, fix: string): Finding {
  return { code, severity: "refuse", message, fix };
}
function warning(code: string, message: string, fix: string): Finding {
  return { code, severity: "warn", message, fix };
}
