/** The course of a drill in which a disk fails under load: what is owed while it does, and what is done when it is mended. */
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { replicaAdvice } from "../../services/jetstream/replica-advice.ts";
import { auditReplicas } from "../../services/jetstream/replica-audit.ts";
import { compareWithShard } from "../compare.ts";
import { comparisonProblems, type DrillReport, type DrillRequest, pause, randomFrom } from "../drill.ts";
import { StreamGroup } from "../stream-group.ts";
import type { ActiveFailure, DiskFailure } from "./disk-failure.ts";
import { DiskMesh, MEBIBYTE } from "./disk-mesh.ts";
import { missingRight, skippedReport } from "./rights.ts";

export interface DiskCase {
  readonly failure: DiskFailure;
  /** `server`: that of the server that leads the stream. */
  readonly owner: "server" | "dispatcher";
  readonly replicas: 1 | 3;
}

interface DiskRun {
  readonly failure: string;
  readonly owner: DiskCase["owner"];
  readonly replicas: DiskCase["replicas"];
  readonly evidence: Readonly<Record<string, number>>;
  /** The alarm by which the dispatcher tells it. */
  readonly alarm: string;
  /** From the failure to the alarm. ms. */
  readonly alarmMs: number;
  /** Code that a request got meanwhile; empty when it was served. */
  readonly refusal: string;
  /** Whether the shard was served while the disk failed. */
  readonly servedMeanwhile: boolean;
  /** Whether the shard was served again once the disk was mended, before anybody restarted anything. */
  readonly recoveredByItself: boolean;
  /** What a dispatcher says that is started on the failed disk; empty where that was not tried. */
  readonly startRefusal: string;
  /** The longest time without an acknowledgement. ms. */
  readonly gapMs: number;
  readonly acknowledged: number;
  readonly lost: number;
  readonly doubled: number;
  readonly problems: readonly string[];
}
interface DiskReport extends DrillReport {
  readonly runs: readonly DiskRun[];
}

const SERVER_BYTES = 64 * MEBIBYTE;
const DISPATCHER_BYTES = 16 * MEBIBYTE;
/** Load before the failure, besides a random part. ms. */
const LOADED_MS = 1_500;
const RANDOM_MS = 1_000;
/** The dispatcher writes to its folder every 10 s, a server at once. ms. */
const ALARM_MS = 30_000;
/** A replica that stands still is told after two rounds of the auditor, 30 s each. ms. */
const AUDIT_MS = 90_000;
/** How long a cluster may take to let another server lead: an election, sometimes two. ms. */
const MOVED_MS = 40_000;
/** How long a mended server is given to go on by itself. ms. */
const BY_ITSELF_MS = 3_000;
const RECOVERED_MS = 30_000;
const PROBE_MS = 1_000;
const REPLICA_PATIENCE_MS = 20_000;
/** Writes to the dispatcher's folder that must fail. */
const OFTEN = ["--snapshot-events", "200", "--snapshot-ms", "1000"];

export async function failDisks(
  { repeats, seed, report }: DrillRequest,
  cases: readonly DiskCase[],
): Promise<DiskReport> {
  const reason = await missingRight(...new Set(cases.map(({ failure }) => failure.needs)));
  if (reason !== undefined) return { ...skippedReport(reason), runs: [] };
  const random = randomFrom(seed);
  const runs: DiskRun[] = [];
  for (let repeat = 1; repeat <= repeats; repeat += 1)
    for (const each of cases) {
      const run = await new DiskDrill(each).run(LOADED_MS + random() * RANDOM_MS);
      runs.push(run);
      report(`run ${repeat}: ${describe(run)}`);
    }
  const sum = (of: (run: DiskRun) => number): number => runs.reduce((total, run) => total + of(run), 0);
  const problems = runs.flatMap((run) => run.problems.map((problem) => `${nameOf(run)}: ${problem}`));
  return { runs, lost: sum(({ lost }) => lost), doubled: sum(({ doubled }) => doubled), problems };
}

type Figures = Pick<
  DiskRun,
  "alarm" | "alarmMs" | "refusal" | "servedMeanwhile" | "recoveredByItself" | "startRefusal" | "evidence"
>;

class DiskDrill {
  readonly #case: DiskCase;
  readonly #problems: string[] = [];

  constructor(each: DiskCase) {
    this.#case = each;
  }

  async run(loadedMs: number): Promise<DiskRun> {
    const { failure, owner, replicas } = this.#case;
    const mesh = await this.#start();
    try {
      await mesh.serveLoad();
      await pause(loadedMs);
      const startMs = performance.now();
      const figures = await this.#fail(mesh);
      await mesh.acknowledgedSince(performance.now(), RECOVERED_MS);
      const gapMs = mesh.load.longestGapMs(startMs);
      await mesh.load.stop();
      const { acknowledged } = mesh.load;
      const comparison = await compareWithShard(mesh.connection, acknowledged);
      const problems = [...this.#problems, ...comparisonProblems(comparison)];
      const what = { failure: failure.name, owner, replicas };
      return { ...what, ...figures, gapMs, acknowledged: acknowledged.size, ...comparison, problems };
    } finally {
      await mesh.close();
    }
  }

  #fail(mesh: DiskMesh): Promise<Figures> {
    const { owner, replicas } = this.#case;
    if (owner === "dispatcher") return this.#dispatcherFails(mesh);
    return replicas === 1 ? this.#onlyServerFails(mesh) : this.#leaderFails(mesh);
  }

  #start(): Promise<DiskMesh> {
    const { failure, owner, replicas } = this.#case;
    const volume = owner === "server" ? { serverBytes: SERVER_BYTES } : { dispatcherBytes: DISPATCHER_BYTES };
    return DiskMesh.start({ replicas, args: OFTEN, ...(failure.needsVolume ? volume : {}) });
  }

  /** One server alone: nothing can be acknowledged until it is restarted, as the alarm says. */
  async #onlyServerFails(mesh: DiskMesh): Promise<Figures> {
    const [server] = mesh.servers as readonly [NatsServer, ...NatsServer[]];
    const active = await this.#case.failure.begin(mesh, server);
    try {
      const alarm = await this.#alarmOf(mesh, "log_wedged");
      const refusal = await refusalOf(mesh);
      if (!["unknown_outcome", "unavailable"].includes(refusal))
        this.#problems.push(`a request was answered with ${refusal || "success"}, although nothing can be written`);
      const evidence = this.#evidenceOf(active);
      await active.end();
      const recoveredByItself = await isServed(mesh, BY_ITSELF_MS);
      await server.restart();
      await this.#awaitCleared(mesh, "log_wedged");
      return { ...alarm, refusal, servedMeanwhile: false, recoveredByItself, startRefusal: "", evidence };
    } finally {
      await active.end();
    }
  }

  /** The leader of three: another one leads, and the auditor tells of the one whose copy stands still. */
  async #leaderFails(mesh: DiskMesh): Promise<Figures> {
    const group = new StreamGroup(mesh.servers);
    const victim = await group.leader();
    const startMs = performance.now();
    const active = await this.#case.failure.begin(mesh, victim);
    try {
      // Until the failure shows: a full disk has room for some frames yet.
      await group.leader(mesh.servers.filter((server) => server !== victim));
      const servedMeanwhile = await isServed(mesh, MOVED_MS);
      if (!servedMeanwhile) this.#problems.push("two whole servers of three do not serve");
      const texts = ['"msg":"replica_alarm"', `"server":"${victim.serverName}"`];
      const line = await mesh.logged(texts, { from: 0, boundMs: AUDIT_MS });
      const alarmMs = Math.round(performance.now() - startMs);
      const evidence = this.#evidenceOf(active);
      await active.end();
      await victim.restart();
      await this.#awaitWhole(mesh, group);
      const alarm = { alarm: `${line["code"]}: ${line["message"]}`, alarmMs };
      return { ...alarm, refusal: "", servedMeanwhile, recoveredByItself: true, startRefusal: "", evidence };
    } finally {
      await active.end();
    }
  }

  async #dispatcherFails(mesh: DiskMesh): Promise<Figures> {
    const { failure } = this.#case;
    const active = await failure.begin(mesh, "dispatcher");
    try {
      const alarm = await this.#alarmOf(mesh, "data_dir_unwritable");
      const refusal = await refusalOf(mesh);
      if (refusal !== "") this.#problems.push(`a request was refused (${refusal}), although the log can be written`);
      const evidence = this.#evidenceOf(active);
      await active.end();
      await this.#awaitCleared(mesh, "data_dir_unwritable");
      const startRefusal = failure.needsVolume ? await this.#startOnFailed(mesh) : "";
      const servedMeanwhile = refusal === "";
      return { ...alarm, refusal, servedMeanwhile, recoveredByItself: true, startRefusal, evidence };
    } finally {
      await active.end();
    }
  }

  /** The dispatcher is killed and its disk fails again before it starts: what it says. With the disk mended it must serve. */
  async #startOnFailed(mesh: DiskMesh): Promise<string> {
    await mesh.dispatcher.kill();
    const active = await this.#case.failure.begin(mesh, "dispatcher");
    const refusal = (await mesh.serve()) ?? "";
    await active.end();
    const problem = refusal === "" ? undefined : await mesh.serve();
    if (problem !== undefined) this.#problems.push(`with the disk mended the dispatcher does not start: ${problem}`);
    return refusal;
  }

  async #alarmOf(mesh: DiskMesh, code: string): Promise<Pick<DiskRun, "alarm" | "alarmMs">> {
    const startMs = performance.now();
    const line = await mesh.logged(['"msg":"alarm_raised"', `"code":"${code}"`], { from: 0, boundMs: ALARM_MS });
    if (line["isServing"] !== false) this.#problems.push(`${code} does not make the dispatcher unready`);
    return { alarm: `${code}: ${line["message"]}`, alarmMs: Math.round(performance.now() - startMs) };
  }

  #awaitCleared(mesh: DiskMesh, code: string): Promise<unknown> {
    return mesh.logged(['"msg":"alarm_cleared"', `"code":"${code}"`], { from: 0, boundMs: RECOVERED_MS });
  }

  async #awaitWhole(mesh: DiskMesh, group: StreamGroup): Promise<void> {
    await group.whole();
    const request = { region: "local", shard: "default", patienceMs: REPLICA_PATIENCE_MS };
    const advice = replicaAdvice(await auditReplicas(mesh.connection, request));
    this.#problems.push(...advice.map(({ text }) => text));
  }

  #evidenceOf(active: ActiveFailure): Readonly<Record<string, number>> {
    const evidence = active.evidence();
    if (evidence["failedCalls"] === 0) this.#problems.push("no call has failed: the failure was not applied");
    return evidence;
  }
}

/** Whether something is acknowledged within the bound. */
function isServed(mesh: DiskMesh, boundMs: number): Promise<boolean> {
  return mesh.acknowledgedSince(performance.now(), boundMs).then(
    () => true,
    () => false,
  );
}

/** How a request is refused at this moment; empty when it is not. */
async function refusalOf({ connection }: DiskMesh): Promise<string> {
  const id = `probe-${Math.round(performance.now())}`;
  const items = [{ resourceType: "table", resourceId: id }];
  const body = JSON.stringify({ items, requestId: id, timeoutMs: PROBE_MS });
  const answer = await connection.request("resourcelease.default.enqueue.probe", body, { timeout: 5 * PROBE_MS });
  return answer.json<{ error?: { code: string } }>().error?.code ?? "";
}

const nameOf = ({ failure, owner, replicas }: DiskRun): string =>
  `${failure}, ${owner === "server" ? `server, R${replicas}` : "dispatcher"}`;

function describe(run: DiskRun): string {
  const { alarm, alarmMs, refusal, recoveredByItself, startRefusal, gapMs, acknowledged, lost } = run;
  const served = refusal === "" ? "served meanwhile" : `refused meanwhile (${refusal})`;
  const start = startRefusal === "" ? "" : `, a start meanwhile is refused: ${startRefusal}`;
  const end = recoveredByItself ? "went on by itself" : "went on after a restart";
  return `${nameOf(run)}: ${alarm.split(":")[0]} after ${alarmMs} ms, ${served}${start}, ${end}, longest gap ${gapMs} ms; ${acknowledged} acknowledged, ${lost} lost`;
}
