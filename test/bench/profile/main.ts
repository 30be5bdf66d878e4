/** `npm run profile`: where the time and the garbage of an item's life go, in the dispatcher, in the client and in nats-server. */
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { OperatingError } from "../../../contracts/errors.ts";
import { startNatsServer } from "../../../infra/nats-server/embedded.ts";
import { REPOSITORY } from "../bed.ts";
import { describeMachine } from "../machine.ts";
import { type End, inFolder } from "../signals.ts";
import { type ProfileOptions, profileOptions, type Scenario } from "./options.ts";
import { cpuMs, type Probed, startClient, startDispatcher } from "./processes.ts";
import { type Figures, figuresOf, type Run, tables } from "./report.ts";
import { type Summary, summarizeCpu, summarizeHeap } from "./summary.ts";

/** The processes of one checkout. nats-server is shared by all. */
interface Bed {
  readonly name: "here" | "before";
  readonly checkout: string;
  readonly natsPid: number;
  readonly dispatcher: Probed;
  readonly client: Probed;
}
type Side = "dispatcher" | "client";

async function main(options: ProfileOptions, folder: string, ends: End[]): Promise<void> {
  const server = await startNatsServer({ storeDir: join(folder, "nats"), syncInterval: "always", report: () => {} });
  ends.push(() => server.stop());
  const beds: Bed[] = [];
  const checkouts = [["here", REPOSITORY]];
  if (options.against !== undefined) checkouts.unshift(["before", resolve(options.against)]);
  for (const [name = "", checkout = ""] of checkouts) {
    const dispatcher = await startDispatcher(checkout, {
      ...{ shard: name, natsUrl: server.url, dataDir: join(folder, name) },
      snapshotEvents: options["snapshot-events"],
    });
    ends.push(() => dispatcher.stop());
    const client = await startClient(checkout, name, server.url);
    ends.push(() => client.stop());
    beds.push({ name: name as Bed["name"], checkout, natsPid: server.pid, dispatcher, client });
  }
  const results = [];
  for (const scenario of options.scenarios) results.push(await measure(scenario, beds, options));
  const report = { machine: { ...describeMachine(), natsServer: server.version }, results };
  process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : tables(report, options.top));
}

export interface Result {
  readonly scenario: Scenario;
  readonly items: number;
  readonly figures: Readonly<Partial<Record<Bed["name"], Figures>>>;
  readonly cpu?: Readonly<Record<Side, Summary>>;
  readonly heap?: Readonly<Record<Side, Summary>>;
}

/** Runs without a profiler, the checkouts in turn; then a run of this checkout for each profile. */
async function measure(scenario: Scenario, beds: readonly Bed[], options: ProfileOptions): Promise<Result> {
  const items = scenario === "batches" ? options.items : Math.ceil(options.items / 3);
  const runs = new Map<Bed["name"], Run[]>(beds.map(({ name }) => [name, []]));
  // The first round warms up, and is thrown away.
  for (let round = 0; round <= options.runs; round += 1)
    for (const bed of beds) {
      const run = await plainRun(bed, scenario, items);
      if (round > 0) runs.get(bed.name)?.push(run);
      process.stderr.write(`${scenario} round ${round} ${bed.name}: ${Math.round(run.rate)} items/s\n`);
    }
  const figures = Object.fromEntries([...runs].map(([name, each]) => [name, figuresOf(each)]));
  const here = beds.at(-1);
  if (options.figures || here === undefined) return { scenario, items, figures };
  const cpu = await profiled(here, "cpu", scenario, items, options);
  const heap = await profiled(here, "heap", scenario, items, options);
  return { scenario, items, figures, cpu, heap };
}

async function plainRun({ natsPid, dispatcher, client }: Bed, scenario: Scenario, items: number): Promise<Run> {
  const pids = { natsServer: natsPid, dispatcher: dispatcher.pid, client: client.pid };
  await Promise.all([dispatcher.begin("figures"), client.begin("figures")]);
  const from = { natsServer: cpuMs(pids.natsServer), dispatcher: cpuMs(pids.dispatcher), client: cpuMs(pids.client) };
  const rate = await client.run(scenario, items);
  const us = (name: keyof typeof pids): number => ((cpuMs(pids[name]) - from[name]) * 1_000) / items;
  const cpuUs = { natsServer: us("natsServer"), dispatcher: us("dispatcher"), client: us("client") };
  const [ofDispatcher, ofClient] = await Promise.all([dispatcher.end("figures"), client.end("figures")]);
  return { rate, cpuUs, items, dispatcher: ofDispatcher, client: ofClient };
}

async function profiled(
  { dispatcher, client, checkout }: Bed,
  what: "cpu" | "heap",
  scenario: Scenario,
  items: number,
  { top, out }: ProfileOptions,
): Promise<Record<Side, Summary>> {
  await Promise.all([dispatcher.begin(what), client.begin(what)]);
  await client.run(scenario, items);
  const [ofDispatcher, ofClient] = await Promise.all([dispatcher.end(what), client.end(what)]);
  const summaryOf = (side: Side, { cpu, heap }: typeof ofClient): Summary => {
    if (out !== undefined) writeFileSync(join(out, `${scenario}-${side}.${what}profile`), JSON.stringify(cpu ?? heap));
    if (cpu !== undefined) return summarizeCpu(cpu, checkout, items, top);
    if (heap !== undefined) return summarizeHeap(heap, checkout, items, top);
    throw new Error(`the probe of the ${side} has no ${what} profile`);
  };
  return { dispatcher: summaryOf("dispatcher", ofDispatcher), client: summaryOf("client", ofClient) };
}

try {
  const options = profileOptions(process.argv.slice(2));
  await inFolder("omnirelay-profile-", (folder, ends) => main(options, folder, ends));
} catch (error) {
  if (!(error instanceof OperatingError)) throw error;
  process.stderr.write(`${error.code}: ${error.message}\n`);
  process.exitCode = 2;
}
