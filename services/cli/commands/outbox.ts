/** `omnirelay outbox`: brings the items that a service has committed to its outbox to a shard, and prints the tables that this needs. */
import { setTimeout as delay } from "node:timers/promises";
import { Argument, Command, Option } from "commander";
import { z } from "zod";
import { OperatingError } from "../../../contracts/errors.ts";
import {
  OUTBOX_TABLE_DEFAULT,
  type OutboxDialect,
  OutboxRelay,
  type OutboxStats,
  outboxTable,
} from "../../outbox/mod.ts";
import { createIds } from "../../runtime/ids.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { NATS_URL_DEFAULT, natsServers } from "../../runtime/settings.ts";
import { integer, jsonOption, natsUrlOption, parsedBy, principalOption, shardOption } from "../arguments.ts";
import { Interruption } from "../interruption.ts";
import { type OpenDatabase, openPostgresOutbox, openSqliteOutbox } from "../outbox-databases.ts";
import type { Done } from "../program.ts";
import { safeText, type Terminal } from "../terminal.ts";

interface RelayOptions {
  readonly sqlite?: string;
  readonly postgresEnv?: string;
  readonly table: string;
  readonly natsUrl: string;
  readonly shard: string;
  readonly principal: string;
  readonly batchSize: number;
  readonly pollMs: number;
  readonly turnMs: number;
  readonly reportMs: number;
  readonly untilEmpty?: true;
  readonly json: boolean;
}

/** How often an outbox that is to become empty is looked at. ms. */
const EMPTY_MS = 100;
/** How long a request may take: so long a stop may wait. ms. */
const REQUEST_MS = 10_000;

const TABLES_EXAMPLES = `
Examples:
  omnirelay outbox tables sqlite | sqlite3 orders.sqlite
  omnirelay outbox tables postgres --table mail_outbox`;
const RELAY_EXAMPLES = `
Sends each committed row once, in order, and removes it; a row that the shard refuses for good is parked in its table, and said here. Any number
of relays may run, with one principal and shard: one has the turn, another takes over. What is away for the moment (the database, the mesh,
room in the shard) is waited for. A signal ends it after the request under way.

The URL of PostgreSQL stands in a variable, for it holds a password; its driver is not part of this package (npm install pg).

Examples:
  omnirelay outbox relay --sqlite orders.sqlite
  omnirelay outbox relay --postgres-env ORDERS_DATABASE_URL --table mail_outbox --shard mail
  omnirelay outbox relay --sqlite orders.sqlite --until-empty --json`;

const VariableName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, { error: "must be the name of a variable" });
const FilePath = z.string().min(1, { error: "must be the path of a file" });

export function outboxCommand(terminal: Terminal, done: Done): Command {
  return new Command("outbox")
    .description("Relay the items of a service's outbox, a table of its own database, to a shard.")
    .addCommand(relayCommand(terminal, done))
    .addCommand(tablesCommand(terminal, done));
}

const tableOption = () => new Option("--table <name>", "table of the outbox").default(OUTBOX_TABLE_DEFAULT);

function tablesCommand(terminal: Terminal, done: Done): Command {
  return new Command("tables")
    .description("Print the SQL that makes the tables of an outbox where they are missing, for your migrations.")
    .addArgument(new Argument("<dialect>", "of the database").choices(["sqlite", "postgres"]))
    .addOption(tableOption())
    .addHelpText("after", TABLES_EXAMPLES)
    .action((dialect: OutboxDialect, { table }: { readonly table: string }) => {
      terminal.out(outboxTable(dialect, table).trimEnd());
      done(EXIT_CODES.ok);
    });
}

function relayCommand(terminal: Terminal, done: Done): Command {
  return new Command("relay")
    .description("Bring committed items to the shard until a signal ends it.")
    .addOption(new Option("--sqlite <file>", "SQLite file with the outbox").argParser(parsedBy(FilePath)))
    .addOption(
      new Option("--postgres-env <variable>", "variable that holds the URL of a PostgreSQL database with the outbox")
        .argParser(parsedBy(VariableName))
        .conflicts("sqlite"),
    )
    .addOption(tableOption())
    .addOption(natsUrlOption().default(NATS_URL_DEFAULT))
    .addOption(shardOption())
    .addOption(principalOption("outbox"))
    .addOption(
      new Option("--batch-size <rows>", "rows that are read at once").default(500).argParser(integer(1, 1_000)),
    )
    .addOption(
      new Option("--poll-ms <ms>", "how often an empty outbox is looked at").default(200).argParser(integer(1, 60_000)),
    )
    .addOption(
      new Option("--turn-ms <ms>", "how long a relay that died keeps others waiting")
        .default(15_000)
        .argParser(integer(100, 600_000)),
    )
    .addOption(
      new Option("--report-ms <ms>", "how often it is said how far it is, if that has changed")
        .default(10_000)
        .argParser(integer(100, 3_600_000)),
    )
    .addOption(new Option("--until-empty", "end when no row waits; code 1 when some are parked"))
    .addOption(jsonOption('reports, as {"sent","waiting","parked","lagMs"} a line'))
    .addHelpText("after", RELAY_EXAMPLES)
    .action(async (options: RelayOptions, command: Command) => {
      if (options.sqlite === undefined && options.postgresEnv === undefined)
        return command.error("error: give --sqlite or --postgres-env");
      done(await relay(options, terminal));
    });
}

/** Returns the exit code. */
async function relay(options: RelayOptions, terminal: Terminal): Promise<number> {
  const reports = new Reports(options, terminal);
  const interruption = new Interruption();
  let opened: OpenDatabase | undefined;
  let outbox: OutboxRelay | undefined;
  try {
    opened = await openDatabase(options, reports);
    const { table, natsUrl, shard, principal, batchSize, pollMs, turnMs } = options;
    const client = { servers: natsServers(natsUrl), shard, principal, timeoutMs: REQUEST_MS };
    outbox = await OutboxRelay.connect(opened.db, {
      client: { ...client, peerName: createIds().id("peer") },
      ...{ table, batchSize, pollMs, turnMs },
      onError: (error) => reports.troubled(error),
      onSent: (count) => reports.sent(count),
      onParked: ({ sequence, code, reason }) =>
        terminal.note(`omnirelay: row ${sequence} is parked: ${safeText(code)}: ${safeText(reason)}`),
    });
    // A wrong file or table is an error now, and not one that is waited for.
    reports.tell(await outbox.stats());
    outbox.start();
    const end = await watch(outbox, options, reports, interruption.signal);
    if (end === undefined)
      return options.untilEmpty === true ? (interruption.exitCode ?? EXIT_CODES.ok) : EXIT_CODES.ok;
    return end.parked === 0 ? EXIT_CODES.ok : EXIT_CODES.failed;
  } finally {
    await outbox?.stop();
    reports.end();
    await opened?.close();
    interruption.close();
  }
}

function openDatabase(
  { sqlite, postgresEnv = "" }: RelayOptions,
  reports: Reports,
): Promise<OpenDatabase> | OpenDatabase {
  return sqlite === undefined
    ? openPostgresOutbox(postgresEnv, (error) => reports.troubled(error))
    : openSqliteOutbox(sqlite);
}

/** Tells how far the relay is, until the outbox is empty, if that ends it: then it answers how it is; or until `signal`. */
async function watch(
  outbox: OutboxRelay,
  { untilEmpty, reportMs }: RelayOptions,
  reports: Reports,
  signal: AbortSignal,
): Promise<OutboxStats | undefined> {
  let toldMs = performance.now();
  while (!signal.aborted) {
    await delay(untilEmpty === true ? EMPTY_MS : reportMs, undefined, { signal }).catch(() => undefined);
    const stats = await outbox.stats().catch((error: unknown) => {
      // The relay waits for the database, so its figures can wait as well.
      if (error instanceof OperatingError) return undefined;
      throw error;
    });
    if (stats === undefined) continue;
    const isEmpty = untilEmpty === true && stats.waiting === 0;
    if (isEmpty || signal.aborted || performance.now() - toldMs >= reportMs) {
      reports.tell(stats);
      toldMs = performance.now();
    }
    if (isEmpty) return stats;
  }
  return undefined;
}

/** What is said of a run. */
class Reports {
  readonly #options: RelayOptions;
  readonly #terminal: Terminal;
  #sent = 0;
  #told = "";
  #trouble = "";

  constructor(options: RelayOptions, terminal: Terminal) {
    this.#options = options;
    this.#terminal = terminal;
  }

  sent(count: number): void {
    this.#sent += count;
    this.#trouble = "";
  }

  /** The same trouble is told once, until something has been sent. */
  troubled({ message }: Error): void {
    if (message === this.#trouble) return;
    this.#trouble = message;
    this.#terminal.note(`omnirelay: waiting: ${safeText(message)}`);
  }

  /** What has not changed is not told again. */
  tell({ waiting, parked, lagMs }: OutboxStats): void {
    const counts = `${this.#sent} sent, ${waiting} waiting, ${parked} parked`;
    if (counts === this.#told) return;
    this.#told = counts;
    if (this.#options.json) this.#terminal.out(JSON.stringify({ sent: this.#sent, waiting, parked, lagMs }));
    else this.#terminal.out(waiting === 0 ? counts : `${counts}, the oldest for ${lagMs} ms`);
  }

  end(): void {
    if (!this.#options.json) this.#terminal.note(`omnirelay: the relay has ended; ${this.#sent} rows were sent`);
  }
}
