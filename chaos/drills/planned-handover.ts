/**
 * Drill D3: leadership is handed over on purpose, in turn by request and by SIGTERM with a restart, under single calls through the SDK.
 * Promise: callers of the SDK see no error, nothing is lost or doubled, and the longest gap between two acknowledged mutations stays short.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startNatsServer } from "../../infra/nats-server/embedded.ts";
import { LeaseClient } from "../../services/client/mod.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { Dispatchers } from "../dispatchers.ts";
import { comparisonProblems, type DrillReport, type DrillRequest, pause, randomFrom } from "../drill.ts";
import { History } from "../history.ts";
import { SdkLoad } from "../sdk-load.ts";

const PEERS = ["a", "b", "c"];
/** Load before and after each handover; the dispatchers hear of each other meanwhile. ms. */
const SETTLE_MS = 2_000;

interface Run {
  readonly by: "request" | "SIGTERM";
  readonly from: string;
  readonly to: string;
  /** Longest gap from the handover on. */
  readonly gapMs: number;
  /** The same while nothing is handed over: what the machine does by itself. */
  readonly calmGapMs: number;
  /** The same while the stopped process starts again as a follower; undefined when none was stopped. */
  readonly restartGapMs: number | undefined;
}
interface PlannedHandoverReport extends DrillReport {
  readonly runs: readonly Run[];
  readonly worstGapMs: number;
  readonly worstCalmGapMs: number;
  readonly worstRestartGapMs: number;
  readonly acknowledged: number;
  readonly completed: number;
  /** Errors that callers of the SDK saw. */
  readonly errors: number;
}

export async function plannedHandover({ repeats, seed, report }: DrillRequest): Promise<PlannedHandoverReport> {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-drill-"));
  const server = await startNatsServer({ storeDir: join(folder, "nats"), report: () => {} });
  const natsUrls = [server.url];
  const dispatchers = new Dispatchers({ natsUrls, folder });
  const connection = await connectNats({ servers: natsUrls, name: "drill" });
  const operator = await LeaseClient.connect({ connection, shard: "default", principal: "operator" });
  const load = await SdkLoad.connect(natsUrls);
  const random = randomFrom(seed);
  try {
    for (const peer of PEERS) await dispatchers.start(peer);
    load.start();
    const runs: Run[] = [];
    for (let run = 1; run <= repeats; run += 1) {
      const done = await handOver(run % 2 === 1 ? "request" : "SIGTERM", { operator, dispatchers, load, random });
      runs.push(done);
      const restart = done.restartGapMs === undefined ? "" : `, ${done.restartGapMs} ms in the restart`;
      const calm = `${done.calmGapMs} ms before`;
      report(`run ${run}: ${done.from} to ${done.to} by ${done.by}, longest gap ${done.gapMs} ms (${calm}${restart})`);
    }
    await load.stop();
    const history = await History.read(connection);
    const enqueued = history.compareEnqueued(load.acknowledged);
    const completed = history.compareCompleted(load.completed);
    const comparison = { lost: enqueued.lost + completed.lost, doubled: enqueued.doubled + completed.doubled };
    for (const error of load.errors.slice(0, 10)) report(error);
    return {
      runs,
      worstGapMs: Math.max(...runs.map(({ gapMs }) => gapMs)),
      worstCalmGapMs: Math.max(...runs.map(({ calmGapMs }) => calmGapMs)),
      worstRestartGapMs: Math.max(...runs.map(({ restartGapMs = 0 }) => restartGapMs)),
      acknowledged: load.acknowledged.size,
      completed: load.completed.size,
      errors: load.errors.length,
      ...comparison,
      problems: [
        ...comparisonProblems(comparison),
        ...(load.errors.length === 0 ? [] : [`callers of the SDK saw ${load.errors.length} errors`]),
      ],
    };
  } finally {
    await load.close();
    await operator.close();
    await connection.close();
    dispatchers.killAll();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Mesh {
  readonly operator: LeaseClient;
  readonly dispatchers: Dispatchers;
  readonly load: SdkLoad;
  /** Draws to whom a request hands the shard. */
  readonly random: () => number;
}

/** One handover, with a while before and after it, and the restart of what was stopped for it. */
async function handOver(by: Run["by"], { operator, dispatchers, load, random }: Mesh): Promise<Run> {
  const gapDuring = async (what: () => Promise<unknown>): Promise<number> => {
    const fromMs = performance.now();
    await what();
    await pause(SETTLE_MS);
    return Math.round(load.acks.longestGap(fromMs).gapMs);
  };
  const calmGapMs = await gapDuring(async () => {});
  const { leader: from } = await operator.stats();
  const others = PEERS.filter((peer) => peer !== from);
  const to = others[Math.floor(random() * others.length)];
  const gapMs = await gapDuring(() =>
    by === "request" ? operator.handover({ to }) : dispatchers.signal(from, "SIGTERM"),
  );
  const { leader } = await operator.stats({ consistent: true });
  if (leader === from) throw new Error(`${from} still leads`);
  const restartGapMs = by === "request" ? undefined : await gapDuring(() => dispatchers.start(from));
  return { by, from, to: leader, gapMs, calmGapMs, restartGapMs };
}
