/**
 * Drill D2: of three NATS servers the one that leads the shard's stream is killed under a steady load of single calls, and started again.
 * Promise: the shard recovers by itself as soon as NATS has elected, nothing acknowledged is lost or doubled, and the replicas end up equal.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startNatsCluster, waitForMetaLeader } from "../../infra/nats-server/cluster.ts";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { replicaAdvice } from "../../services/jetstream/replica-advice.ts";
import { auditReplicas } from "../../services/jetstream/replica-audit.ts";
import { compareWithShard } from "../compare.ts";
import { Dispatchers } from "../dispatchers.ts";
import { comparisonProblems, type DrillReport, type DrillRequest, pause, randomFrom } from "../drill.ts";
import { Load } from "../load.ts";
import { StreamGroup } from "../stream-group.ts";

const SERVERS = 3;
/** Load before each kill, besides a random part. ms. */
const SETTLE_MS = 1_500;
const RANDOM_MS = 2_000;
/** Load after the first acknowledgement behind a kill. ms. */
const RECOVERED_MS = 1_500;
/** How long a replica may take to catch up in the end. ms. */
const REPLICA_PATIENCE_MS = 10_000;

interface Run {
  readonly gapMs: number;
  /** From the kill until another server said that it leads the stream: NATS's own part of the gap. */
  readonly electionMs: number;
  /** From then until the next acknowledgement: our part of the gap. */
  readonly afterElectionMs: number;
  readonly acknowledged: number;
}
interface NatsLeaderKilledReport extends DrillReport {
  readonly runs: readonly Run[];
  readonly worstGapMs: number;
  readonly worstElectionMs: number;
  readonly worstAfterElectionMs: number;
  /** Messages of the stream that were compared on all replicas, byte by byte. */
  readonly messages: number;
  readonly replicas: readonly string[];
}

export async function natsLeaderKilled({ repeats, seed, report }: DrillRequest): Promise<NatsLeaderKilledReport> {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-drill-"));
  const servers = await startNatsCluster({ size: SERVERS, folder: join(folder, "nats") });
  const natsUrls = servers.map(({ url }) => url);
  const dispatchers = new Dispatchers({ natsUrls, folder, args: ["--replicas", String(SERVERS)] });
  const connection = await connectNats({ servers: natsUrls, name: "drill" });
  const load = new Load(connection);
  const random = randomFrom(seed);
  try {
    await waitForMetaLeader(servers);
    await dispatchers.start("a");
    await dispatchers.start("b");
    load.start();
    const runs: Run[] = [];
    for (let run = 1; run <= repeats; run += 1) {
      await pause(SETTLE_MS + random() * RANDOM_MS);
      runs.push(await killLeader(servers, load, (line) => report(`run ${run}: ${line}`)));
    }
    await load.stop();
    const comparison = await compareWithShard(connection, load.acknowledged);
    const audit = await auditReplicas(connection, {
      region: "local",
      shard: "default",
      patienceMs: REPLICA_PATIENCE_MS,
    });
    const worst = (of: (run: Run) => number): number => Math.max(...runs.map(of));
    return {
      runs,
      worstGapMs: worst(({ gapMs }) => gapMs),
      worstElectionMs: worst(({ electionMs }) => electionMs),
      worstAfterElectionMs: worst(({ afterElectionMs }) => afterElectionMs),
      ...comparison,
      messages: audit.to,
      replicas: audit.replicas.map(({ server, verdict }) => `${server} ${verdict}`),
      problems: [...comparisonProblems(comparison), ...replicaAdvice(audit).map(({ text }) => text)],
    };
  } finally {
    load.abandon();
    await connection.close();
    dispatchers.killAll();
    await Promise.all(servers.map((server) => server.kill()));
    rmSync(folder, { recursive: true, force: true });
  }
}

async function killLeader(servers: readonly NatsServer[], load: Load, report: (line: string) => void): Promise<Run> {
  const group = new StreamGroup(servers);
  const leader = await group.leader();
  const killedMs = performance.now();
  await leader.kill();
  await group.leader(servers.filter((server) => server !== leader));
  const electedMs = performance.now();
  while (load.acknowledgedSince(electedMs) === 0) await pause(5);
  await pause(RECOVERED_MS);
  const gapMs = load.longestGapMs(killedMs);
  const electionMs = Math.round(electedMs - killedMs);
  const afterElectionMs = Math.round(Math.max(0, load.longestGapEndMs(killedMs) - electedMs));
  const acknowledged = load.acknowledged.size;
  const name = leader.serverName;
  report(
    `${name} killed, longest gap ${gapMs} ms, of it ${electionMs} ms until another server led the stream and ${afterElectionMs} ms after; ${acknowledged} acknowledged`,
  );
  await leader.restart();
  await group.whole();
  return { gapMs, electionMs, afterElectionMs, acknowledged };
}
