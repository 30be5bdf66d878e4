/**
 * Drill D1: the leading dispatcher is killed under a steady load of single calls; a second one takes over.
 * Promise: no acknowledged item lost, none doubled, and the longest gap between two acknowledged mutations stays short.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "@nats-io/transport-node";
import { startNatsServer } from "../../infra/nats-server/embedded.ts";
import { compareWithShard } from "../compare.ts";
import { Dispatchers, leaderOf } from "../dispatchers.ts";
import { comparisonProblems, type DrillReport, type DrillRequest, pause } from "../drill.ts";
import { Load } from "../load.ts";

/** Load before and after each kill. ms. */
const SETTLE_MS = 2_500;

interface Run {
  readonly gapMs: number;
  readonly acknowledged: number;
}
interface LeaderKilledReport extends DrillReport {
  readonly runs: readonly Run[];
  readonly worstGapMs: number;
}

export async function leaderKilled({ repeats, report }: DrillRequest): Promise<LeaderKilledReport> {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-drill-"));
  const server = await startNatsServer({ storeDir: join(folder, "nats"), report: () => {} });
  const dispatchers = new Dispatchers({ natsUrls: [server.url], folder });
  const connection = await connect({ servers: server.url });
  const load = new Load(connection);
  try {
    await dispatchers.start("a");
    await dispatchers.start("b");
    load.start();
    const runs: Run[] = [];
    for (let run = 1; run <= repeats; run += 1) {
      await pause(SETTLE_MS);
      const leader = await leaderOf(connection);
      const from = performance.now();
      await dispatchers.signal(leader, "SIGKILL");
      await pause(SETTLE_MS);
      const gapMs = load.longestGapMs(from);
      runs.push({ gapMs, acknowledged: load.acknowledged.size });
      report(`run ${run}: ${leader} killed, longest gap ${gapMs} ms, ${load.acknowledged.size} acknowledged`);
      await dispatchers.start(leader);
    }
    await load.stop();
    const comparison = await compareWithShard(connection, load.acknowledged);
    const worstGapMs = Math.max(...runs.map(({ gapMs }) => gapMs));
    return { runs, worstGapMs, ...comparison, problems: comparisonProblems(comparison) };
  } finally {
    load.abandon();
    await connection.close();
    dispatchers.killAll();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
