/**
 * Drills on the containers of docker-compose.yml, by turns on the dispatcher that leads and on the server that leads the stream: the container is
 * killed, is paused, or loses the network between it and its like.
 * Promise: nothing acknowledged is lost or doubled, the shard is served again when it is over, and the three copies of the log end up equal.
 */
import { replicaAdvice } from "../../services/jetstream/replica-advice.ts";
import { auditReplicas } from "../../services/jetstream/replica-audit.ts";
import { compareWithShard } from "../compare.ts";
import { ComposeMesh, missingEngine } from "../containers/compose-mesh.ts";
import { skippedReport } from "../disk/rights.ts";
import { leaderOf } from "../dispatchers.ts";
import { comparisonProblems, type Drill, type DrillReport, type DrillRequest, pause, randomFrom } from "../drill.ts";
import { Load } from "../load.ts";

export type ContainerFault = "kill" | "pause" | "cut";
/** Whose container. */
export type ContainerTarget = "dispatcher" | "server";

export interface ContainerRun {
  readonly fault: ContainerFault;
  readonly service: string;
  /** What the engine said of the container while the fault lasted. */
  readonly evidence: string;
  readonly lastedMs: number;
  readonly gapMs: number;
  /** From the end of the fault to the first acknowledgement. ms. */
  readonly recoveredMs: number;
  readonly acknowledged: number;
  readonly problems: readonly string[];
}
interface ContainerReport extends DrillReport {
  readonly runs: readonly ContainerRun[];
}

/** A fault that lasts: what shows it, and its end. */
interface ActiveFault {
  readonly evidence: string;
  readonly applied: boolean;
  readonly end: () => Promise<void>;
}

const ADDRESS = { region: "local", shard: "default" };
/** Dispatchers, and with them the servers. Workers would take the load's items. */
const SERVICES = ["d1", "d2"];
/** What is cut: between a dispatcher and the servers, or between a server and the others. */
const NETWORKS: Readonly<Record<ContainerTarget, string>> = { dispatcher: "dispatch", server: "routes" };
/** Load before a fault, besides a random part. ms. */
const SETTLE_MS = 1_000;
const RANDOM_MS = 1_000;
/** How long a fault lasts, besides a random part: longer than it takes to suspect who is silent. ms. */
const LASTS_MS = 5_000;
const LASTS_RANDOM_MS = 3_000;
/** Two elections of NATS in a row. ms. */
const RECOVERED_MS = 60_000;
const REPLICA_PATIENCE_MS = 10_000;
const POLL_MS = 20;

export const containerKilled: Drill = (request) => strikeContainers(request, "kill");
export const containerPaused: Drill = (request) => strikeContainers(request, "pause");
export const networkCut: Drill = (request) => strikeContainers(request, "cut");

async function strikeContainers(
  { repeats, seed, report }: DrillRequest,
  fault: ContainerFault,
): Promise<ContainerReport> {
  const reason = await missingEngine();
  if (reason !== undefined) return { ...skippedReport(reason), runs: [] };
  const random = randomFrom(seed);
  const drill = await ContainerDrill.start(report);
  try {
    const runs: ContainerRun[] = [];
    for (let repeat = 1; repeat <= repeats; repeat += 1) {
      const run = await drill.strike(fault, (repeat + seed) % 2 === 0 ? "dispatcher" : "server", random);
      runs.push(run);
      report(`run ${repeat}: ${describe(run)}`);
    }
    const comparison = await drill.compare();
    return {
      runs,
      ...comparison,
      problems: [...comparisonProblems(comparison), ...runs.flatMap(({ problems }) => problems)],
    };
  } finally {
    await drill.close();
  }
}

/** A mesh in containers under load, struck as often as one likes. */
export class ContainerDrill {
  readonly #mesh: ComposeMesh;
  readonly #load: Load;

  static async start(report: (line: string) => void): Promise<ContainerDrill> {
    return new ContainerDrill(await ComposeMesh.start({ services: SERVICES, report }));
  }

  private constructor(mesh: ComposeMesh) {
    this.#mesh = mesh;
    this.#load = new Load(mesh.connection);
    this.#load.start();
  }

  async strike(fault: ContainerFault, target: ContainerTarget, random: () => number): Promise<ContainerRun> {
    await this.#acknowledged();
    await pause(SETTLE_MS + random() * RANDOM_MS);
    const service = target === "dispatcher" ? await leaderOf(this.#mesh.connection) : (await this.#audit()).leader;
    const startMs = performance.now();
    const active = await this.#begin(fault, target, service);
    await pause(LASTS_MS + random() * LASTS_RANDOM_MS);
    await active.end();
    const lastedMs = Math.round(performance.now() - startMs);
    const recoveredMs = await this.#acknowledged();
    const problems = [
      ...(active.applied ? [] : [`${fault} of ${service} was not applied: ${active.evidence}`]),
      ...(await this.#untilEqual()),
    ];
    const gapMs = this.#load.longestGapMs(startMs);
    const acknowledged = this.#load.acknowledged.size;
    return { fault, service, evidence: active.evidence, lastedMs, gapMs, recoveredMs, acknowledged, problems };
  }

  /** Ends the load. */
  async compare(): Promise<Pick<DrillReport, "lost" | "doubled">> {
    await this.#load.stop();
    return compareWithShard(this.#mesh.connection, this.#load.acknowledged);
  }

  async close(): Promise<void> {
    this.#load.abandon();
    await this.#mesh.close();
  }

  async #begin(fault: ContainerFault, target: ContainerTarget, service: string): Promise<ActiveFault> {
    const mesh = this.#mesh;
    if (fault === "cut") {
      const network = NETWORKS[target];
      const end = await mesh.cut(service, network);
      const applied = !(await mesh.isIn(service, network));
      return { evidence: `${applied ? "not in" : "in"} the network ${network}`, applied, end };
    }
    await (fault === "kill" ? mesh.kill(service) : mesh.pause(service));
    const { Status, ExitCode } = (await mesh.inspect(service)).State;
    const evidence = fault === "kill" ? `${Status} with code ${ExitCode}` : Status;
    const applied = evidence === (fault === "kill" ? "exited with code 137" : "paused");
    return { evidence, applied, end: () => (fault === "kill" ? mesh.start(service) : mesh.resume(service)) };
  }

  /** How long the next acknowledgement was waited for. ms. */
  async #acknowledged(): Promise<number> {
    const fromMs = performance.now();
    while (this.#load.acknowledgedSince(fromMs) === 0) {
      if (performance.now() - fromMs > RECOVERED_MS) throw new Error(`nothing was acknowledged for ${RECOVERED_MS} ms`);
      await pause(POLL_MS);
    }
    return Math.round(performance.now() - fromMs);
  }

  /** Until all copies of the log are equal; what is said of them when they are not in time. */
  async #untilEqual(): Promise<readonly string[]> {
    for (const startMs = performance.now(); ; ) {
      const advice = replicaAdvice(await this.#audit()).map(({ text }) => text);
      if (advice.length === 0) return [];
      if (performance.now() - startMs > RECOVERED_MS) return advice;
    }
  }

  #audit(): ReturnType<typeof auditReplicas> {
    return auditReplicas(this.#mesh.connection, { ...ADDRESS, patienceMs: REPLICA_PATIENCE_MS });
  }
}

function describe({ fault, service, evidence, lastedMs, gapMs, recoveredMs, acknowledged }: ContainerRun): string {
  return `${fault} ${service} (${evidence}) for ${lastedMs} ms, longest gap ${gapMs} ms, served again ${recoveredMs} ms after its end; ${acknowledged} acknowledged`;
}
