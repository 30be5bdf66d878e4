/** One run of the matrix, from empty servers to a verdict: workload under faults, healing, what must then happen, evidence, check. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "../at-end.ts";
import { readRunFolder } from "../checker/run-folder.ts";
import { checkRun, type Verdict } from "../checker.ts";
import { pause } from "../drill.ts";
import type { PlannedFault } from "../faults/fault.ts";
import { runFaults } from "../faults/nemesis.ts";
import { countByKind, movesLeader, writeGapMsMax } from "../faults/plan.ts";
import { type FaultRecord, RUN_FILES, type RunPlan } from "../operations.ts";
import { LineFile } from "../recorder.ts";
import { type RunFigures, runFigures, timedFaults } from "../run-figures.ts";
import { renderTimeline } from "../timeline.ts";
import type { Recovery } from "../writes.ts";
import { sinkGuarantees } from "./drill-sinks.ts";
import { drawFeatures, type Feature } from "./features.ts";
import { readJournal } from "./fenced-resource.ts";
import type { LeaderChange } from "./leadership.ts";
import { DISPATCHERS, type Mesh, REGION, SERVER_COUNT, SHARD, startMesh } from "./mesh.ts";
import { ask, collectStates, handoversFor, loggedStates } from "./node-states.ts";
import type { PlantName } from "./plant.ts";
import { dumpReplicas } from "./replica-dump.ts";
import { SinkWatch } from "./sink-watch.ts";
import type { WorkloadOrder } from "./workload.ts";

export interface RunRequest {
  /** Also the name of its folder. */
  readonly name: string;
  readonly seed: number;
  readonly plan: readonly PlannedFault[];
  /** How long the workload runs under faults. */
  readonly seconds: number;
  /** Its evidence goes into a folder of its own below. */
  readonly evidence: string;
  readonly binary: string;
  readonly plant?: PlantName | undefined;
  readonly report: (line: string) => void;
}

export interface RunResult {
  readonly name: string;
  readonly seed: number;
  readonly folder: string;
  /** `failed`: a promise was broken. `invalid`: the run was less than planned, so it shows nothing. */
  readonly status: Verdict["status"];
  readonly reasons: readonly string[];
  /** How many faults were planned. */
  readonly planned: number;
  readonly faults: readonly FaultRecord[];
  /** Of each fault, in the order in which they struck. */
  readonly recoveries: readonly FaultRecovery[];
  readonly figures: RunFigures;
  readonly verdict: Verdict;
}

export interface FaultRecovery extends Recovery {
  readonly kind: string;
  /** Who was struck. */
  readonly target: string;
}

/** Mutations per second that a run must bring at least, faults included; without any it brings many times as many. */
const OK_MUTATIONS_PER_SECOND = 10;
/** What must have happened after the healing: every item at its end; each dispatcher in the lead. ms. */
const LIVENESS_MS = 60_000;
const LEADS_MS = 20_000;
/** How long a worker may take to end what it has under way. ms. */
const DISMISS_MS = 15_000;
const POLL_MS = 200;

/** Makes the run and judges it. Throws when it could not be made, which says nothing about the system. */
export async function makeRun(request: RunRequest): Promise<RunResult> {
  const { name, seed, evidence, plant, report } = request;
  const features = drawFeatures(seed);
  report(`features: ${features.join(", ") || "none"}`);
  const folder = join(evidence, name);
  // One that is there already holds the history of another run.
  mkdirSync(folder);
  writeFileSync(join(folder, RUN_FILES.plan), JSON.stringify(planOf(request, features), null, 2));
  const data = temporaryFolder("omnirelay-matrix-");
  let problems: readonly string[];
  let mesh: Mesh | undefined;
  try {
    mesh = await startMesh({ run: name, folder, dataFolder: data.path, seed, features, binary: request.binary, plant });
    problems = await underFaults(mesh, request, folder);
  } finally {
    await mesh?.close();
    data.remove();
  }
  report("checking");
  return judgeRun(request, folder, problems, mesh.leadership.changes);
}

/** Writes verdict, figures and page into the folder. */
async function judgeRun(
  { name, seed, plan, plant }: RunRequest,
  folder: string,
  problems: readonly string[],
  leaders: readonly LeaderChange[],
): Promise<RunResult> {
  const verdict = await checkRun(folder);
  const { operations, faults } = readRunFolder(folder);
  const figures = runFigures(operations);
  const { voids = 0 } = verdict.counts;
  // Nobody but the dispatchers writes to this log.
  const strangers = voids === 0 ? [] : [`${voids} messages of the log are void: they were appended without a fence`];
  const broken = [...problems, ...strangers];
  const status = broken.length > 0 ? "failed" : verdict.status;
  const reasons = [...verdict.reasons, ...broken];
  // What the checker cannot see in the folder belongs to the verdict all the same.
  writeFileSync(join(folder, RUN_FILES.verdict), `${JSON.stringify({ ...verdict, status, reasons }, null, 2)}\n`);
  const recoveries = timedFaults(faults, figures).map(({ record, afterStartMs, afterEndMs }) => {
    return { kind: record.kind, target: record.target, afterStartMs, afterEndMs };
  });
  const { seconds: _, startNs: __, writes: ___, ...totals } = figures;
  const terms = leaders.map(({ atNs, ...change }) => ({ ...change, atNs: String(atNs) }));
  const run = { name, seed, plant, status, reasons, faults: plan, recoveries, totals, leaders: terms };
  writeFileSync(join(folder, "run.json"), JSON.stringify(run, null, 2));
  const page = renderTimeline({ name, seed, status, reasons, figures, faults, leaders });
  writeFileSync(join(folder, "timeline.html"), page);
  return { name, seed, folder, status, reasons, planned: plan.length, faults, recoveries, figures, verdict };
}

function planOf({ name, seed, plan, seconds }: RunRequest, features: readonly Feature[]): RunPlan {
  return {
    ...{ run: name, seed, region: REGION, shard: SHARD, replicas: SERVER_COUNT, dispatchers: DISPATCHERS },
    sinks: sinkGuarantees,
    faults: countByKind(plan),
    features: [...features],
    okMutationsMin: Math.ceil(seconds * OK_MUTATIONS_PER_SECOND),
    leaderChangesMin: movesLeader(plan) ? handoversFor(DISPATCHERS.length) + 1 : 0,
    // A fault of NATS may be one long election: little is answered while it lasts.
    okDuringFaultsMin: 0.1,
    writeGapMsMax: writeGapMsMax(plan),
  };
}

/** Everything that needs the mesh. Answers what should have happened and has not. */
async function underFaults(mesh: Mesh, request: RunRequest, folder: string): Promise<readonly string[]> {
  const watch = new SinkWatch(mesh.sinks, new LineFile(join(folder, RUN_FILES.sinks)));
  try {
    const problems = await loadUnderFaults(mesh, request, folder);
    problems.push(...(await collectEvidence(mesh, folder, watch)));
    return [...problems, ...new Set(mesh.unordered)];
  } finally {
    watch.stop();
  }
}

/** The load under faults, the healing, and what must come to its end then. */
async function loadUnderFaults(mesh: Mesh, request: RunRequest, folder: string): Promise<string[]> {
  const { plan, seconds, seed, report } = request;
  const workload = [...mesh.clients.values(), ...mesh.workers.values()];
  await Promise.all(workload.map((process) => process.start()));
  const startMs = performance.now();
  const log = new LineFile(join(folder, RUN_FILES.nemesis));
  await runFaults({ mesh, plan, seed, startMs, log, report });
  log.close();
  await pause(Math.max(0, startMs + seconds * 1_000 - performance.now()));
  const problems = [...(await heal(mesh)), ...(await settle(mesh, LIVENESS_MS))];
  report(`settled ${Math.round(performance.now() - startMs) / 1_000} s after the start`);
  return problems;
}

/** Writes down states, sinks, replicas and journal. Answers what cannot be had. */
async function collectEvidence(mesh: Mesh, folder: string, watch: SinkWatch): Promise<readonly string[]> {
  const peers = [...mesh.dispatchers.keys()];
  const { states, silent } = await collectStates(mesh.connection, peers, LEADS_MS);
  const problems = silent.map((peer) => `${peer} did not come to lead within ${LEADS_MS} ms after the healing`);
  const all = peers.map((peer) => [peer, [...loggedStates(join(folder, `${peer}.log`)), ...(states[peer] ?? [])]]);
  writeFileSync(join(folder, RUN_FILES.states), JSON.stringify(Object.fromEntries(all), null, 2));
  // Before the replicas, so that the log has whatever a sink has.
  problems.push(...(await collectSinks(mesh, watch)));
  const servers = mesh.servers.map(({ serverName }) => serverName);
  await dumpReplicas({ connection: mesh.connection, region: REGION, shard: SHARD, servers, folder }).catch(
    (error: unknown) => problems.push(`the replicas cannot be read: ${String(error)}`),
  );
  const journal = readJournal(folder).map((record) => `${JSON.stringify(record)}\n`);
  writeFileSync(join(folder, RUN_FILES.fenced), journal.join(""));
  return problems;
}

/** Waits until the sinks have everything, ends the replicator and writes down what they hold. Answers what did not come about. */
async function collectSinks({ connection, replicator }: Mesh, watch: SinkWatch): Promise<readonly string[]> {
  const problems: string[] = [];
  const endMs = performance.now() + LIVENESS_MS;
  let end: number | undefined;
  while (end === undefined && performance.now() < endMs) {
    end = (await ask(connection, "stats", { consistent: true }))?.sequence;
    if (end === undefined) await pause(POLL_MS);
  }
  if (end === undefined) problems.push("nobody tells where the log ends, which the sinks must reach");
  const behind = await watch.reached(end ?? 0, endMs - performance.now());
  for (const [sink, sequence] of behind)
    problems.push(`V1: sink ${sink} is at ${sequence} ${LIVENESS_MS} ms after the end of the load, the log at ${end}`);
  const ended = await replicator.stop(DISMISS_MS);
  if (ended?.code !== 0) problems.push(`the replicator did not end in order: ${JSON.stringify(ended)}`);
  await watch.finish().catch((error: unknown) => problems.push(`the sinks cannot be read: ${String(error)}`));
  return problems;
}

/** Makes good whatever a fault has left. Answers what does not heal. */
async function heal(mesh: Mesh): Promise<readonly string[]> {
  mesh.links.healAll();
  const { dispatchers, clients, workers, replicator } = mesh;
  const processes = [...dispatchers.values(), ...clients.values(), ...workers.values(), replicator];
  for (const process of processes) process.resume();
  // Who cannot start is told by what does not happen then.
  await Promise.race([Promise.all(processes.map((process) => process.start())), pause(LEADS_MS)]);
  return mesh.stream.whole().then(
    () => [],
    (error: unknown) => [String(error)],
  );
}

/** From now on everything must come to its end: clients hear what became of their requests, workers complete what is there. */
async function settle(mesh: Mesh, boundMs: number): Promise<string[]> {
  const problems: string[] = [];
  const endMs = performance.now() + boundMs;
  const order = (word: WorkloadOrder["order"]): WorkloadOrder => ({ order: word });
  for (const worker of mesh.workers.values()) worker.send(order("settle"));
  await Promise.all(
    [...mesh.clients.values()].map(async (client) => {
      if (!(await client.dismiss(order("settle"), boundMs)))
        problems.push(`client ${client.name} did not hear what became of its requests within ${boundMs} ms`);
    }),
  );
  const counts = await untilEmpty(mesh, endMs);
  if (counts !== undefined) problems.push(`after ${boundMs} ms not every item had come to its end: ${counts}`);
  await Promise.all(
    [...mesh.workers.values()].map(async (worker) => {
      if (!(await worker.dismiss(order("stop"), DISMISS_MS)))
        problems.push(`worker ${worker.name} did not end within ${DISMISS_MS} ms`);
    }),
  );
  return problems;
}

/** What is left when the time is over; undefined when nothing is. */
async function untilEmpty(mesh: Mesh, endMs: number): Promise<string | undefined> {
  for (;;) {
    const stats = await ask(mesh.connection, "stats", { consistent: true });
    if (stats !== undefined && stats.pending + stats.active === 0) return undefined;
    if (performance.now() > endMs)
      return stats === undefined ? "nobody answers" : `${stats.pending} pending, ${stats.active} leased`;
    await pause(POLL_MS);
  }
}
