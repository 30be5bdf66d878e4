/** The command line: puts the commands together and turns how they end into an exit code. */
import { Command, CommanderError } from "commander";
import { OperatingError } from "../../contracts/errors.ts";
import { RefusedError } from "../client/refusal.ts";
import { EXIT_CODES } from "../runtime/lifecycle.ts";
import { packageVersion } from "../runtime/package-version.ts";
import { bodiesCommand } from "./commands/bodies.ts";
import { cancelCommand } from "./commands/cancel.ts";
import { deadLettersCommand } from "./commands/dead-letters.ts";
import { discardCommand, drainCommand, evictCommand, restoreCommand } from "./commands/drain.ts";
import { enqueueCommand } from "./commands/enqueue.ts";
import { explainCommand } from "./commands/explain.ts";
import { getCommand } from "./commands/get.ts";
import { helpCommand } from "./commands/help.ts";
import { hubCommand } from "./commands/hub.ts";
import { ingestCommand } from "./commands/ingest.ts";
import { ledgerCommand } from "./commands/ledger.ts";
import { listCommand } from "./commands/list.ts";
import { logCommand } from "./commands/log.ts";
import { outboxCommand } from "./commands/outbox.ts";
import { quotaCommand } from "./commands/quota.ts";
import { scheduleCommand } from "./commands/schedule.ts";
import { shardCommand } from "./commands/shard.ts";
import { sinkCommand } from "./commands/sink.ts";
import { snapshotCommand } from "./commands/snapshot.ts";
import { stateCommand } from "./commands/state.ts";
import { statsCommand } from "./commands/stats.ts";
import { upCommand } from "./commands/up.ts";
import { safeTerminal, safeText, type Terminal } from "./terminal.ts";

/** What a command's action returns: the exit code. */
export type ExitCode = number;

const AFTER_HELP = `
Exit codes: 0 done; 1 an operating error or a refusal; 2 wrong usage; 70 a defect of this program; 128 + n ended by signal n.
Settings by environment: OMNIRELAY_NATS_URL, OMNIRELAY_REGION.`;

/** What to do about errors that only the command can advise on. */
const HINTS: ReadonlyMap<string, string> = new Map([
  [
    "unavailable",
    "; is a dispatcher of this shard running? It may be electing its leader: try again, or give a longer --timeout-ms",
  ],
  ["nats_server_store_in_use", "; if that is a mesh of yours, give its address with --nats-url"],
]);

/** Runs one command line. Never throws for what a user or a network can do; a bug is thrown. */
export async function runCli(args: readonly string[], output: Terminal): Promise<ExitCode> {
  const terminal = safeTerminal(output);
  let exitCode: ExitCode = EXIT_CODES.ok;
  const program = createProgram(terminal, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_CODES.ok : EXIT_CODES.usage;
    if (!(error instanceof OperatingError || error instanceof RefusedError)) throw error;
    // What the shard says may hold a stranger's text; errors of our own may have several lines.
    const message = error instanceof RefusedError ? safeText(error.message) : error.message;
    const hint = error instanceof RefusedError ? undefined : HINTS.get(error.code);
    terminal.note(`omnirelay: ${message}${hint ?? ""}`);
    return EXIT_CODES.failed;
  }
}

export type Done = (code: ExitCode) => void;

function createProgram(terminal: Terminal, done: Done): Command {
  const program = new Command("omnirelay")
    .description(
      "A resource-lease mesh on NATS JetStream: leased items with fencing tokens, replayed from one log per shard.",
    )
    .version(packageVersion(), "-V, --version", "print the version")
    .helpCommand(false)
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .addHelpText("after", AFTER_HELP);
  const commands = [
    upCommand,
    ingestCommand,
    enqueueCommand,
    statsCommand,
    listCommand,
    getCommand,
    explainCommand,
    cancelCommand,
    deadLettersCommand,
    bodiesCommand,
    drainCommand,
    restoreCommand,
    discardCommand,
    evictCommand,
    scheduleCommand,
    logCommand,
    ledgerCommand,
    outboxCommand,
    hubCommand,
    quotaCommand,
    shardCommand,
    sinkCommand,
    snapshotCommand,
    stateCommand,
  ];
  for (const create of commands) program.addCommand(create(terminal, done));
  program.addCommand(helpCommand(terminal, program));
  prepare(program, terminal);
  return program;
}

/** Errors come back as exceptions and are written where the terminal says, for every command below. */
function prepare(command: Command, terminal: Terminal): void {
  command.exitOverride();
  command.configureOutput({
    writeOut: (text) => terminal.out(text.trimEnd()),
    writeErr: (text) => terminal.note(text.trimEnd()),
    outputError: (text, write) =>
      write(`${text.trimEnd().replace(/^error: /, "omnirelay: ")}\nSee: omnirelay ${pathOf(command)}--help`),
  });
  for (const inner of command.commands) prepare(inner, terminal);
}

/** `log tail ` for a command below `log`; empty for the program. */
function pathOf(command: Command): string {
  const names: string[] = [];
  for (let at: Command | null = command; at !== null && at.parent !== null; at = at.parent) names.unshift(at.name());
  return names.map((name) => `${name} `).join("");
}
