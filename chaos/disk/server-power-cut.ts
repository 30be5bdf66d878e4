/**
 * The power of one server of three fails under a steady load, while the other two go on; it comes back with what its disk held.
 * Promise: with `sync_interval: always` the other two serve, nothing that was acknowledged is lost, and in the end all three copies of the log are
 * equal. With the server's own default nothing is promised: what happened is told.
 */
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { replicaAdvice } from "../../services/jetstream/replica-advice.ts";
import { auditReplicas } from "../../services/jetstream/replica-audit.ts";
import { compareWithShard } from "../compare.ts";
import { comparisonProblems, type DrillReport, type DrillRequest, pause, randomFrom } from "../drill.ts";
import { History } from "../history.ts";
import { StreamGroup } from "../stream-group.ts";
import { blockBytes } from "./block-files.ts";
import { DiskMesh, MEBIBYTE } from "./disk-mesh.ts";

export interface ServerCutCase {
  readonly syncInterval: "always" | "2m";
  /** Of the server whose power fails, in the stream. */
  readonly role: "leader" | "follower";
}

interface ServerCutRun extends ServerCutCase {
  readonly server: string;
  /** Of the server's logs, the stream's and those of its Raft groups: at the cut, and of these on the disk that was left. */
  readonly writtenBytes: number;
  readonly keptBytes: number;
  readonly acknowledgedBefore: number;
  /** From the cut to the server's start. */
  readonly acknowledgedMeanwhile: number;
  /** Of the whole run. */
  readonly acknowledged: number;
  /** The longest time without an acknowledgement since the cut. ms. */
  readonly gapMs: number;
  /** From the server's start until the stream's leader saw all replicas up to date; undefined when that did not come. ms. */
  readonly caughtUpMs: number | undefined;
  /** All that was acknowledged when the log or the shard could not be read. */
  readonly lost: number;
  readonly doubled: number;
  /** What is not as it is promised with `always`. */
  readonly findings: readonly string[];
}
interface ServerCutReport extends DrillReport {
  readonly runs: readonly ServerCutRun[];
}

/** Load before the cut, besides a random part. ms. Far below the 30 s after which the kernel writes by itself what nobody has synced. */
const LOADED_MS = 3_000;
const RANDOM_MS = 2_000;
/** Load that the server misses, from when the others serve. ms. */
const AWAY_MS = 2_000;
/** How long a cluster may take to let another server lead: an election, sometimes two. ms. */
const MOVED_MS = 40_000;
const REPLICA_PATIENCE_MS = 20_000;
const ACKNOWLEDGED_MIN = 100;
const SERVER_BYTES = 128 * MEBIBYTE;

/** The machine has the right to volumes. */
export async function cutServers(
  { repeats, seed, report }: DrillRequest,
  cases: readonly ServerCutCase[],
): Promise<ServerCutReport> {
  const random = randomFrom(seed);
  const runs: ServerCutRun[] = [];
  for (let repeat = 1; repeat <= repeats; repeat += 1)
    for (const each of cases) {
      const run = await cutOnce(each, random);
      runs.push(run);
      report(`run ${repeat}: ${describe(run)}`);
    }
  const promised = runs.filter(({ syncInterval }) => syncInterval === "always");
  const sum = (of: (run: ServerCutRun) => number): number => promised.reduce((total, run) => total + of(run), 0);
  return {
    runs,
    lost: sum(({ lost }) => lost),
    doubled: sum(({ doubled }) => doubled),
    problems: runs.flatMap((run) => problemsOf(run).map((problem) => `${nameOf(run)}: ${problem}`)),
  };
}

async function cutOnce(each: ServerCutCase, random: () => number): Promise<ServerCutRun> {
  const mesh = await DiskMesh.start({ replicas: 3, syncInterval: each.syncInterval, serverBytes: SERVER_BYTES });
  try {
    await mesh.serveLoad();
    await pause(LOADED_MS + random() * RANDOM_MS);
    const { load, servers } = mesh;
    const leader = await new StreamGroup(servers).leader();
    const followers = servers.filter((server) => server !== leader);
    const follower = followers[Math.floor(random() * followers.length)] as NatsServer;
    const victim = each.role === "leader" ? leader : follower;
    const acknowledgedBefore = load.acknowledged.size;
    const cutMs = performance.now();
    const bytes = await cut(mesh, victim);
    await mesh.acknowledgedSince(performance.now(), MOVED_MS);
    await pause(AWAY_MS);
    const acknowledgedMeanwhile = load.acknowledgedSince(cutMs);
    // Without `always` the log may be gone, or the dispatcher refuse it: that is an outcome too.
    const outcome = await comeBack(mesh, victim, cutMs).catch((error: Error) => ({
      gapMs: load.longestGapMs(cutMs),
      caughtUpMs: undefined,
      lost: load.acknowledged.size,
      doubled: 0,
      findings: [error.message],
    }));
    const figures = { server: victim.serverName, ...bytes, acknowledgedBefore, acknowledgedMeanwhile };
    return { ...each, ...figures, acknowledged: load.acknowledged.size, ...outcome };
  } finally {
    await mesh.close();
  }
}

async function cut(
  { volumes }: DiskMesh,
  server: NatsServer,
): Promise<Pick<ServerCutRun, "writtenBytes" | "keptBytes">> {
  const volume = volumes.get(server.serverName);
  if (volume === undefined) throw new Error(`${server.serverName} is not on a volume`);
  await server.pause();
  await volume.cut();
  const writtenBytes = blockBytes(server);
  await server.kill();
  await volume.restore();
  return { writtenBytes, keptBytes: blockBytes(server) };
}

/** The server starts and catches up under load; then the log and the shard are compared with what was acknowledged, and the copies of the log with one another. */
async function comeBack(
  mesh: DiskMesh,
  server: NatsServer,
  cutMs: number,
): Promise<Pick<ServerCutRun, "gapMs" | "caughtUpMs" | "lost" | "doubled" | "findings">> {
  const { connection, load } = mesh;
  const startMs = performance.now();
  await server.restart();
  await new StreamGroup(mesh.servers).whole();
  const caughtUpMs = Math.round(performance.now() - startMs);
  await mesh.acknowledgedSince(performance.now(), MOVED_MS);
  const gapMs = load.longestGapMs(cutMs);
  await load.stop();
  const inLog = (await History.read(connection)).compareEnqueued(load.acknowledged);
  const inShard = await compareWithShard(connection, load.acknowledged);
  const lost = Math.max(inLog.lost, inShard.lost);
  const doubled = Math.max(inLog.doubled, inShard.doubled);
  const request = { region: "local", shard: "default", patienceMs: REPLICA_PATIENCE_MS };
  const advice = replicaAdvice(await auditReplicas(connection, request)).map(({ text }) => text);
  return { gapMs, caughtUpMs, lost, doubled, findings: [...comparisonProblems({ lost, doubled }), ...advice] };
}

function problemsOf(run: ServerCutRun): readonly string[] {
  const { syncInterval, acknowledgedBefore, acknowledgedMeanwhile, writtenBytes, keptBytes, findings } = run;
  const problems: string[] = [];
  if (acknowledgedBefore < ACKNOWLEDGED_MIN)
    problems.push(`only ${acknowledgedBefore} calls were acknowledged before the cut`);
  if (acknowledgedMeanwhile < ACKNOWLEDGED_MIN)
    problems.push(`only ${acknowledgedMeanwhile} calls were acknowledged without the server`);
  if (syncInterval === "always") problems.push(...findings);
  else if (keptBytes >= writtenBytes) problems.push("the server's disk has lost nothing: the cut was not one");
  return problems;
}

const nameOf = ({ syncInterval, role, server }: ServerCutRun): string =>
  `R3, sync_interval ${syncInterval}, only ${server} (${role === "leader" ? "the stream's leader" : "a follower"})`;

function describe(run: ServerCutRun): string {
  const { writtenBytes, keptBytes, acknowledgedBefore, acknowledgedMeanwhile, acknowledged, findings } = run;
  const back = run.caughtUpMs === undefined ? "not caught up" : `caught up in ${run.caughtUpMs} ms`;
  const end = findings.length === 0 ? `none of ${acknowledged} lost, all copies equal` : findings.join("; ");
  return `${nameOf(run)}: power cut after ${acknowledgedBefore} acknowledged, ${keptBytes} of ${writtenBytes} bytes left; the others acknowledged ${acknowledgedMeanwhile} meanwhile, longest gap ${run.gapMs} ms; ${back}; ${end}`;
}
