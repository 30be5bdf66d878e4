/** `npm run bench:deep`: a shard with a million pending items: memory, time to lease, time of a page. */
import { once } from "node:events";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import { ITEM_BYTES_MAX } from "../../contracts/limits.ts";
import { startNatsServer } from "../../infra/nats-server/embedded.ts";
import { ask, rssMib, startDispatcher } from "./bed.ts";
import { describeMachine, type Percentiles, percentiles } from "./machine.ts";
import { type End, inFolder } from "./signals.ts";

const SHARD = "deep";
const BATCH = 500;

const Count = (least: number, most: number) => z.coerce.number().int().min(least).max(most);
const Options = z.strictObject({
  /** Items that are pending at last. */
  items: Count(1_000, 10_000_000).default(1_000_000),
  /** Leases of which the times are taken, at each depth. */
  samples: Count(1, 1_000_000).default(3_000),
  /** Of each body. */
  bytes: Count(0, ITEM_BYTES_MAX).default(250),
});
type Options = z.output<typeof Options>;

/** Throws `invalid_options` (definite). */
function readOptions(args: readonly string[]): Options {
  const refused = (problem: string) => new OperatingError("invalid_options", problem, { definite: true });
  let values: object;
  try {
    const options = { items: { type: "string" }, samples: { type: "string" }, bytes: { type: "string" } } as const;
    values = parseArgs({ args: [...args], options }).values;
  } catch (error) {
    throw refused(error instanceof Error ? error.message : String(error));
  }
  const parsed = Options.safeParse(values);
  if (parsed.success) return parsed.data;
  throw refused(parsed.error.issues.map(({ path, message }) => `--${path.join(".")}: ${message}`).join("\n"));
}

async function measure({ items, samples, bytes }: Options, folder: string, ends: End[]): Promise<void> {
  const server = await startNatsServer({ storeDir: join(folder, "nats"), syncInterval: "always", report: () => {} });
  ends.push(() => server.stop());
  const options = `pendingHigh=${2 * items}`;
  const args = ["--nats-url", server.url, "--data-dir", join(folder, "data"), "--shard-options", options];
  const dispatcher = await startDispatcher(args, { shards: [SHARD] });
  ends.push(async () => {
    dispatcher.kill("SIGTERM");
    if (dispatcher.exitCode === null && dispatcher.signalCode === null) await once(dispatcher, "exit");
  });
  const connection = await connect({ servers: server.url });
  ends.push(() => connection.close());
  const load = new Load(connection, bytes);
  await load.fill(1_000);
  await load.leases(samples);
  const shallow = await load.leases(samples);
  await load.fill(items);
  const deep = await load.leases(samples);
  const pages = await load.pages();
  const p99Ratio = Math.round((deep.p99 / shallow.p99) * 100) / 100;
  const result = {
    machine: describeMachine(),
    ...{ items, bytes },
    rssMib: rssMib(dispatcher),
    lease: { at1000: shallow, deep, p99Ratio },
    pages,
  };
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
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

try {
  const options = readOptions(process.argv.slice(2));
  await inFolder("omnirelay-deep-", (folder, ends) => measure(options, folder, ends));
} catch (error) {
  if (!(error instanceof OperatingError && error.definite)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
}
