/** `omnirelay log`: a shard's log as lines, and the proof that it is whole. */
import type { NatsConnection } from "@nats-io/transport-node";
import { Command, Option } from "commander";
import { connectNats } from "../../jetstream/connect.ts";
import { readLogMessages } from "../../jetstream/read-log.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { NATS_URL_DEFAULT, natsServers } from "../../runtime/settings.ts";
import { folderPath, integer, jsonOption, natsUrlOption, regionOption, shardOption } from "../arguments.ts";
import { auditLog, type LogReport } from "../audit-log.ts";
import { againWhenTrimmed } from "../fold-log.ts";
import { logBounds } from "../log-bounds.ts";
import { jsonOf, linesOf } from "../log-lines.ts";
import { LogMarker } from "../log-marker.ts";
import type { Done } from "../program.ts";
import { ProgressBar } from "../progress-bar.ts";
import { aligned, safeText, type Terminal, timeText } from "../terminal.ts";
import { logAuditCommand } from "./log-audit-replicas.ts";

interface LogOptions {
  readonly natsUrl: string;
  readonly region: string;
  readonly shard: string;
  readonly json: boolean;
}
type TailOptions = LogOptions & { readonly lines: number; readonly follow: boolean };
type VerifyOptions = LogOptions & { readonly from?: number; readonly dataDir?: string };

const LINES_DEFAULT = 10;
const SEQUENCE_MAX = Number.MAX_SAFE_INTEGER;
const TAIL_EXAMPLES = `
A message that is no frame of this log, or a copy of an older one, is marked void. Where the chain stands before the first line is learned
from the messages before it; the proof for the whole log is log verify.

Examples:
  omnirelay log tail -n 100
  omnirelay log tail --follow --json | jq -c '.frame.events[]'`;
const VERIFY_EXAMPLES = `
Reads every message, from the first, and checks: no message is missing; each frame continues the chain of hashes; terms and times never go
back; every event follows from the state before it, by the same code that the leader runs; the state hashes in the log are right.
A void message (a stranger's, or a copy of the past) is stepped over and counted. Exit code 1 when the log is not whole.

A log that was trimmed is verified from the oldest snapshot whose tail is there: the chain must go through the frame that it was cut behind, and
events are folded from its state on. Without such a snapshot the verdict is incomplete, and the exit code 1.

Examples:
  omnirelay log verify
  omnirelay log verify --json | jq .head`;

export function logCommand(terminal: Terminal, done: Done): Command {
  return new Command("log")
    .description("Read the log of a shard.")
    .addCommand(tailCommand(terminal, done))
    .addCommand(verifyCommand(terminal, done))
    .addCommand(logAuditCommand(terminal, done));
}

function readCommand(name: string, json: string): Command {
  return new Command(name)
    .addOption(natsUrlOption().default(NATS_URL_DEFAULT))
    .addOption(regionOption())
    .addOption(shardOption())
    .addOption(jsonOption(json));
}

function tailCommand(terminal: Terminal, done: Done): Command {
  return readCommand("tail", "one JSON object per message, with its frame")
    .description("Print the last frames of the log, and with --follow what comes.")
    .addOption(
      new Option("-n, --lines <count>", "messages to begin with")
        .default(LINES_DEFAULT)
        .argParser(integer(0, SEQUENCE_MAX)),
    )
    .option("-f, --follow", "go on until interrupted", false)
    .addHelpText("after", TAIL_EXAMPLES)
    .action(async (options: TailOptions) => {
      const brokenAt = await withConnection(options, (connection) => tail(connection, options, terminal));
      if (brokenAt !== undefined)
        terminal.note(`omnirelay: the log is not whole at stream sequence ${brokenAt}; see: omnirelay log verify`);
      done(brokenAt === undefined ? EXIT_CODES.ok : EXIT_CODES.failed);
    });
}

/** Returns the first stream sequence that does not belong to the chain, if there is one. */
async function tail(connection: NatsConnection, options: TailOptions, terminal: Terminal): Promise<number | undefined> {
  const { region, shard, lines, follow, json } = options;
  const { first, last } = await logBounds(connection, { region, shard });
  let from = Math.max(first, last - lines + 1);
  if (!follow && from > last) return undefined;
  let brokenAt: number | undefined;
  const print = async (): Promise<void> => {
    const bounds = await logBounds(connection, { region, shard });
    from = Math.max(from, bounds.first);
    const read = (start: number, end: number) => readLogMessages(connection, { region, shard, from: start, to: end });
    const marker = await LogMarker.before({ region, shard, first: bounds.first, read }, from);
    const request = { region, shard, from, to: follow ? SEQUENCE_MAX : last, live: follow };
    for await (const message of readLogMessages(connection, request)) {
      const verdict = await marker.mark(message);
      from = message.streamSequence + 1;
      if (verdict.kind === "halt") brokenAt ??= message.streamSequence;
      if (json) terminal.out(jsonOf(message, verdict));
      else for (const line of linesOf(message, verdict)) terminal.out(line);
    }
  };
  // What is trimmed away before it is printed is gone; the rest is marked from what is left.
  await againWhenTrimmed(print);
  return brokenAt;
}

function verifyCommand(terminal: Terminal, done: Done): Command {
  return readCommand("verify", "the report")
    .description("Prove that the log is whole: every frame, chain value and event from the first, or from a snapshot.")
    .addOption(
      new Option(
        "--from <sequence>",
        "begin at this stream sequence: its frame is trusted, and only the chain behind it is checked",
      ).argParser(integer(1, SEQUENCE_MAX)),
    )
    .addOption(
      new Option("--data-dir <folder>", "look for snapshots also in this dispatcher's data folder").argParser(
        folderPath,
      ),
    )
    .addHelpText("after", VERIFY_EXAMPLES)
    .action(async (options: VerifyOptions, command: Command) => {
      const report = await withConnection(options, (connection) => verify(connection, options, command, terminal));
      if (options.json) terminal.out(JSON.stringify(report));
      else for (const line of reportLines(report)) terminal.out(line);
      for (const { message } of report.passedSnapshots ?? []) terminal.note(`omnirelay: ${safeText(message)}`);
      if (report.problem !== undefined)
        terminal.note(
          `omnirelay: the log of ${report.region}/${report.shard} is not whole, at stream sequence ${report.problem.streamSequence}: ${report.problem.code}: ${safeText(report.problem.message)}`,
        );
      else if (report.verdict === "incomplete") terminal.note(`omnirelay: ${incompleteText(report)}`);
      done(report.ok ? EXIT_CODES.ok : EXIT_CODES.failed);
    });
}

function incompleteText({ region, shard, stream: { first, last } }: LogReport): string {
  return `the log of ${region}/${shard} is trimmed below stream sequence ${first}, and no good snapshot leads into what is left (${first} to ${last}): its frames follow each other, but the state they continue is not known. Give the data folder of a dispatcher of this shard (--data-dir), or start one: its leader writes the next snapshot; if nobody trimmed the log on purpose, restore the stream from a backup`;
}

async function verify(
  connection: NatsConnection,
  { region, shard, from, dataDir, json }: VerifyOptions,
  command: Command,
  terminal: Terminal,
): Promise<LogReport> {
  const { first, last } = await logBounds(connection, { region, shard });
  if (from !== undefined && (from < first || from > Math.max(1, last)))
    return command.error(`error: --from ${from} is not in the stream, which holds ${first} to ${last}`);
  const bar = new ProgressBar(terminal.isInteractive && !json, "{value} of {total} messages");
  const onProgress = (read: number, total: number) => bar.show(read, total);
  try {
    return await auditLog(connection, { region, shard, from, dataDir, onProgress });
  } finally {
    bar.close();
  }
}

async function withConnection<T>({ natsUrl }: LogOptions, use: (connection: NatsConnection) => Promise<T>): Promise<T> {
  const connection = await connectNats({ servers: natsServers(natsUrl), name: "omnirelay log" });
  try {
    return await use(connection);
  } finally {
    await connection.close();
  }
}

const VERDICT_TEXTS = { whole: "whole", broken: "NOT WHOLE", incomplete: "INCOMPLETE" } as const;

function trimmedRows({ trimmedBelow, anchoredBy, trustedFrame }: LogReport): readonly (readonly string[])[] {
  if (trimmedBelow === undefined) return [];
  const anchor =
    anchoredBy === undefined
      ? "no snapshot leads into what is left"
      : `continues the snapshot at sequence ${anchoredBy.sequence} (stream sequence ${anchoredBy.streamSequence}) of the ${safeText(anchoredBy.where)}`;
  const trust = `the first frame, at stream sequence ${trustedFrame}, is taken at its word for what stood before it`;
  return [
    ["trimmed", `below stream sequence ${trimmedBelow}`],
    ["state", anchor],
    ...(trustedFrame === undefined ? [] : [["not proven", trust]]),
  ];
}

function reportLines(report: LogReport): readonly string[] {
  const { verdict, head, voids, terms, counts, eventsByType } = report;
  const events = Object.entries(eventsByType).map(([type, count]) => `${type} ${count}`);
  return [
    ...aligned([
      ["log", `${report.logId || "unknown"} of ${report.region}/${report.shard}: ${VERDICT_TEXTS[verdict]}`],
      ["stream", `holds stream sequences ${report.stream.first} to ${report.stream.last}`],
      ...trimmedRows(report),
      ["messages", `${report.messages}: ${report.frames} frames (${report.emptyFrames} empty), ${voids.count} void`],
      [
        "events",
        report.isFolded
          ? `${report.events} (${events.join(", ")})`
          : "not folded: the reading began neither at the first frame nor at a snapshot",
      ],
      [
        "terms",
        `${terms.length}${terms.length === 0 ? "" : `, last ${terms.at(-1)?.term} of ${safeText(terms.at(-1)?.leader ?? "")}`}`,
      ],
      [
        "state",
        report.isFolded
          ? `${report.stateHash}: ${counts.pending} pending, ${counts.active} leased, ${counts.deadLettered} dead letters, ${counts.completed} completed`
          : "",
      ],
      ["head", `stream sequence ${head.streamSequence}, sequence ${head.sequence}, ${timeText(head.at)}`],
      ["chain", head.chain],
    ]),
    ...voids.first.map(
      ({ streamSequence, reason }) => `void message at stream sequence ${streamSequence}: ${safeText(reason)}`,
    ),
  ];
}
