/** `npm run bench:recovery`: how long a shard takes to come back, by its snapshot and by its whole log, and whether both give one state. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs, promisify } from "node:util";
import { type NatsServer, startNatsServer } from "../../infra/nats-server/embedded.ts";
import { DISPATCHER_NODE_FLAGS } from "../../services/runtime/node-flags.ts";
import { describeMachine, median } from "./machine.ts";
import type { Folded, FoldRequest } from "./recovery-fold.ts";
import { type Mix, type WrittenLog, writeLog } from "./recovery-log.ts";

const DISPATCHER = join(import.meta.dirname, "../../services/dispatcher/main.ts");
const FOLD = join(import.meta.dirname, "recovery-fold.ts");
const PLACE = { region: "local", shard: "bench", peerId: "bench" } as const;
/** The snapshot covers this share of the log; the rest is its tail. */
const SNAPSHOT_AT = 0.985;

const run = promisify(execFile);
const say = (line: string): void => void process.stderr.write(`${line}\n`);

interface Bed {
  readonly server: NatsServer;
  readonly dataDir: string;
  readonly written: WrittenLog;
}

interface Runs {
  readonly replayMs: number[];
  readonly loadMs: number[];
  readonly restoreMs: number[];
  readonly coldStartMs: number[];
  readonly nodeStartMs: number[];
  readonly modulesMs: number[];
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean", default: false },
      events: { type: "string", default: "1000000" },
      runs: { type: "string", default: "3" },
      mix: { type: "string", default: "life" },
      sync: { type: "string", default: "2m" },
    },
  });
  const events = positive("events", values.events);
  const count = positive("runs", values.runs);
  if (values.mix !== "life" && values.mix !== "pending")
    throw new Error(`--mix must be life or pending, is ${values.mix}`);
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-recovery-"));
  try {
    const bed = await prepare(folder, { events, mix: values.mix, sync: values.sync });
    const runs: Runs = { replayMs: [], loadMs: [], restoreMs: [], coldStartMs: [], nodeStartMs: [], modulesMs: [] };
    try {
      for (let index = 1; index <= count; index += 1) await measure(bed, runs, index);
    } finally {
      await bed.server.stop();
    }
    report(bed, { events, mix: values.mix, sync: values.sync }, runs, values.json);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Shape {
  readonly events: number;
  readonly mix: Mix;
  readonly sync: string;
}

async function prepare(folder: string, { events, mix, sync }: Shape): Promise<Bed> {
  const server = await startNatsServer({ storeDir: join(folder, "nats"), syncInterval: sync, report: () => {} });
  const dataDir = join(folder, "data");
  mkdirSync(dataDir);
  try {
    const plan = { url: server.url, ...PLACE, events, mix, dataDir, snapshotAt: SNAPSHOT_AT, progress: say };
    return { server, dataDir, written: await writeLog(plan) };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** The dispatcher comes last: it adds its term to the log, which the next run's replay then folds too. */
async function measure(bed: Bed, runs: Runs, index: number): Promise<void> {
  const replayed = await fold(bed);
  const restored = await fold(bed, bed.dataDir);
  for (const { hash, sequence } of [replayed, restored])
    assert.deepEqual({ hash, sequence }, { hash: bed.written.hash, sequence: bed.written.sequence });
  runs.replayMs.push(replayed.elapsedMs);
  runs.restoreMs.push(restored.elapsedMs);
  runs.loadMs.push(restored.loadMs);
  runs.nodeStartMs.push(await timeOf(["--eval", ""]));
  runs.modulesMs.push(await timeOf([DISPATCHER, "--help"]));
  runs.coldStartMs.push(await coldStart(bed));
  const rate = Math.round((replayed.sequence / replayed.elapsedMs) * 1_000);
  say(
    `run ${index}: replay ${ms(replayed.elapsedMs)} ms (${rate} events/s, ${ms(replayed.cpuMs)} ms cpu, ${replayed.rssMiB} MiB), snapshot ${ms(restored.loadMs)} ms + tail ${ms(restored.elapsedMs - restored.loadMs)} ms (${restored.rssMiB} MiB), cold start ${ms(runs.coldStartMs.at(-1) ?? 0)} ms`,
  );
}

async function fold({ server, written }: Bed, dataDir?: string): Promise<Folded> {
  const { logId, streamSequence } = written;
  const request: FoldRequest = { url: server.url, ...PLACE, logId, streamSequence, dataDir };
  const { stdout, stderr } = await run(process.execPath, [FOLD, JSON.stringify(request)]);
  process.stderr.write(stderr);
  return JSON.parse(stdout) as Folded;
}

async function timeOf(args: readonly string[]): Promise<number> {
  const start = performance.now();
  await run(process.execPath, args);
  return performance.now() - start;
}

/** From the start of a dispatcher's process to the line that says it leads. ms. */
async function coldStart({ server, dataDir }: Bed): Promise<number> {
  const args = [DISPATCHER, "--nats-url", server.url, "--region", PLACE.region, "--shards", PLACE.shard];
  args.push("--peer-id", PLACE.peerId, "--data-dir", dataDir);
  const start = performance.now();
  const child = spawn(process.execPath, [...DISPATCHER_NODE_FLAGS, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const lines: string[] = [];
  let elapsedMs = Number.NaN;
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (!line.includes('"msg":"leading"')) continue;
    elapsedMs = performance.now() - start;
    break;
  }
  child.stdout.resume();
  assert(elapsedMs > 0, `the dispatcher never led:\n${lines.join("\n")}`);
  assert(
    lines.some((line) => line.includes('"msg":"snapshot_loaded"')),
    `the dispatcher did not use the snapshot:\n${lines.join("\n")}`,
  );
  // As after a crash: what a stop in order writes would be part of the next start.
  child.kill("SIGKILL");
  await once(child, "exit");
  return elapsedMs;
}

function report(bed: Bed, shape: Shape, runs: Runs, isJson: boolean): void {
  const { counts, snapshot, sequence, streamSequence, payloadBytes, hash } = bed.written;
  const medians = Object.fromEntries(
    Object.entries(runs).map(([name, values]) => [name, ms(median(values))]),
  ) as Record<keyof Runs, number>;
  const result = {
    machine: { ...describeMachine(), natsServer: bed.server.version },
    ...shape,
    log: { sequence, frames: streamSequence, payloadBytes, hash, ...counts },
    snapshot,
    replayEventsPerSecond: Math.round(sequence / (medians.replayMs / 1_000)),
    median: medians,
    runs: Object.fromEntries(Object.entries(runs).map(([name, values]) => [name, values.map(ms)])),
  };
  if (isJson) {
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return;
  }
  const { machine } = result;
  const text = [
    `${machine.cpu}, ${machine.cores} cores, node ${machine.node}, nats-server ${machine.natsServer}, commit ${machine.commit}`,
    `${sequence} events in ${streamSequence} frames, ${Math.round(payloadBytes / 2 ** 20)} MiB; ${Object.entries(counts)
      .map(([name, value]) => `${value} ${name}`)
      .join(", ")}; snapshot at ${snapshot.sequence}, ${Math.round(snapshot.textBytes / 2 ** 20)} MiB of text`,
    "",
    "| median of the runs | |",
    "|---|---|",
    `| full replay | ${medians.replayMs} ms, ${result.replayEventsPerSecond} events/s |`,
    `| snapshot alone | ${medians.loadMs} ms |`,
    `| snapshot and tail | ${medians.restoreMs} ms |`,
    `| dispatcher, start of its process to "leading" | ${medians.coldStartMs} ms |`,
    `| of that: an empty Node process | ${medians.nodeStartMs} ms |`,
    `| of that: Node and the dispatcher's modules | ${medians.modulesMs} ms |`,
    "",
    `state hash equal at the end of the log: ${hash}`,
  ];
  process.stdout.write(`${text.join("\n")}\n`);
}

const ms = (value: number): number => Math.round(value);

function positive(name: string, value: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 1)
    throw new Error(`--${name} must be a whole number above 0, is ${value}`);
  return number;
}

await main();
