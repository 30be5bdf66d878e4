/** `npm run bench`: the life of an item through the mesh and through a raw JetStream work queue, interleaved in one run. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { type NatsServer, startNatsServer } from "../../infra/nats-server/embedded.ts";
import { describeMachine, median } from "./machine.ts";
import { runBatches, runSingles } from "./mesh-runs.ts";
import { runRawQueue } from "./raw-queue.ts";
import { runRawRequests } from "./raw-requests.ts";

const DISPATCHER = join(import.meta.dirname, "../../services/dispatcher/main.ts");
const SHARD = "bench";
/** 250-byte items, as in the first trial figures. */
const body = (index: number): string =>
  JSON.stringify({ table: `db.orders.${index}`, partition: "p1", rows: "x".repeat(180) });

interface Sizes {
  readonly items: number;
  readonly rawRequests: number;
  readonly runs: number;
}
const SIZES = {
  small: { items: 1_000, rawRequests: 300, runs: 1 },
  large: { items: 40_000, rawRequests: 10_000, runs: 5 },
  warmUp: { items: 20_000, rawRequests: 5_000, runs: 1 },
} as const satisfies Record<string, Sizes>;

/** `always`: every acknowledged write has reached the disk. `lazy`: the server's default of two minutes. */
const SYNC = { always: "always", lazy: "2m" } as const;
type Sync = keyof typeof SYNC;
const SCENARIOS = ["rawQueue", "batch100", "singles", "rawRequests"] as const;
type Scenario = (typeof SCENARIOS)[number];
type Rates = Record<Sync, Record<Scenario, number[]>>;

interface Bed {
  readonly server: NatsServer;
  readonly dispatcher: ChildProcess;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean", default: false },
      small: { type: "boolean", default: false },
      runs: { type: "string" },
      items: { type: "string" },
    },
  });
  const base: Sizes = values.small ? SIZES.small : SIZES.large;
  const sizes: Sizes = {
    items: positive("items", values.items ?? base.items),
    rawRequests: base.rawRequests,
    runs: positive("runs", values.runs ?? base.runs),
  };
  const warmUp = values.small ? SIZES.small : SIZES.warmUp;
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-bench-"));
  const rates = emptyRates();
  let natsServer = "";
  try {
    // One bed at a time: two servers and two dispatchers at once would measure each other.
    for (let run = 1; run <= sizes.runs; run += 1)
      for (const sync of ["always", "lazy"] as const) {
        const bed = await open(folder, sync, run);
        natsServer = bed.server.version;
        try {
          // Every process is new in every run, so everybody is warmed up alike, and what that took is thrown away.
          await measure(bed, warmUp, () => {});
          await measure(bed, sizes, (scenario, rate) => {
            rates[sync][scenario].push(Math.round(rate));
            process.stderr.write(`run ${run} ${sync} ${scenario}: ${Math.round(rate)} items/s\n`);
          });
        } finally {
          await close(bed);
        }
      }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  report(rates, sizes, natsServer, values.json);
}

async function measure(bed: Bed, sizes: Sizes, done: (scenario: Scenario, rate: number) => void): Promise<void> {
  const { url } = bed.server;
  done("rawQueue", await runRawQueue(url, sizes.items, body));
  done("batch100", await runBatches(url, SHARD, sizes.items, body));
  done("singles", await runSingles(url, SHARD, sizes.items, body));
  done("rawRequests", await runRawRequests(url, SHARD, sizes.rawRequests, body));
}

async function open(folder: string, sync: Sync, run: number): Promise<Bed> {
  const storeDir = join(folder, `nats-${sync}-${run}`);
  const server = await startNatsServer({ storeDir, syncInterval: SYNC[sync], report: () => {} });
  const args = [
    DISPATCHER,
    "--nats-url",
    server.url,
    "--shards",
    SHARD,
    "--data-dir",
    join(folder, `data-${sync}-${run}`),
  ];
  const dispatcher = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: dispatcher.stdout })) if (line.includes('"msg":"leading"')) break;
  dispatcher.stdout.resume();
  return { server, dispatcher };
}

async function close({ server, dispatcher }: Bed): Promise<void> {
  if (dispatcher.exitCode === null) {
    dispatcher.kill("SIGTERM");
    await once(dispatcher, "exit");
  }
  await server.stop();
}

function report(rates: Rates, sizes: Sizes, natsServer: string, isJson: boolean): void {
  const middle = (sync: Sync): Record<Scenario, number> =>
    Object.fromEntries(SCENARIOS.map((scenario) => [scenario, median(rates[sync][scenario])])) as Record<
      Scenario,
      number
    >;
  const result = {
    machine: { ...describeMachine(), natsServer },
    sizes,
    unit: "items/s, median of the runs; life of an item: enqueue, lease, complete",
    always: { median: middle("always"), runs: rates.always, ratioToRawQueue: ratios(middle("always")) },
    lazy: { median: middle("lazy"), runs: rates.lazy, ratioToRawQueue: ratios(middle("lazy")) },
  };
  if (isJson) {
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return;
  }
  const { machine } = result;
  process.stdout.write(
    `${machine.cpu}, ${machine.cores} cores, node ${machine.node}, nats-server ${natsServer}, fsync ${machine.fsyncMs} ms\n\n`,
  );
  process.stdout.write(
    "| scenario | always: items/s | x raw queue | lazy: items/s | x raw queue |\n|---|---|---|---|---|\n",
  );
  for (const scenario of SCENARIOS) {
    const cells = [result.always, result.lazy].map(
      (side) => `${side.median[scenario]} | ${side.ratioToRawQueue[scenario]}`,
    );
    process.stdout.write(`| ${scenario} | ${cells.join(" | ")} |\n`);
  }
}

const ratios = (medians: Record<Scenario, number>): Record<Scenario, number> =>
  Object.fromEntries(
    SCENARIOS.map((scenario) => [scenario, Math.round((medians[scenario] / medians.rawQueue) * 10) / 10]),
  ) as Record<Scenario, number>;

const emptyRates = (): Rates => ({ always: emptySide(), lazy: emptySide() });
const emptySide = (): Record<Scenario, number[]> => ({ rawQueue: [], batch100: [], singles: [], rawRequests: [] });

function positive(name: string, value: string | number): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 1)
    throw new Error(`--${name} must be a whole number above 0, is ${value}`);
  return number;
}

await main();
