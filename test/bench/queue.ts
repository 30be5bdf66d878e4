/** `npm run bench:queue`: what the features of the queue cost the life of an item, in the core alone and through the mesh, interleaved in one run. */
import { type ChildProcess, execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { startNatsServer } from "../../infra/nats-server/embedded.ts";
import { ask, REPOSITORY, startDispatcher } from "./bed.ts";
import { describeMachine, median } from "./machine.ts";
import { BATCH, itemOf, KINDS, type Kind } from "./queue-life.ts";

const DEPTH = 20_000;
const IN_FLIGHT = 16;
/** Shard names are the kinds in small letters. */
const shardOf = (kind: Kind | "before"): string => kind.toLowerCase();

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      against: { type: "string" },
      runs: { type: "string", default: "9" },
      items: { type: "string", default: "60000" },
    },
  });
  const [runs, items] = [Number(values.runs), Number(values.items)];
  if (!(Number.isSafeInteger(runs) && runs > 0 && Number.isSafeInteger(items) && items > 0))
    throw new Error("--runs and --items must be whole numbers above 0");
  const core = await measure(runs, coreRuns(values.against, items));
  const bed = await openBed(values.against);
  const mesh = await measure(runs, meshRuns(bed, values.against !== undefined, items));
  await bed.close();
  process.stdout.write(
    `${JSON.stringify({ machine: describeMachine(), items, runs, depth: DEPTH, core, mesh }, null, 2)}\n`,
  );
}

type Runs = ReadonlyMap<string, () => Promise<number> | number>;

/** Items per second of each, and what it costs beside the first of them: the median of the ratios within a round. */
async function measure(rounds: number, runs: Runs): Promise<object> {
  const rates = new Map<string, number[]>([...runs.keys()].map((name) => [name, []]));
  // The first round warms up, and is thrown away.
  for (let round = 0; round <= rounds; round += 1) {
    for (const [name, run] of runs) {
      const rate = await run();
      if (round > 0) rates.get(name)?.push(rate);
    }
    process.stderr.write(`round ${round} of ${rounds}\n`);
  }
  const [base = []] = rates.values();
  return Object.fromEntries(
    [...rates].map(([name, each]) => {
      const costs = each.map((rate, index) => (base[index] ?? Number.NaN) / rate);
      return [name, { itemsPerSecond: Math.round(median(each)), cost: Math.round(median(costs) * 1_000) / 1_000 }];
    }),
  );
}

/** Each run in a process of its own: what another kind does to the compiled code is no cost of this one. */
function coreRuns(against: string | undefined, items: number): Runs {
  const run = (checkout: string, kind: Kind) => (): number => {
    const args = [join(import.meta.dirname, "queue-life.ts"), checkout, kind, `${items}`, `${DEPTH}`];
    return Number(execFileSync(process.execPath, args, { encoding: "utf8" }));
  };
  const runs = new Map<string, () => number>();
  if (against !== undefined) runs.set("before", run(against, "plain"));
  for (const kind of KINDS) runs.set(kind, run(REPOSITORY, kind));
  return runs;
}

interface Bed {
  readonly connection: NatsConnection;
  close(): Promise<void>;
}

/** One server; a dispatcher for each kind, and one of the other checkout. */
async function openBed(against: string | undefined): Promise<Bed> {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-queue-"));
  const server = await startNatsServer({ storeDir: join(folder, "nats"), syncInterval: "always", report: () => {} });
  const args = (name: string) => [
    ...["--nats-url", server.url, "--data-dir", join(folder, name)],
    ...["--snapshot-ms", "0", "--peer-id", `dispatcher--${name}`],
  ];
  const dispatchers: ChildProcess[] = [];
  if (against !== undefined)
    dispatchers.push(await startDispatcher(args("before"), { shards: ["before"], checkout: against }));
  for (const kind of KINDS) dispatchers.push(await startDispatcher(args(kind), { shards: [shardOf(kind)] }));
  const connection = await connect({ servers: server.url });
  for (const kind of KINDS)
    if (kind !== "plain") {
      const quotas = { "group/g0": { leasesMax: 1_000 } };
      await ask(connection, shardOf(kind), "configure", { options: { fairness: "groups" }, quotas });
    }
  return {
    connection,
    close: async () => {
      await connection.close();
      for (const dispatcher of dispatchers) {
        dispatcher.kill("SIGTERM");
        await once(dispatcher, "exit");
      }
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function meshRuns({ connection }: Bed, hasBefore: boolean, items: number): Runs {
  const runs = new Map<string, () => Promise<number>>();
  if (hasBefore) runs.set("before", () => runMesh(connection, "before", "plain", items));
  for (const kind of KINDS) runs.set(kind, () => runMesh(connection, shardOf(kind), kind, items));
  return runs;
}

async function runMesh(connection: NatsConnection, shard: string, kind: Kind, items: number): Promise<number> {
  let made = 0;
  const cycle = async (): Promise<void> => {
    const batch = Array.from({ length: BATCH }, () => itemOf(kind, made++));
    await ask(connection, shard, "enqueue", { items: batch });
    const { leases } = await ask<{ leases: { itemId: string; token: number }[] }>(connection, shard, "lease", {
      maxItems: BATCH,
    });
    if (leases.length > 0)
      await ask(connection, shard, "complete", {
        leases: leases.map(({ itemId, token }) => ({ itemId, token })),
      });
  };
  const { pending } = await ask<{ pending: number }>(connection, shard, "stats", {});
  for (let left = DEPTH - pending; left > 0; left -= BATCH) {
    const batch = Array.from({ length: BATCH }, () => itemOf(kind, made++));
    await ask(connection, shard, "enqueue", { items: batch });
  }
  const from = performance.now();
  let left = items / BATCH;
  const loop = async (): Promise<void> => {
    for (; left > 0; ) {
      left -= 1;
      await cycle();
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, loop));
  return (items * 1_000) / (performance.now() - from);
}

await main();
