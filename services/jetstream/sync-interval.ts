/**
 * Finds out how servers fsync. No client can ask for it: it stands in `/jsz` of the monitoring port and in what servers answer to the
 * system account. With `sync_interval: always` the server reports `sync_always: true` and still its default interval.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import { asNumber, asRecord, isRecord } from "./api.ts";

/** How long servers may take to answer. ms. */
const ANSWER_MS = 2_000;
/** Silence after which a system-account question counts as answered by everybody; the servers answer within a round trip. ms. */
const QUIET_MS = 300;
const NS_PER_MS = 1_000_000;
const JSZ_SUBJECT = "$SYS.REQ.SERVER.PING.JSZ";

export interface SyncReport {
  readonly serverId: string;
  readonly serverName: string;
  /** Whether each append is on the disk before it is acknowledged. */
  readonly isAlways: boolean;
  readonly intervalMs: number;
}

/** What servers say about themselves, one entry per server. Who does not answer is left out. */
export async function collectSyncReports(
  system: NatsConnection | undefined,
  monitorUrls: readonly string[],
): Promise<readonly SyncReport[]> {
  const asked = await Promise.all([
    system === undefined ? [] : fromSystemAccount(system),
    ...monitorUrls.map((url) => fromMonitor(url)),
  ]);
  const byServer = new Map(asked.flat().map((report) => [report.serverId, report]));
  return [...byServer.values()];
}

async function fromSystemAccount(system: NatsConnection): Promise<readonly SyncReport[]> {
  const reports: SyncReport[] = [];
  try {
    const answers = await system.requestMany(JSZ_SUBJECT, "", {
      strategy: "stall",
      maxWait: ANSWER_MS,
      stall: QUIET_MS,
    });
    for await (const answer of answers) {
      const body = asRecord(answer.json());
      const server = asRecord(body["server"]);
      const report = reportOf(asRecord(body["data"]), String(server["id"] ?? ""), String(server["name"] ?? ""));
      if (report !== undefined) reports.push(report);
    }
  } catch {
    // Not a system account, or no server answers: unknown is a result.
  }
  return reports;
}

async function fromMonitor(url: string): Promise<readonly SyncReport[]> {
  try {
    const response = await fetch(new URL("/jsz", url), { signal: AbortSignal.timeout(ANSWER_MS) });
    const body = asRecord(await response.json());
    const report = reportOf(body, String(body["server_id"] ?? url), new URL(url).host);
    return report === undefined ? [] : [report];
  } catch {
    return [];
  }
}

/** Servers without JetStream hold no log and are left out. */
function reportOf(
  jsz: Readonly<Record<string, unknown>>,
  serverId: string,
  serverName: string,
): SyncReport | undefined {
  const config = jsz["config"];
  if (!isRecord(config) || jsz["disabled"] === true || config["store_dir"] === undefined) return undefined;
  const intervalMs = Math.round(asNumber(config["sync_interval"]) / NS_PER_MS);
  return { serverId, serverName, isAlways: config["sync_always"] === true, intervalMs };
}
