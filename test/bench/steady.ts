/** `npm run bench:steady`: an open load at half of capacity, while snapshots are taken and the log is trimmed: latency and memory. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { startNatsServer } from "../../infra/nats-server/embedded.ts";
import { ask, rssMib, startDispatcher } from "./bed.ts";
import { describeMachine, type Percentiles, percentiles } from "./machine.ts";

const SHARD = "steady";
const BATCH = 100;
/** Enqueued, leased, completed. */
const EVENTS_PER_ITEM = 3;
const BODY = JSON.stringify({ rows: "x".repeat(200) });
const OPTIONS = "logKeepEvents=0,logKeepMs=0,recordsMax=100000";
/** Around a trim: what the server may do for it before and after it is told. ms. */
const TRIM_MARGIN_MS = 100;

interface Sample {
  readonly atMs: number;
  readonly latencyMs: number;
}
interface Window {
  readonly kind: "snapshot" | "trim";
  readonly fromMs: number;
  toMs: number;
}

/** What the dispatcher said about itself, on our clock. */
class Witness {
  readonly windows: Window[] = [];
  readonly rss: { readonly events: number; readonly mib: number }[] = [];
  snapshots = 0;
  trims = 0;
  #open: Window | undefined;

  heard(line: string): void {
    const nowMs = performance.now();
    if (line.includes('"msg":"snapshot_begun"')) {
      this.#open = { kind: "snapshot", fromMs: nowMs, toMs: Number.POSITIVE_INFINITY };
      this.windows.push(this.#open);
    } else if (line.includes('"msg":"snapshot_published"')) {
      this.snapshots += 1;
      if (this.#open !== undefined) this.#open.toMs = nowMs;
    } else if (line.includes('"msg":"log_trimmed"')) {
      this.trims += 1;
      const { ms } = JSON.parse(line) as { ms: number };
      this.windows.push({ kind: "trim", fromMs: nowMs - ms - TRIM_MARGIN_MS, toMs: nowMs + TRIM_MARGIN_MS });
    } else if (line.includes('"level":"error"') || line.includes('"level":50')) process.stderr.write(`${line}\n`);
  }

  isBusy(atMs: number, only?: Window["kind"]): boolean {
    return this.windows.some(({ kind, fromMs, toMs }) => (only ?? kind) === kind && atMs >= fromMs && atMs <= toMs);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      events: { type: "string", default: "5000000" },
      depth: { type: "string", default: "50000" },
      share: { type: "string", default: "0.5" },
      "snapshot-events": { type: "string", default: "400000" },
      json: { type: "boolean", default: false },
    },
  });
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-steady-"));
  const server = await startNatsServer({ storeDir: join(folder, "nats"), syncInterval: "always", report: () => {} });
  const witness = new Witness();
  const args = ["--nats-url", server.url, "--data-dir", join(folder, "data"), "--shard-options", OPTIONS];
  args.push("--snapshot-events", values["snapshot-events"], "--snapshot-ms", "0");
  const heard = (line: string): void => witness.heard(line);
  const dispatcher = await startDispatcher(args, { shards: [SHARD], heard });
  try {
    const connection = await connect({ servers: server.url });
    const load = new Load(connection);
    await load.fill(Number(values.depth));
    const capacity = await load.capacity(4_000);
    const rate = capacity * Number(values.share);
    process.stderr.write(`capacity ${Math.round(capacity)} items/s, load ${Math.round(rate)} items/s\n`);
    const samples = await load.run(rate, Number(values.events), dispatcher, witness);
    await connection.close();
    report(
      values.json,
      { capacity, rate, events: Number(values.events), depth: Number(values.depth) },
      samples,
      witness,
    );
  } finally {
    dispatcher.kill("SIGTERM");
    await once(dispatcher, "exit");
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

class Load {
  readonly #connection: NatsConnection;
  #count = 0;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  async fill(depth: number): Promise<void> {
    for (let left = depth; left > 0; left -= BATCH) await this.#enqueue();
  }

  /** Items/s of whole lives with 16 cycles under way. */
  async capacity(forMs: number): Promise<number> {
    const startMs = performance.now();
    let cycles = 0;
    const loop = async (): Promise<void> => {
      while (performance.now() - startMs < forMs) {
        await this.#cycle();
        cycles += 1;
      }
    };
    await Promise.all(Array.from({ length: 16 }, loop));
    return (cycles * BATCH * 1_000) / (performance.now() - startMs);
  }

  /** Starts a cycle at each of its times, however late the answers of earlier ones are: latency counts from the time, not from sending. */
  async run(rate: number, events: number, dispatcher: ChildProcess, witness: Witness): Promise<Sample[]> {
    const cycles = Math.ceil(events / EVENTS_PER_ITEM / BATCH);
    const everyMs = (BATCH * 1_000) / rate;
    const startMs = performance.now();
    const samples: Sample[] = [];
    const underWay = new Set<Promise<void>>();
    let shownMs = startMs;
    for (let cycle = 0; cycle < cycles; ) {
      const nowMs = performance.now();
      for (; cycle < cycles && startMs + cycle * everyMs <= nowMs; cycle += 1) {
        const atMs = startMs + cycle * everyMs;
        const running = this.#cycle((latencyMs) => samples.push({ atMs, latencyMs }), atMs);
        underWay.add(running);
        void running.then(() => underWay.delete(running));
      }
      if (nowMs - shownMs >= 1_000) {
        shownMs = nowMs;
        const done = cycle * BATCH * EVENTS_PER_ITEM;
        const mib = rssMib(dispatcher);
        witness.rss.push({ events: done, mib });
        process.stderr.write(
          `${done} events, ${underWay.size} cycles under way, ${witness.snapshots} snapshots, ${witness.trims} trims, ${mib} MiB\n`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await Promise.all(underWay);
    return samples;
  }

  async #cycle(enqueued?: (latencyMs: number) => void, atMs = 0): Promise<void> {
    await this.#enqueue();
    enqueued?.(performance.now() - atMs);
    const { leases } = await this.#ask<{ leases: { itemId: string; token: number }[] }>("lease", { maxItems: BATCH });
    if (leases.length > 0)
      await this.#ask("complete", { leases: leases.map(({ itemId, token }) => ({ itemId, token })) });
  }

  async #enqueue(): Promise<void> {
    const items = Array.from({ length: BATCH }, () => {
      this.#count += 1;
      return { resourceType: "table", resourceId: `t-${this.#count}`, body: BODY };
    });
    await this.#ask("enqueue", { items });
  }

  #ask<Reply>(verb: string, body: object): Promise<Reply> {
    return ask<Reply>(this.#connection, SHARD, verb, body);
  }
}

function report(isJson: boolean, run: object, samples: readonly Sample[], witness: Witness): void {
  const busy = samples.filter(({ atMs }) => witness.isBusy(atMs));
  const calm = samples.filter(({ atMs }) => !witness.isBusy(atMs));
  const [busyMs, calmMs] = [latencies(busy), latencies(calm)];
  const quarters = [0.25, 0.5, 0.75, 1].map((part) => {
    const until = Math.floor(witness.rss.length * part);
    return Math.max(...witness.rss.slice(Math.floor(witness.rss.length * (part - 0.25)), until).map(({ mib }) => mib));
  });
  const result = {
    machine: describeMachine(),
    ...run,
    options: OPTIONS,
    snapshots: witness.snapshots,
    trims: witness.trims,
    calm: { samples: calm.length, ...calmMs },
    busy: { samples: busy.length, ...busyMs },
    snapshot: latencies(samples.filter(({ atMs }) => witness.isBusy(atMs, "snapshot"))),
    trim: latencies(samples.filter(({ atMs }) => witness.isBusy(atMs, "trim"))),
    p99Ratio: Math.round((busyMs.p99 / calmMs.p99) * 100) / 100,
    rssMibByQuarter: quarters,
  };
  process.stdout.write(isJson ? `${JSON.stringify(result)}\n` : `${JSON.stringify(result, undefined, 2)}\n`);
}

const latencies = (samples: readonly Sample[]): Percentiles => percentiles(samples.map(({ latencyMs }) => latencyMs));

await main();
