/**
 * Drill: the power of every machine fails at one instant under a steady load, servers and dispatcher alike, and comes back.
 * Promise: with `sync_interval: always` nothing that was acknowledged is lost, by one server or by three, and the dispatcher goes on with the data
 * folder that it is left. The control, the same cut with the server's own default, must lose: else the drill would prove nothing.
 * Then the power of one server of three alone; see `cutServers`.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { OperatingError } from "../../contracts/errors.ts";
import { waitForMetaLeader } from "../../infra/nats-server/cluster.ts";
import { compareWithShard } from "../compare.ts";
import { DiskMesh, MEBIBYTE } from "../disk/disk-mesh.ts";
import { missingRight, skippedReport } from "../disk/rights.ts";
import { cutServers, type ServerCutCase } from "../disk/server-power-cut.ts";
import { type Drill, type DrillReport, type DrillRequest, pause, randomFrom } from "../drill.ts";
import { History } from "../history.ts";

export interface PowerCutCase {
  readonly replicas: 1 | 3;
  readonly syncInterval: string;
}

interface PowerCutRun extends PowerCutCase {
  /** Up to the cut. */
  readonly acknowledged: number;
  /** From the first acknowledgement to the cut. ms. */
  readonly loadedMs: number;
  /** Of what was acknowledged, not in the log that is left. */
  readonly lost: number;
  readonly doubled: number;
  /** Why the log that is left cannot be read; empty when it can. */
  readonly logProblem: string;
  /** What SQLite says of each file of the dispatcher that is left. */
  readonly sqlite: Readonly<Record<string, string>>;
  /** Why the dispatcher does not serve afterwards; empty when it does. */
  readonly refusal: string;
}
interface PowerCutReport extends DrillReport {
  readonly runs: readonly PowerCutRun[];
}

const ALWAYS = "always";
/** nats-server's own. */
const DEFAULT_INTERVAL = "2m";
const CASES: readonly PowerCutCase[] = [
  { replicas: 1, syncInterval: ALWAYS },
  { replicas: 1, syncInterval: DEFAULT_INTERVAL },
  { replicas: 3, syncInterval: ALWAYS },
  { replicas: 3, syncInterval: DEFAULT_INTERVAL },
];
const SERVER_CASES: readonly ServerCutCase[] = [
  { syncInterval: ALWAYS, role: "leader" },
  { syncInterval: ALWAYS, role: "follower" },
  { syncInterval: DEFAULT_INTERVAL, role: "leader" },
  { syncInterval: DEFAULT_INTERVAL, role: "follower" },
];
/** Load before the cut, besides a random part. ms. Far below the 30 s after which the kernel writes by itself what nobody has synced. */
const LOADED_MS = 3_000;
const RANDOM_MS = 2_000;
/** How long what stands still may have answers on their way to us. ms. */
const ON_THE_WAY_MS = 100;
const ACKNOWLEDGED_MIN = 100;
const SERVER_BYTES = 128 * MEBIBYTE;
const DISPATCHER_BYTES = 64 * MEBIBYTE;
/** Snapshots enough that the cut finds some, and one half written. */
const OFTEN = ["--snapshot-events", "50", "--snapshot-ms", "0"];

export const powerCut: Drill = async (request) => {
  const reason = await missingRight("volume");
  if (reason !== undefined) return skippedReport(reason);
  const all = await cutPower(request, CASES);
  const one = await cutServers(request, SERVER_CASES);
  return {
    runs: [...all.runs, ...one.runs],
    lost: all.lost + one.lost,
    doubled: all.doubled + one.doubled,
    problems: [...all.problems, ...one.problems],
  };
};

/** The machine has the right to volumes. */
export async function cutPower(
  { repeats, seed, report }: DrillRequest,
  cases: readonly PowerCutCase[],
): Promise<PowerCutReport> {
  const random = randomFrom(seed);
  const runs: PowerCutRun[] = [];
  for (let repeat = 1; repeat <= repeats; repeat += 1)
    for (const each of cases) {
      const run = await cutOnce(each, LOADED_MS + random() * RANDOM_MS);
      runs.push(run);
      report(`run ${repeat}: ${describe(run)}`);
    }
  const kept = runs.filter(({ syncInterval }) => syncInterval === ALWAYS);
  const sum = (of: (run: PowerCutRun) => number): number => kept.reduce((total, run) => total + of(run), 0);
  return {
    runs,
    lost: sum(({ lost }) => lost),
    doubled: sum(({ doubled }) => doubled),
    problems: runs.flatMap(problemsOf),
  };
}

async function cutOnce(each: PowerCutCase, loadedMs: number): Promise<PowerCutRun> {
  const mesh = await DiskMesh.start({
    ...each,
    serverBytes: SERVER_BYTES,
    dispatcherBytes: DISPATCHER_BYTES,
    args: OFTEN,
  });
  try {
    await mesh.serveLoad();
    const startMs = performance.now();
    await pause(loadedMs);
    await Promise.all([...mesh.servers, mesh.dispatcher].map((process) => process.pause()));
    const cutMs = performance.now();
    const volumes = [...mesh.volumes.values()];
    await Promise.all(volumes.map((volume) => volume.cut()));
    await pause(ON_THE_WAY_MS);
    mesh.load.abandon();
    const acknowledged = new Map(mesh.load.acknowledged);
    await Promise.all([...mesh.servers, mesh.dispatcher].map((process) => process.kill()));
    for (const volume of volumes) await volume.restore();
    const sqlite = checkFiles(mesh.dataDir);
    await Promise.all(mesh.servers.map((server) => server.restart()));
    if (mesh.servers.length > 1) await waitForMetaLeader(mesh.servers);
    const left = await readLeft(mesh, acknowledged);
    const refusal = (await mesh.serve()) ?? "";
    if (refusal === "") Object.assign(left, await compareWithShard(mesh.connection, acknowledged));
    return {
      ...each,
      acknowledged: acknowledged.size,
      loadedMs: Math.round(cutMs - startMs),
      ...left,
      sqlite,
      refusal,
    };
  } finally {
    await mesh.close();
  }
}

/** What the servers have kept: read from the log itself, before a dispatcher writes to it. */
async function readLeft(
  { connection }: DiskMesh,
  acknowledged: ReadonlyMap<string, string>,
): Promise<Pick<PowerCutRun, "lost" | "doubled" | "logProblem">> {
  try {
    return { ...(await History.read(connection)).compareEnqueued(acknowledged), logProblem: "" };
  } catch (error) {
    if (!(error instanceof OperatingError && error.definite)) throw error;
    return { lost: acknowledged.size, doubled: 0, logProblem: `${error.code}: ${error.message}` };
  }
}

function checkFiles(folder: string): Readonly<Record<string, string>> {
  const files = readdirSync(folder).filter((name) => name.endsWith(".sqlite"));
  return Object.fromEntries(
    files.map((name) => {
      const db = new Database(join(folder, name));
      try {
        return [name, String(db.pragma("integrity_check", { simple: true }))];
      } finally {
        db.close();
      }
    }),
  );
}

function problemsOf(run: PowerCutRun): readonly string[] {
  const { acknowledged, lost, doubled, logProblem, sqlite, refusal } = run;
  const problems: string[] = [];
  if (acknowledged < ACKNOWLEDGED_MIN) problems.push(`only ${acknowledged} calls were acknowledged before the cut`);
  for (const [file, verdict] of Object.entries(sqlite)) if (verdict !== "ok") problems.push(`${file}: ${verdict}`);
  if (Object.keys(sqlite).length === 0) problems.push("the dispatcher's data folder holds no database");
  if (run.syncInterval === ALWAYS) {
    if (lost > 0) problems.push(`${lost} acknowledged items are lost (${logProblem})`);
    if (doubled > 0) problems.push(`${doubled} items are there more than once`);
    if (refusal !== "") problems.push(`the dispatcher does not serve: ${refusal}`);
  } else {
    if (lost === 0) problems.push("the control lost nothing: the cut was not one");
    if (lost > 0 && refusal === "") problems.push("the dispatcher serves a log that has lost what it had seen");
  }
  return problems.map((problem) => `R${run.replicas}, sync_interval ${run.syncInterval}: ${problem}`);
}

function describe({ replicas, syncInterval, acknowledged, lost, refusal }: PowerCutRun): string {
  const end = refusal === "" ? "the dispatcher serves again" : `the dispatcher refuses: ${refusal}`;
  return `R${replicas}, sync_interval ${syncInterval}: power cut after ${acknowledged} acknowledged, ${lost} lost; ${end}`;
}
