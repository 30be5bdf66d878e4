/** `omnirelay state`: two states compared record by record, and the state of the log written into a file. */
import { once } from "node:events";
import { createWriteStream, rmSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import { OperatingError } from "../../../contracts/errors.ts";
import { dumpText } from "../../core/dump-text.ts";
import { stateHash } from "../../core/hash.ts";
import type { ShardState } from "../../core/state.ts";
import { connectNats } from "../../jetstream/connect.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { NATS_URL_DEFAULT, natsServers } from "../../runtime/settings.ts";
import { folderPath, integer, jsonOption, natsUrlOption, regionOption, shardOption } from "../arguments.ts";
import type { Done } from "../program.ts";
import { ProgressBar } from "../progress-bar.ts";
import { SnapshotPlaces } from "../snapshot-places.ts";
import { type Difference, StateDiff } from "../state-diff.ts";
import {
  foldTo,
  readState,
  type StateHead,
  type StateSpec,
  type StateSurroundings,
  stateSpec,
} from "../state-source.ts";
import { safeText, type Terminal } from "../terminal.ts";

interface StateOptions {
  readonly natsUrl: string;
  readonly region: string;
  readonly shard: string;
  readonly dataDir?: string;
  readonly json: boolean;
}
type DiffOptions = StateOptions & { readonly limit: number };
type DumpOptions = StateOptions & { readonly at?: number; readonly output: string };

const LIMIT_DEFAULT = 50;
const SEQUENCE_MAX = Number.MAX_SAFE_INTEGER;
/** Of a value that is shown to people; --json shows all of it. Characters. */
const SHOWN_MAX = 120;
const SOURCE_TEXT = "a dump file, snapshot:<sequence>, snapshot:newest, log or log@<sequence>";
const DIFF_EXAMPLES = `
A dispatcher that halts because its state differs from the log's writes a dump into <data-dir>/dumps. Without RIGHT it is compared with the
state that the log itself leads to at the same sequence: the records in which the node went wrong are what differs.
Exit code 0 when both are equal, 1 when they differ.

Examples:
  omnirelay state diff ./data/dumps/local.default.00000000000000004711.state_diverged.jsonl
  omnirelay state diff snapshot:newest log --json | jq .counts
  omnirelay state diff log@100 log@200 --limit 10`;
const DUMP_EXAMPLES = `
Examples:
  omnirelay state dump --output state.jsonl
  omnirelay state dump --shard orders --at 4711 --output state-4711.jsonl`;

export function stateCommand(terminal: Terminal, done: Done): Command {
  return new Command("state")
    .description("Compare and write down states of a shard.")
    .addCommand(diffCommand(terminal, done))
    .addCommand(dumpCommand(terminal, done));
}

function shardCommand(name: string, json: string): Command {
  return new Command(name)
    .addOption(natsUrlOption().default(NATS_URL_DEFAULT))
    .addOption(regionOption())
    .addOption(shardOption())
    .addOption(
      new Option("--data-dir <folder>", "look for snapshots also in this dispatcher's data folder").argParser(
        folderPath,
      ),
    )
    .addOption(jsonOption(json));
}

function diffCommand(terminal: Terminal, done: Done): Command {
  return shardCommand("diff", "the differences")
    .description("Show in which records and fields two states differ.")
    .argument("<left>", SOURCE_TEXT, stateSpec)
    .argument("[right]", `${SOURCE_TEXT}; by default the log at the sequence of left`, stateSpec)
    .addOption(
      new Option("--limit <count>", "differences that are shown")
        .default(LIMIT_DEFAULT)
        .argParser(integer(0, SEQUENCE_MAX)),
    )
    .addHelpText("after", DIFF_EXAMPLES)
    .action(async (left: StateSpec, right: StateSpec | undefined, options: DiffOptions) => {
      const diff = new StateDiff();
      const heads = await withSurroundings(options, terminal, (surroundings) =>
        readBoth(left, right, diff, surroundings),
      );
      done(printDiff(heads, diff, options, terminal));
    });
}

interface Heads {
  readonly left: StateHead;
  readonly right: StateHead;
}

async function readBoth(
  leftSpec: StateSpec,
  rightSpec: StateSpec | undefined,
  diff: StateDiff,
  surroundings: StateSurroundings,
): Promise<Heads> {
  const [one, other] = [
    await withSequence(leftSpec, surroundings),
    rightSpec && (await withSequence(rightSpec, surroundings)),
  ];
  const left = await readState(one, beside(other, surroundings), (line) => diff.takeLeft(line));
  const spec: StateSpec = other ?? { kind: "log", sequence: left.sequence };
  const right = await readState(spec, beside(one, surroundings), (line) => diff.takeRight(line));
  return { left, right };
}

/** Settles which snapshot is the newest, for the log is folded from older ones. */
async function withSequence(spec: StateSpec, { places, region, shard }: StateSurroundings): Promise<StateSpec> {
  if (spec.kind !== "snapshot" || spec.sequence !== undefined) return spec;
  const [newest] = await places.list({ region, shard });
  return newest === undefined ? spec : { kind: "snapshot", sequence: newest.info.label.sequence };
}

/** A log that is compared with a snapshot must not begin with it. */
function beside(other: StateSpec | undefined, surroundings: StateSurroundings): StateSurroundings {
  return other?.kind === "snapshot" ? { ...surroundings, snapshotsBelow: other.sequence } : surroundings;
}

/** Returns the exit code. */
function printDiff({ left, right }: Heads, diff: StateDiff, { limit, json }: DiffOptions, terminal: Terminal): number {
  const differences = diff.differences();
  const isEqual = differences.length === 0 && left.hash === right.hash;
  const shown = differences.slice(0, limit);
  const countOf = (kind: Difference["kind"]) => differences.filter((difference) => difference.kind === kind).length;
  const counts = { onlyLeft: countOf("onlyLeft"), onlyRight: countOf("onlyRight"), both: countOf("both") };
  if (json)
    terminal.out(
      JSON.stringify({
        equal: isEqual,
        left,
        right,
        counts: { equal: diff.equalCount, ...counts },
        differences: shown,
      }),
    );
  else {
    terminal.out(headLine("left ", left));
    terminal.out(headLine("right", right));
    for (const difference of shown) terminal.out(differenceLine(difference));
    if (shown.length < differences.length)
      terminal.out(`and ${differences.length - shown.length} more: --limit shows them`);
    terminal.out(summary(counts, diff.equalCount, isEqual, differences.length));
  }
  for (const [side, { notes }] of Object.entries({ left, right }))
    for (const note of notes) terminal.note(`omnirelay: ${side}: ${safeText(note)}`);
  return isEqual ? EXIT_CODES.ok : EXIT_CODES.failed;
}

const headLine = (side: string, { source, sequence, hash }: StateHead): string =>
  `${side}  ${safeText(source)}: sequence ${sequence}, state hash ${hash}`;

function differenceLine({ table, id, kind, left, right, fields = [] }: Difference): string {
  const name = safeText(id === "" ? table : `${table} ${id}`);
  if (kind !== "both") return `only ${kind === "onlyLeft" ? "left" : "right"}: ${name}  ${shortened(left ?? right)}`;
  return `differs: ${name}  ${fields.map((field) => `${field.name}: ${shortened(field.left)} | ${shortened(field.right)}`).join("; ")}`;
}

function shortened(value: unknown): string {
  const text = safeText(JSON.stringify(value) ?? "absent");
  return text.length <= SHOWN_MAX ? text : `${text.slice(0, SHOWN_MAX)}…`;
}

function summary(
  { onlyLeft, onlyRight, both }: Readonly<Record<"onlyLeft" | "onlyRight" | "both", number>>,
  equalCount: number,
  isEqual: boolean,
  count: number,
): string {
  if (isEqual) return `equal: all ${equalCount} records and the state hash`;
  if (count === 0)
    return `all ${equalCount} records are equal, but the state hashes differ: one of them was not kept up with its records`;
  return `${count} records differ: ${onlyLeft} only left, ${onlyRight} only right, ${both} in both; ${equalCount} are equal`;
}

function dumpCommand(terminal: Terminal, done: Done): Command {
  return shardCommand("dump", "where it was written")
    .description("Write the state that the log leads to into a file.")
    .addOption(
      new Option("--at <sequence>", "at this event sequence; the log's end by default").argParser(
        integer(1, SEQUENCE_MAX),
      ),
    )
    .addOption(
      new Option("--output <file>", "a file that does not exist yet").argParser(filePath).makeOptionMandatory(),
    )
    .addHelpText("after", DUMP_EXAMPLES)
    .action(async (options: DumpOptions) => {
      const { at, output, json } = options;
      const { fold, source, notes } = await withSurroundings(options, terminal, (surroundings) =>
        foldTo(at, surroundings),
      );
      const { state } = fold;
      const hash = stateHash(state);
      await writeDump(state, output);
      if (json) terminal.out(JSON.stringify({ file: output, sequence: state.sequence, logId: state.logId, hash }));
      else terminal.out(`${safeText(source)}: written to ${safeText(output)}, state hash ${hash}`);
      for (const note of notes) terminal.note(`omnirelay: ${safeText(note)}`);
      done(EXIT_CODES.ok);
    });
}

function filePath(value: string): string {
  if (value !== "") return value;
  throw new InvalidArgumentError("must be the path of a file");
}

/** All of it or nothing; never over a file that is there. Items may hold what is not everybody's: the file is the owner's alone. */
async function writeDump(state: ShardState, path: string): Promise<void> {
  const file = createWriteStream(path, { flags: "wx", mode: 0o600 });
  let isOurs = false;
  try {
    await once(file, "open");
    isOurs = true;
    for (const text of dumpText(state)) if (!file.write(text)) await once(file, "drain");
    file.end();
    await once(file, "close");
  } catch (error) {
    if (isOurs) rmSync(path, { force: true });
    throw unwritable(path, error as NodeJS.ErrnoException);
  }
}

function unwritable(path: string, cause: NodeJS.ErrnoException): Error {
  if (cause.code === undefined || cause instanceof OperatingError) return cause;
  const message = `cannot write ${path}: ${cause.message}`;
  return new OperatingError("output_unwritable", message, { definite: true, cause });
}

async function withSurroundings<Result>(
  { natsUrl, region, shard, dataDir, json }: StateOptions,
  terminal: Terminal,
  use: (surroundings: StateSurroundings) => Promise<Result>,
): Promise<Result> {
  const connection = await connectNats({ servers: natsServers(natsUrl), name: "omnirelay state" });
  const bar = new ProgressBar(terminal.isInteractive && !json, "{what} {value} of {total}");
  try {
    const places = await SnapshotPlaces.open(connection, { dataDir });
    try {
      const onProgress = (what: string, value: number, total: number) => bar.show(value, total, { what });
      return await use({ connection, places, region, shard, onProgress });
    } finally {
      await places.close();
    }
  } finally {
    bar.close();
    await connection.close();
  }
}
