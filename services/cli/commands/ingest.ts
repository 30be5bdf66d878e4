/** `omnirelay ingest delta`: real Delta Lake commits through the mesh into a catalog. */
import { join } from "node:path";
import type { NatsConnection } from "@nats-io/transport-node";
import { Command, Option } from "commander";
import { OperatingError } from "../../../contracts/errors.ts";
import type { ReplyOf } from "../../../contracts/replies.ts";
import {
  bindCatalog,
  catalogIdOf,
  catalogView,
  checkCatalogLog,
  type DeltaFolder,
  openCatalog,
  readDeltaFolder,
  type TableView,
  withinItemLimit,
} from "../../catalog/mod.ts";
import { LeaseClient } from "../../client/lease-client.ts";
import { connectNats } from "../../jetstream/connect.ts";
import type { FencedStore } from "../../persistence/mod.ts";
import { prepareDataFolder } from "../../runtime/data-folder.ts";
import { createIds } from "../../runtime/ids.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { natsServers } from "../../runtime/settings.ts";
import {
  folderPath,
  integer,
  jsonOption,
  natsUrlOption,
  principalOption,
  regionOption,
  shardOption,
} from "../arguments.ts";
import { registerCatalog } from "../catalog-binding.ts";
import { DeltaIngest, type IngestOutcome } from "../delta-ingest.ts";
import { Interruption } from "../interruption.ts";
import { LocalMesh } from "../local-mesh.ts";
import { logBounds } from "../log-bounds.ts";
import type { Done } from "../program.ts";
import { ProgressBar } from "../progress-bar.ts";
import { aligned, safeText, type Terminal } from "../terminal.ts";

interface IngestCommandOptions {
  readonly natsUrl?: string;
  readonly region: string;
  readonly shard: string;
  readonly principal: string;
  readonly dataDir: string;
  readonly workers: number;
  readonly waitMs: number;
  readonly json: boolean;
}

const DATA_DIR_DEFAULT = ".omnirelay/ingest";
const CATALOG_FILE = "catalog.sqlite";
const WORKERS_DEFAULT = 8;
const WORKERS_MAX = 256;
const WAIT_MS_DEFAULT = 60_000;
/** A dispatcher that was killed does not answer; another one, or the same started again, does within seconds. ms. */
const ATTEMPT_TIMEOUT_MS = 1_000;
const WAIT_MS_MIN = 1_000;
const WAIT_MS_MAX = 86_400_000;
const PROGRESS = "{value} of {total} completed, {enqueued} enqueued";
const EXAMPLES = `
Every folder below <dir> that has a _delta_log is a table, named by its path; links are not followed. Each commit becomes one item of type
delta.table with the request id <table>@<version>, in the partition of its table: commits of a table are applied in version order, never
two at once, each once; tables run side by side. They go into <data-dir>/catalog.sqlite under the fencing token of their lease.
Whatever is killed on the way: run it again with the same data folder, and it goes on. A shard's commits go into one catalog: the first
run registers its own, and one with another data folder is refused.

A table whose log is broken is named and left out; the others are done, and the exit code is 1. A commit may have as many bytes as an item
body of the shard (option itemBytesMax, 64 KiB by default; npm start -- --shard-options itemBytesMax=524288).
Without --nats-url a NATS server and a dispatcher are started on the data folder and stopped at the end.

Examples:
  omnirelay ingest delta ./lakehouse
  omnirelay ingest delta ./lakehouse --data-dir ./data --json
  omnirelay ingest delta ./lakehouse --nats-url nats://127.0.0.1:4222`;

export function ingestCommand(terminal: Terminal, done: Done): Command {
  const delta = new Command("delta")
    .description("Ingest the commits of Delta Lake tables and print the catalog that they add up to.")
    .argument("<dir>", "folder with Delta tables", folderPath)
    .addOption(natsUrlOption())
    .addOption(regionOption())
    .addOption(shardOption())
    .addOption(principalOption("ingest"))
    .addOption(
      new Option("--data-dir <folder>", "where the catalog is kept, and the log without --nats-url")
        .default(DATA_DIR_DEFAULT)
        .argParser(folderPath),
    )
    .addOption(
      new Option("--workers <count>", "commits applied at once")
        .default(WORKERS_DEFAULT)
        .argParser(integer(1, WORKERS_MAX)),
    )
    .addOption(
      new Option("--wait-ms <ms>", "give up when nothing moves for this long")
        .default(WAIT_MS_DEFAULT)
        .argParser(integer(WAIT_MS_MIN, WAIT_MS_MAX)),
    )
    .addOption(jsonOption('{"tables","items","completed","duplicates"}'))
    .addHelpText("after", EXAMPLES)
    .action(async (dir: string, options: IngestCommandOptions) => done(await ingestDelta(dir, options, terminal)));
  return new Command("ingest").description("Take real data through the mesh.").addCommand(delta);
}

/** Returns the exit code. */
async function ingestDelta(dir: string, options: IngestCommandOptions, terminal: Terminal): Promise<number> {
  const read = readDeltaFolder(dir);
  if (read.tables.length === 0 && read.failures.length === 0)
    throw new OperatingError("no_tables", `no folder below ${dir} has a _delta_log`, { definite: true });
  const interruption = new Interruption();
  try {
    const dataDir = prepareDataFolder(options.dataDir);
    return await withMesh(options, interruption.signal, terminal, (natsUrl, signal) =>
      ingestInto(join(dataDir, CATALOG_FILE), read, { ...options, natsUrl, signal }, terminal),
    );
  } catch (error) {
    if (interruption.exitCode === undefined || error !== interruption.signal.reason) throw error;
    terminal.note("omnirelay: interrupted; run it again with the same data folder to go on");
    return interruption.exitCode;
  } finally {
    interruption.close();
  }
}

type RunOptions = IngestCommandOptions & { readonly natsUrl: string; readonly signal: AbortSignal };

async function ingestInto(
  catalogFile: string,
  read: DeltaFolder,
  options: RunOptions,
  terminal: Terminal,
): Promise<number> {
  const { natsUrl, shard, principal, workers, waitMs, signal, json } = options;
  const peerName = createIds().id("peer");
  const connection = await connectNats({ servers: natsServers(natsUrl), name: `omnirelay ${principal}--${peerName}` });
  const limits = { timeoutMs: waitMs, attemptTimeoutMs: ATTEMPT_TIMEOUT_MS };
  const client = await LeaseClient.connect({ connection, shard, principal, peerName, ...limits });
  const store = openCatalog(catalogFile);
  const bar = new ProgressBar(terminal.isInteractive && !json, PROGRESS);
  try {
    const stats = await client.stats({ consistent: true, signal });
    await bindBothWays(connection, store, stats);
    const itemBytesMax = Number(stats.options["itemBytesMax"]);
    const folder = withinItemLimit(read, itemBytesMax);
    for (const failure of folder.failures) terminal.note(`omnirelay: ${safeText(failure.message)}`);
    const haltsOnDeadLetter = stats.options["onDeadLetter"] === "halt";
    const run = new DeltaIngest(client, store, {
      workers,
      waitMs,
      haltsOnDeadLetter,
      startSequence: stats.sequence,
      signal,
      onProgress: ({ items, enqueued, completed }) => bar.show(completed, items, { enqueued }),
    });
    const outcome = await run.run(folder.tables);
    bar.close();
    return print(outcome, folder, store, json, terminal);
  } finally {
    bar.close();
    await client.close();
    await connection.close();
    store.close();
  }
}

/**
 * The catalog to the log, whose tokens guard it, and the log to the catalog, before anything is sent or leased: two runs with two
 * catalogs would each lease some of a table's commits, and neither could go on. A catalog of another log must not take this one's place.
 */
async function bindBothWays(
  connection: NatsConnection,
  store: FencedStore,
  { region, shard, logId }: ReplyOf<"stats">,
): Promise<void> {
  checkCatalogLog(store, logId);
  const { replicas } = await logBounds(connection, { region, shard });
  const binding = { region, shard, logId, replicas, catalogId: catalogIdOf(store), catalogFile: store.database.name };
  await registerCatalog(connection, binding);
  bindCatalog(store, logId);
}

function print(
  outcome: IngestOutcome,
  folder: DeltaFolder,
  store: FencedStore,
  json: boolean,
  terminal: Terminal,
): number {
  const catalog = catalogView(store.database);
  const tables = folder.tables.flatMap(({ table }) => catalog.get(table) ?? []);
  const missing = folder.tables.filter(
    ({ table, commits }) => (catalog.get(table)?.version ?? -1) < commits.length - 1,
  );
  const { items, completed, duplicates } = outcome;
  if (json) {
    const views = Object.fromEntries(tables.map((view) => [view.table, jsonView(view)]));
    terminal.out(JSON.stringify({ tables: views, items, completed, duplicates }));
  } else {
    for (const line of aligned([["table", "version", "files", "bytes", "columns"], ...tables.map(rowOf)]))
      terminal.out(line);
    terminal.out(`${tables.length} tables; ${items} items, ${completed} completed, ${duplicates} of them known before`);
  }
  for (const problem of outcome.problems) terminal.note(`omnirelay: ${safeText(problem)}`);
  if (missing.length > 0 && outcome.problems.length === 0)
    terminal.note(
      `omnirelay: ${missing.length} tables, such as ${JSON.stringify(missing[0]?.table)}, were completed before, but into another catalog than this one: use the data folder of that run`,
    );
  const isWhole =
    missing.length === 0 && outcome.problems.length === 0 && folder.failures.length === 0 && completed === items;
  return isWhole ? EXIT_CODES.ok : EXIT_CODES.failed;
}

function jsonView({ version, activeFiles, activeBytes, columns, partitionColumns }: TableView): object {
  return { version, activeFiles, activeBytes, columns, partitionColumns };
}

function rowOf({ table, version, activeFiles, activeBytes, columns }: TableView): readonly (string | number)[] {
  return [safeText(table), version, activeFiles, activeBytes, safeText(columns === null ? "-" : columns.join(", "))];
}

/** Uses the mesh that is named, or one of its own. `signal` fires also when that one cannot be kept up. */
async function withMesh<T>(
  options: IngestCommandOptions,
  signal: AbortSignal,
  terminal: Terminal,
  use: (natsUrl: string, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { natsUrl, dataDir, region, shard } = options;
  if (natsUrl !== undefined) return use(natsUrl, signal);
  const mesh = await LocalMesh.start({ dataDir, region, shard, report: (line) => terminal.note(line) });
  try {
    return await use(mesh.url, AbortSignal.any([signal, mesh.failed]));
  } finally {
    await mesh.stop();
  }
}
