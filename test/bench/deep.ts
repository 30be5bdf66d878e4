/** `npm run bench:deep`: a shard with a million pending items: memory, time to lease, time of a page. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { startNatsServer } from "../../infra/nats-server/embedded.ts";
import { ask, rssMib, startDispatcher } from "./bed.ts";
import { describeMachine, type Percentiles, percentiles } from "./machine.ts";

const SHARD = "deep";
const BATCH = 500;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      items: { type: "string", default: "1000000" },
      samples: { type: "string", default: "3000" },
      bytes: { type: "string", default: "250" },
    },
  });
  const [items, samples, bytes] = [Number(values.items), Number(values.samples), Number(values.bytes)];
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-deep-"));
  const server = await startNatsServer({ storeDir: join(folder, "nats"), syncInterval: "always", report: () => {} });
  const options = `pendingHigh=${2 * items}`;
  const args = ["--nats-url", server.url, "--data-dir", join(folder, "data"), "--shard-options", options];
  const dispatcher = await startDispatcher(args, { shards: [SHARD] });
  try {
    const connection = await connect({ servers: server.url });
    const load = new Load(connection, bytes);
    await load.fill(1_000);
    await load.leases(samples);
    const shallow = await load.leases(samples);
    await load.fill(items);
    const deep = await load.leases(samples);
    const pages = await load.pages();
    const rss = rssMib(dispatcher);
    await connection.close();
    const p99Ratio = Math.round((deep.p99 / shallow.p99) * 100) / 100;
    const result = {
      machine: describeMachine(),
      ...{ items, bytes },
      rssMib: rss,
      lease: { at1000: shallow, deep, p99Ratio },
      pages,
    };
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  } finally {
    dispatcher.kill("SIGTERM");
    await once(dispatcher, "exit");
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

class Load {
  readonly #connection: NatsConnection;
  readonly #body: string;
  #made = 0;
  #pending = 0;

  /** `bytes`: of each body. */
  constructor(connection: NatsConnection, bytes: number) {
    this.#connection = connection;
    this.#body = "x".repeat(bytes);
  }

  async fill(depth: number): Promise<void> {
    const loop = async (): Promise<void> => {
      while (this.#pending < depth) {
        const count = Math.min(BATCH, depth - this.#pending);
        this.#pending += count;
        const items = Array.from({ length: count }, () => this.#item());
        await ask(this.#connection, SHARD, "enqueue", { items });
        if (this.#pending % 100_000 === 0) process.stderr.write(`${this.#pending} items pending\n`);
      }
    };
    await Promise.all(Array.from({ length: 8 }, loop));
  }

  /** Leases one item at a time; each is completed and another one takes its place, so that the depth stays. */
  async leases(count: number): Promise<Percentiles> {
    const times: number[] = [];
    for (let index = 0; index < count; index += 1) {
      const from = performance.now();
      const { leases } = await ask<{ leases: object[] }>(this.#connection, SHARD, "lease", {});
      times.push(performance.now() - from);
      const [lease] = leases as { itemId: string; token: number }[];
      const ref = { itemId: lease?.itemId, token: lease?.token };
      await ask(this.#connection, SHARD, "complete", { leases: [ref] });
      await ask(this.#connection, SHARD, "enqueue", { items: [this.#item()] });
    }
    return percentiles(times);
  }

  /** Pages of 100 from everywhere in the shard; the slowest counts. */
  async pages(): Promise<Percentiles> {
    const times: number[] = [];
    for (let index = 0; index < 200; index += 1) {
      const cursor = Math.floor((this.#made * index) / 200).toString(36);
      const from = performance.now();
      await ask(this.#connection, SHARD, "list", { limit: 100, status: "pending", cursor });
      times.push(performance.now() - from);
    }
    return percentiles(times);
  }

  #item(): object {
    this.#made += 1;
    return { resourceType: `t${this.#made % 4}`, resourceId: `r${this.#made}`, body: this.#body };
  }
}

await main();
