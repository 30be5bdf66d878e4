/** `npm run bench:replication`: how fast the pump brings a stored log to each sink, and how far sinks are behind a log that grows. */
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { NatsConnection } from "@nats-io/transport-node";
import { changesStream } from "../../contracts/subjects.ts";
import { startNatsServer } from "../../infra/nats-server/embedded.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import type { Sink } from "../../services/replication/mod.ts";
import { createSinkKinds } from "../../services/replication/mod.ts";
import { ask, startDispatcher } from "./bed.ts";
import { describeMachine, median, type Percentiles, percentiles } from "./machine.ts";
import { writeLog } from "./recovery-log.ts";
import { type BenchSink, broughtTo, SINKS, startPump } from "./replication-pump.ts";

const REGION = "local";
const STORED = "stored";
const LIVE = "live";
const BATCH = 50;
const BODY = JSON.stringify({ rows: "x".repeat(200) });

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const known = (): readonly BenchSink[] => SINKS.filter(({ kind }) => createSinkKinds().names.includes(kind));

interface Throughput {
  readonly sink: string;
  readonly eventsPerSecond: number;
  readonly runs: readonly number[];
  readonly cpuMicrosPerEvent: number;
}

/** Each sink once per round, so that what the machine does meanwhile meets all of them. */
async function throughput(url: string, folder: string, events: number, rounds: number): Promise<readonly Throughput[]> {
  const dataDir = join(folder, "written");
  mkdirSync(dataDir);
  const plan = {
    url,
    region: REGION,
    shard: STORED,
    peerId: "bench",
    events,
    mix: "life" as const,
    dataDir,
    snapshotAt: 1,
  };
  const { sequence } = await writeLog({ ...plan, progress: say });
  const runs = new Map<string, { rates: number[]; cpu: number[] }>();
  for (let round = 1; round <= rounds; round += 1)
    for (const sink of known()) {
      const connection = await connectNats({ servers: url, name: `bench ${sink.name}` });
      const cpu = process.cpuUsage();
      const startMs = performance.now();
      const running = startPump({ connection, region: REGION, shard: STORED, folder, sink });
      await broughtTo(running, sequence);
      const seconds = (performance.now() - startMs) / 1_000;
      const used = process.cpuUsage(cpu);
      await running.close();
      // The changefeed keeps its place in its stream: the next round begins with none.
      await connection.request(`$JS.API.STREAM.DELETE.${changesStream(REGION, STORED)}`, "");
      await connection.close();
      const known = runs.get(sink.name) ?? { rates: [], cpu: [] };
      known.rates.push(Math.round(sequence / seconds));
      known.cpu.push((used.user + used.system) / sequence);
      runs.set(sink.name, known);
      say(`round ${round}: ${sink.name} ${Math.round(sequence / seconds)} events/s`);
    }
  return [...runs].map(([sink, { rates, cpu }]) => ({
    sink,
    eventsPerSecond: median(rates),
    runs: rates,
    cpuMicrosPerEvent: Math.round(median(cpu) * 100) / 100,
  }));
}

/** Whole lives of items at a steady rate; the latencies of the enqueues, in the order of their times. */
class Load {
  readonly #connection: NatsConnection;
  readonly latencies: { readonly atMs: number; readonly ms: number }[] = [];
  #count = 0;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  /** `itemsPerSecond` for so long: three events each. Latency counts from the time at which a cycle was due. */
  async run(itemsPerSecond: number, forMs: number): Promise<void> {
    const everyMs = (BATCH * 1_000) / itemsPerSecond;
    const startMs = performance.now();
    const cycles = Math.floor(forMs / everyMs);
    const underWay = new Set<Promise<void>>();
    for (let cycle = 0; cycle < cycles; cycle += 1) {
      const dueMs = startMs + cycle * everyMs;
      const waitMs = dueMs - performance.now();
      if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
      const running = this.#cycle(dueMs);
      underWay.add(running);
      void running.finally(() => underWay.delete(running));
    }
    await Promise.all(underWay);
  }

  async #cycle(dueMs: number): Promise<void> {
    const items = Array.from({ length: BATCH }, () => {
      this.#count += 1;
      return { resourceType: "table", resourceId: `r${this.#count}`, body: BODY };
    });
    await ask(this.#connection, LIVE, "enqueue", { items });
    this.latencies.push({ atMs: dueMs, ms: performance.now() - dueMs });
    const { leases } = await ask<{ leases: readonly { itemId: string; token: number }[] }>(
      this.#connection,
      LIVE,
      "lease",
      {
        maxItems: BATCH,
        waitMs: 0,
      },
    );
    const settled = leases.map(({ itemId, token }) => ({ itemId, token }));
    if (settled.length > 0) await ask(this.#connection, LIVE, "complete", { leases: settled });
  }
}

interface LagFigures {
  readonly sink: string;
  readonly delayMs: Percentiles;
}

/** All sinks beside each other behind a log that grows by `eventsPerSecond`. */
async function lag(
  url: string,
  folder: string,
  eventsPerSecond: number,
  forMs: number,
): Promise<readonly LagFigures[]> {
  const connection = await connectNats({ servers: url, name: "bench load" });
  const sinks = await connectNats({ servers: url, name: "bench sinks" });
  const pumps = known().map((sink) => ({
    sink,
    running: startPump({ connection: sinks, region: REGION, shard: LIVE, folder, sink, start: "latest" }),
  }));
  try {
    const load = new Load(connection);
    // The first second warms up all that is measured.
    await load.run(eventsPerSecond / 3, 3_000);
    for (const { running } of pumps) running.delays.length = 0;
    await load.run(eventsPerSecond / 3, forMs);
    const { sequence } = await ask<{ sequence: number }>(connection, LIVE, "stats", {});
    for (const { running } of pumps) await broughtTo(running, sequence);
    return pumps.map(({ sink, running }) => ({ sink: sink.name, delayMs: percentiles(running.delays) }));
  } finally {
    for (const { running } of pumps) await running.close();
    await sinks.close();
    await connection.close();
  }
}

interface BlockedFigures {
  readonly enqueueMs: { readonly before: Percentiles; readonly blocked: Percentiles; readonly ratioP99: number };
  /** Longest time from the log time of an event to its effect in the sinks that were not blocked, while one was. ms. */
  readonly othersLagMsMax: number;
  readonly behindAtRelease: number;
  readonly catchUpMs: number;
  readonly inOrder: boolean;
}

/** Three sinks, one of which hangs for a while: what the dispatcher and the others notice of it. */
async function blocked(url: string, folder: string, itemsPerSecond: number, forMs: number): Promise<BlockedFigures> {
  const connection = await connectNats({ servers: url, name: "bench load" });
  const sinks = await connectNats({ servers: url, name: "bench sinks" });
  let release: () => void = () => undefined;
  let gate = Promise.resolve();
  const seen: number[] = [];
  const wrap = (inner: Sink): Sink => ({
    open: (scope, checkpoint) => inner.open(scope, checkpoint),
    close: () => inner.close(),
    apply: async (batch, signal) => {
      await gate;
      await inner.apply(batch, signal);
      for (const { sequenceNumber } of batch.events) seen.push(sequenceNumber);
    },
  });
  const plan = { connection: sinks, region: REGION, shard: LIVE, folder, start: "latest" as const };
  const [first, second, third] = [SINKS[0], SINKS[1], SINKS[0]];
  if (first === undefined || second === undefined || third === undefined) throw new Error("there are no sinks");
  const stuck = startPump({ ...plan, sink: third, wrap });
  const others = [startPump({ ...plan, sink: first }), startPump({ ...plan, sink: second })];
  const load = new Load(connection);
  try {
    await load.run(itemsPerSecond, 3_000);
    const beganMs = performance.now();
    await load.run(itemsPerSecond, forMs);
    const blockedMs = performance.now();
    gate = new Promise((resolve) => {
      release = resolve;
    });
    for (const { delays } of others) delays.length = 0;
    await load.run(itemsPerSecond, forMs);
    const loadedMs = performance.now();
    const { sequence } = await ask<{ sequence: number }>(connection, LIVE, "stats", {});
    for (const other of others) await broughtTo(other, sequence);
    const othersLagMsMax = Math.max(...others.map(({ delays }) => percentiles(delays).max));
    const behindAtRelease = sequence - stuck.pump.status().sequence;
    const releasedMs = performance.now();
    release();
    await broughtTo(stuck, sequence);
    const between = (from: number, to: number): Percentiles =>
      percentiles(load.latencies.filter(({ atMs }) => atMs >= from && atMs < to).map(({ ms }) => ms));
    const before = between(beganMs, blockedMs);
    const during = between(blockedMs, loadedMs);
    return {
      enqueueMs: { before, blocked: during, ratioP99: Math.round((during.p99 / before.p99) * 100) / 100 },
      othersLagMsMax,
      behindAtRelease,
      catchUpMs: Math.round(performance.now() - releasedMs),
      inOrder: seen.every((sequenceNumber, index) => index === 0 || sequenceNumber === (seen[index - 1] ?? 0) + 1),
    };
  } finally {
    release();
    for (const running of [stuck, ...others]) await running.close();
    await sinks.close();
    await connection.close();
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      part: { type: "string", default: "throughput,lag,blocked" },
      events: { type: "string", default: "400000" },
      rounds: { type: "string", default: "3" },
      rate: { type: "string", default: "5000" },
      "for-ms": { type: "string", default: "60000" },
    },
  });
  const parts = new Set(values.part.split(","));
  const forMs = Number(values["for-ms"]);
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-replication-"));
  const server = await startNatsServer({ storeDir: join(folder, "nats"), syncInterval: "always", report: () => {} });
  const figures: Record<string, unknown> = { machine: describeMachine() };
  try {
    if (parts.has("throughput"))
      figures["throughput"] = await throughput(server.url, folder, Number(values.events), Number(values.rounds));
    if (parts.has("lag") || parts.has("blocked")) {
      const args = ["--nats-url", server.url, "--data-dir", join(folder, "data")];
      const dispatcher = await startDispatcher(args, { shards: [LIVE] });
      if (parts.has("lag"))
        figures["lag"] = await lag(server.url, folder, Number(values.rate), Math.min(forMs, 20_000));
      if (parts.has("blocked")) figures["blocked"] = await blocked(server.url, folder, 1_000, forMs);
      dispatcher.kill("SIGTERM");
      await once(dispatcher, "exit");
    }
    process.stdout.write(`${JSON.stringify(figures, undefined, 2)}\n`);
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
