/** Where a benchmark ran: printed with every figure, because figures of two machines are not comparable. */
import { execFileSync } from "node:child_process";
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly commit: string;
  /** Median time of one 4 KiB write and fsync in the temporary folder. ms. */
  readonly fsyncMs: number;
}

export function describeMachine(): Machine {
  const [first] = cpus();
  return {
    cpu: first?.model.trim() ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    commit: commit(),
    fsyncMs: fsyncMs(),
  };
}

/** Of the checkout that this file is in, wherever the command was given. Changed documents change no figure. */
function commit(): string {
  const git = (...args: string[]): string =>
    execFileSync("git", args, { cwd: import.meta.dirname, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  try {
    const name = git("rev-parse", "--short", "HEAD").trim();
    const code = [":/", ":(top,exclude)*.md", ":(top,exclude)*.svg"];
    const isChanged = git("status", "--porcelain", "--untracked-files=no", "--", ...code) !== "";
    return isChanged ? `${name} with changes` : name;
  } catch {
    return "unknown"; // the package without its repository
  }
}

/** How fast the machine is at a moment. It may be shared with others, and a run takes hours: figures in ms and µs mean little beside others without it. */
export interface Probe {
  /** Of a 4 KiB write and its fsync in the temporary folder. ms. */
  readonly fsyncMs: number;
  readonly fsyncP99Ms: number;
  /** To encode an item of 350 bytes as JSON and decode it. µs. */
  readonly jsonMicros: number;
}

/** Takes a second or two. `syncs`: how many are measured at most. */
export function probeMachine(syncs: number): Probe {
  const times = syncTimes(syncs);
  return { fsyncMs: thousandths(median(times)), fsyncP99Ms: percentiles(times).p99, jsonMicros: jsonMicros() };
}

const fsyncMs = (): number => thousandths(median(syncTimes(200)));

/** A slow disk is known by fewer. ms. */
const SYNCS_MS_MAX = 2_000;

function syncTimes(count: number): number[] {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-fsync-"));
  const file = openSync(join(folder, "probe"), "w");
  const block = Buffer.alloc(4_096, 1);
  const times: number[] = [];
  const endMs = performance.now() + SYNCS_MS_MAX;
  while (times.length < count && performance.now() < endMs) {
    const start = performance.now();
    writeSync(file, block);
    fsyncSync(file);
    times.push(performance.now() - start);
  }
  closeSync(file);
  rmSync(folder, { recursive: true });
  return times;
}

const JSON_ROUNDS = 9;
const JSON_PER_ROUND = 10_000;

function jsonMicros(): number {
  const item = {
    type: "enqueued",
    resourceType: "table",
    resourceId: "db.orders.1",
    attempts: 3,
    body: "x".repeat(250),
  };
  const times = Array.from({ length: JSON_ROUNDS }, () => {
    const start = performance.now();
    for (let count = 0; count < JSON_PER_ROUND; count += 1) JSON.parse(JSON.stringify({ ...item, attempts: count }));
    return ((performance.now() - start) * 1_000) / JSON_PER_ROUND;
  });
  return thousandths(median(times));
}

const thousandths = (value: number): number => Math.round(value * 1_000) / 1_000;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

export interface Percentiles {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Of times in any order, to hundredths. */
export function percentiles(times: ArrayLike<number>): Percentiles {
  const sorted = Float64Array.from(times).sort();
  const at = (part: number): number =>
    Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN) * 100) / 100;
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) };
}
