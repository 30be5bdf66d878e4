/**
 * Drill: one bit is turned over in one server's copy of the log, under a steady load.
 * Promise: service goes on and nothing is lost, the leading dispatcher's auditor names the server within a minute, `omnirelay log audit` does so at
 * once, and what it says to do mends the copy.
 */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { logStream } from "../../contracts/subjects.ts";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { compareWithShard } from "../compare.ts";
import { type FlippedBit, flipBit, wipe } from "../disk/block-files.ts";
import { DiskMesh } from "../disk/disk-mesh.ts";
import { comparisonProblems, type Drill, type DrillReport, type DrillRequest, pause, randomFrom } from "../drill.ts";
import { StreamGroup } from "../stream-group.ts";

interface BitFlipRun {
  readonly server: string;
  readonly wasLeader: boolean;
  readonly flipped: FlippedBit;
  /** What the command said of the damage. */
  readonly advice: string;
  /** From the start of the damaged server to the auditor's alarm; undefined when that was not waited for. ms. */
  readonly alarmMs: number | undefined;
  /** The longest time without an acknowledgement, restarts and repair included. ms. */
  readonly gapMs: number;
  readonly acknowledged: number;
  readonly problems: readonly string[];
}
interface BitFlipReport extends DrillReport {
  readonly runs: readonly BitFlipRun[];
}

interface AuditOutcome {
  readonly code: number;
  readonly advice: string;
}

const SHARD = "default";
const CLI = fileURLToPath(new URL("../../services/cli/main.ts", import.meta.url));
/** Load before the damage, besides a random part. ms. */
const LOADED_MS = 3_000;
const RANDOM_MS = 2_000;
/** Rounds of the auditor come every 30 s. ms. */
const ALARM_MS = 60_000;
/** How long a copy may take to be filled again. ms. */
const MENDED_MS = 60_000;
const COMMAND_MS = 60_000;

export const bitFlip: Drill = (request) => flipBits(request, { waitsForAuditor: true });

export async function flipBits(
  { repeats, seed, report }: DrillRequest,
  { waitsForAuditor }: { readonly waitsForAuditor: boolean },
): Promise<BitFlipReport> {
  const random = randomFrom(seed);
  const mesh = await DiskMesh.start({ replicas: 3 });
  try {
    await mesh.serveLoad();
    const runs: BitFlipRun[] = [];
    for (let repeat = 1; repeat <= repeats; repeat += 1) {
      await pause(LOADED_MS + random() * RANDOM_MS);
      const run = await flipOnce(mesh, random, waitsForAuditor);
      runs.push(run);
      report(`run ${repeat}: ${describe(run)}`);
    }
    await mesh.load.stop();
    const comparison = await compareWithShard(mesh.connection, mesh.load.acknowledged);
    return {
      runs,
      ...comparison,
      problems: [...comparisonProblems(comparison), ...runs.flatMap(({ problems }) => problems)],
    };
  } finally {
    await mesh.close();
  }
}

async function flipOnce(mesh: DiskMesh, random: () => number, waitsForAuditor: boolean): Promise<BitFlipRun> {
  const group = new StreamGroup(mesh.servers);
  const victim = mesh.servers[Math.floor(random() * mesh.servers.length)] as NatsServer;
  const startMs = performance.now();
  const from = mesh.lines().length;
  const wasLeader = (await group.leader()) === victim;
  await victim.stop();
  const flipped = flipBit(victim, SHARD, random);
  await victim.restart();
  const damagedMs = performance.now();
  await group.whole();
  const found = await audit(mesh);
  const problems: string[] = [];
  const server = victim.serverName;
  if (found.code !== 1 || !found.advice.includes(`on ${server} `))
    problems.push(`the command did not find the flipped bit on ${server}: ${found.advice || "all copies are equal"}`);
  let alarmMs: number | undefined;
  if (waitsForAuditor) {
    problems.push(...(await told(mesh, ['"msg":"replica_alarm"', `"server":"${server}"`], from)));
    alarmMs = Math.round(performance.now() - damagedMs);
  }
  await repair(mesh, group, victim);
  problems.push(...(await untilEqual(mesh)));
  if (waitsForAuditor) problems.push(...(await told(mesh, ['"msg":"replica_mended"', `"server":"${server}"`], from)));
  await mesh.acknowledgedSince(performance.now(), MENDED_MS);
  const gapMs = mesh.load.longestGapMs(startMs);
  const { size: acknowledged } = mesh.load.acknowledged;
  return { server, wasLeader, flipped, advice: found.advice, alarmMs, gapMs, acknowledged, problems };
}

/** What is wrong when the dispatcher's auditor does not say so in time. */
async function told(mesh: DiskMesh, texts: readonly string[], from: number): Promise<readonly string[]> {
  return mesh.logged(texts, { from, boundMs: ALARM_MS }).then(
    () => [],
    (error: Error) => [`the auditor: ${error.message}`],
  );
}

/** As the command's advice says: a whole copy leads, the server is stopped, its copy goes, and it fetches another one. */
async function repair({ connection }: DiskMesh, group: StreamGroup, victim: NatsServer): Promise<void> {
  while ((await group.leader()) === victim)
    await connection.request(`$JS.API.STREAM.LEADER.STEPDOWN.${logStream("local", SHARD)}`, "", {
      timeout: COMMAND_MS,
    });
  await victim.stop();
  wipe(victim, SHARD);
  await victim.restart();
  await group.whole();
}

/** Until the command finds all copies equal; what it still says when it does not in time. */
async function untilEqual(mesh: DiskMesh): Promise<readonly string[]> {
  for (const startMs = performance.now(); ; ) {
    const { code, advice } = await audit(mesh);
    if (code === 0) return [];
    if (performance.now() - startMs > MENDED_MS) return [`after the repair: ${advice}`];
  }
}

/** `omnirelay log audit`, as an operator runs it. */
function audit({ natsUrls }: DiskMesh): Promise<AuditOutcome> {
  return new Promise((resolve, reject) => {
    const options = { timeout: COMMAND_MS, env: { ...process.env, NODE_NO_WARNINGS: "1" } };
    execFile(process.execPath, [CLI, "log", "audit", "--nats-url", natsUrls], options, (error, _out, notes) => {
      const code = error === null ? 0 : error.code;
      if (typeof code === "number") resolve({ code, advice: notes.trim() });
      else reject(error ?? new Error("the command ended without a code"));
    });
  });
}

function describe({ server, wasLeader, flipped, alarmMs, gapMs, acknowledged }: BitFlipRun): string {
  const role = wasLeader ? "the stream's leader" : "a follower";
  const alarm = alarmMs === undefined ? "" : `, the auditor's alarm after ${alarmMs} ms`;
  return `bit ${flipped.bit} of byte ${flipped.byte} of ${flipped.file} on ${server} (${role})${alarm}, longest gap ${gapMs} ms; ${acknowledged} acknowledged`;
}
