/** `omnirelay snapshot`: the snapshots of a shard, listed, verified, and made without a dispatcher. */
import type { NatsConnection } from "@nats-io/transport-node";
import { Command, Option } from "commander";
import { OperatingError } from "../../../contracts/errors.ts";
import { connectNats } from "../../jetstream/connect.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { NATS_URL_DEFAULT, natsServers } from "../../runtime/settings.ts";
import { folderPath, integer, jsonOption, natsUrlOption, regionOption, shardOption } from "../arguments.ts";
import { foldLog } from "../fold-log.ts";
import { logBounds } from "../log-bounds.ts";
import type { Done } from "../program.ts";
import { ProgressBar } from "../progress-bar.ts";
import { type FoundSnapshot, SnapshotPlaces } from "../snapshot-places.ts";
import { type SnapshotVerdict, verifySnapshot } from "../snapshot-verify.ts";
import { writeSnapshot } from "../snapshot-write.ts";
import { aligned, safeText, type Terminal, timeText } from "../terminal.ts";

interface SnapshotOptions {
  readonly natsUrl: string;
  readonly region: string;
  readonly shard: string;
  readonly dataDir?: string;
  readonly json: boolean;
}
type ListOptions = SnapshotOptions & { readonly limit: number; readonly below?: number };
type VerifyOptions = SnapshotOptions & { readonly sequence?: number };

const LIMIT_DEFAULT = 50;
const SEQUENCE_MAX = Number.MAX_SAFE_INTEGER;
const PROGRESS = "{what} {value} of {total}";
const LIST_EXAMPLES = `
What cannot be used is told with its reason. Nothing is read but the labels: the proof is snapshot verify.

Examples:
  omnirelay snapshot list
  omnirelay snapshot list --data-dir ./data --json | jq .sequence`;
const VERIFY_EXAMPLES = `
Reads every chunk back and checks its sum, builds the state, compares its hash, log and sequence with the label; checks that the log's message
at the snapshot's place is the frame it was cut behind; and folds the log from there to its end, against the state hashes in it.
Exit code 1 when a snapshot is damaged, of another log, of a newer release, or contradicted by the log.

Examples:
  omnirelay snapshot verify
  omnirelay snapshot verify --sequence 120034 --data-dir ./data --json`;
const CREATE_EXAMPLES = `
Needs no dispatcher: begins with the newest good snapshot, or with the log's first frame, folds the log to its end with every check of
log verify, and writes the state there into the object store that all dispatchers share. Refused when that part of the log is not whole.

Examples:
  omnirelay snapshot create
  omnirelay snapshot create --shard orders --json`;

export function snapshotCommand(terminal: Terminal, done: Done): Command {
  return new Command("snapshot")
    .description("List, verify and create snapshots of a shard's state.")
    .addCommand(listCommand(terminal, done))
    .addCommand(verifyCommand(terminal, done))
    .addCommand(createCommand(terminal, done));
}

function shardCommand(name: string, json: string): Command {
  return new Command(name)
    .addOption(natsUrlOption().default(NATS_URL_DEFAULT))
    .addOption(regionOption())
    .addOption(shardOption())
    .addOption(new Option("--data-dir <folder>", "also of this dispatcher's data folder").argParser(folderPath))
    .addOption(jsonOption(json));
}

function listCommand(terminal: Terminal, done: Done): Command {
  return shardCommand("list", "one snapshot a line, as JSON")
    .description("List the snapshots of the shared object store, newest first.")
    .addOption(
      new Option("--limit <count>", "snapshots on a page").default(LIMIT_DEFAULT).argParser(integer(1, SEQUENCE_MAX)),
    )
    .addOption(new Option("--below <sequence>", "go on below this sequence").argParser(integer(1, SEQUENCE_MAX)))
    .addHelpText("after", LIST_EXAMPLES)
    .action(async (options: ListOptions) => {
      const found = await withPlaces(options, async (connection, places) => {
        const listed = await places.list(options);
        if (listed.length === 0) await logBounds(connection, options);
        return listed;
      });
      printList(found, options, terminal);
      done(EXIT_CODES.ok);
    });
}

function printList(all: readonly FoundSnapshot[], { limit, below, json }: ListOptions, terminal: Terminal): void {
  const found = below === undefined ? all : all.filter(({ info }) => info.label.sequence < below);
  // A sequence in both places is never parted by the end of a page.
  const lastSequence = found[limit - 1]?.info.label.sequence ?? 0;
  const page = found.filter(({ info }) => info.label.sequence >= lastSequence);
  if (json) for (const one of page) terminal.out(JSON.stringify(fieldsOf(one)));
  else if (page.length === 0) terminal.note("omnirelay: there is no snapshot");
  else for (const line of aligned([HEADINGS, ...page.map(rowOf)])) terminal.out(line);
  if (!json)
    for (const { info } of page)
      if (info.problem !== undefined) terminal.note(`omnirelay: ${safeText(info.problem.message)}`);
  if (page.length < found.length) terminal.note(`there may be more: --below ${lastSequence}`);
}

const HEADINGS = ["sequence", "stream", "term", "created at", "bytes", "hash", "where"];

function rowOf({ info }: FoundSnapshot): readonly (string | number)[] {
  const { label, bytes, problem, where } = info;
  const { sequence, streamSequence, term, createdAtMs, hash } = label;
  if (problem !== undefined) return [sequence, "", "", "", bytes, problem.code, safeText(where)];
  return [sequence, streamSequence, term, timeText(createdAtMs), bytes, hash, safeText(where)];
}

/** Of a snapshot whose label cannot be read only the sequence is certain. */
function fieldsOf({ info, isShared }: FoundSnapshot): object {
  const { label, where, bytes, textBytes, chunks, verifiedAtMs, problem } = info;
  const { sequence, streamSequence, term, logId, hash, chain, at, createdAtMs } = label;
  const place = { where, isShared, bytes, textBytes, chunks };
  if (problem !== undefined) return { sequence, ...place, problem };
  return { sequence, streamSequence, term, logId, hash, chain, at, createdAtMs, verifiedAtMs, ...place };
}

function verifyCommand(terminal: Terminal, done: Done): Command {
  return shardCommand("verify", "the verdicts")
    .description("Prove that snapshots are whole and that the log agrees with them.")
    .addOption(new Option("--sequence <sequence>", "only the one of this sequence").argParser(integer(0, SEQUENCE_MAX)))
    .addHelpText("after", VERIFY_EXAMPLES)
    .action(async (options: VerifyOptions) => {
      const verdicts = await withPlaces(options, (connection, places) =>
        verifyAll(connection, places, options, terminal),
      );
      const ok = verdicts.every(({ problem }) => problem === undefined);
      if (options.json) terminal.out(JSON.stringify({ ok, snapshots: verdicts.map(verdictFields) }));
      else for (const line of aligned(verdicts.map(verdictRow))) terminal.out(line);
      for (const { problem } of verdicts)
        if (problem !== undefined) terminal.note(`omnirelay: ${problem.code}: ${safeText(problem.message)}`);
      done(ok ? EXIT_CODES.ok : EXIT_CODES.failed);
    });
}

async function verifyAll(
  connection: NatsConnection,
  places: SnapshotPlaces,
  options: VerifyOptions,
  terminal: Terminal,
): Promise<readonly SnapshotVerdict[]> {
  const { region, shard, sequence, json } = options;
  const listed = await places.list({ region, shard });
  const chosen = sequence === undefined ? listed : listed.filter(({ info }) => info.label.sequence === sequence);
  if (chosen.length === 0) throw noSnapshot(options);
  const verdicts: SnapshotVerdict[] = [];
  const bar = new ProgressBar(terminal.isInteractive && !json, PROGRESS);
  try {
    for (const found of chosen) {
      const onProgress = (what: string, value: number, total: number) => bar.show(value, total, { what });
      const verdict = await verifySnapshot(connection, places, found, onProgress);
      // The leader keeps its two newest: one that it has removed meanwhile is nobody's loss.
      if (verdict.problem?.code === "snapshot_missing") terminal.note(`omnirelay: ${verdict.problem.message}`);
      else verdicts.push(verdict);
    }
  } finally {
    bar.close();
  }
  if (verdicts.length === 0) throw noSnapshot(options);
  return verdicts;
}

function noSnapshot({ region, shard, sequence }: VerifyOptions): OperatingError {
  const which = sequence === undefined ? "" : ` at sequence ${sequence}`;
  return new OperatingError(
    "snapshot_missing",
    `there is no snapshot of ${region}/${shard}${which}; see: omnirelay snapshot list, or make one: omnirelay snapshot create`,
    { definite: true },
  );
}

function verdictFields({ found, problem, anchor, folded }: SnapshotVerdict): object {
  return { ...fieldsOf(found), ok: problem === undefined, problem, anchor, folded };
}

function verdictRow({ found, problem, anchor, folded }: SnapshotVerdict): readonly (string | number)[] {
  const { label, where } = found.info;
  const place =
    folded === undefined
      ? "the log is trimmed there: not compared with it"
      : `${anchor === "anchored" ? "its frame is in the log" : "its own frame is trimmed, the next one follows it"}, folded to sequence ${folded.sequence}, ${folded.stateHashes} state hashes agree`;
  return [label.sequence, problem === undefined ? `whole: ${place}` : `NOT WHOLE: ${problem.code}`, safeText(where)];
}

function createCommand(terminal: Terminal, done: Done): Command {
  return shardCommand("create", "the snapshot")
    .description("Write a snapshot of the log's end into the shared object store.")
    .addHelpText("after", CREATE_EXAMPLES)
    .action(async (options: SnapshotOptions) => {
      const { region, shard, json } = options;
      const bar = new ProgressBar(terminal.isInteractive && !json, PROGRESS);
      const onProgress = (value: number, total: number) => bar.show(value, total, { what: "folding" });
      const create = async (connection: NatsConnection, places: SnapshotPlaces) => {
        const folded = await foldLog(connection, places, { region, shard, isStrict: true, onProgress });
        return { ...folded, created: await writeSnapshot(places, folded, { region, shard }) };
      };
      const replicasOf = async (connection: NatsConnection) =>
        (await logBounds(connection, { region, shard })).replicas;
      const { created, base, passed } = await withPlaces(options, create, replicasOf).finally(() => bar.close());
      for (const { message } of passed) terminal.note(`omnirelay: ${safeText(message)}`);
      const { info, isNew } = created;
      const fields = fieldsOf({ info, store: created.store, isShared: true });
      const from = base === undefined ? "the log's beginning" : `the snapshot at sequence ${base.info.label.sequence}`;
      if (json) terminal.out(JSON.stringify({ created: isNew, foldedFrom: base?.info.label.sequence ?? 0, ...fields }));
      else
        terminal.out(
          isNew
            ? `snapshot at sequence ${info.label.sequence} (stream sequence ${info.label.streamSequence}) written, folded from ${from}: hash ${info.label.hash}, ${info.bytes} bytes in ${safeText(info.where)}`
            : `the snapshot at sequence ${info.label.sequence} is there already and whole: hash ${info.label.hash}`,
        );
      done(EXIT_CODES.ok);
    });
}

/** The stream must be there when a snapshot is made, or when there is none to list; the snapshots of a lost one can still be listed. */
async function withPlaces<Result>(
  { natsUrl, dataDir }: SnapshotOptions,
  use: (connection: NatsConnection, places: SnapshotPlaces) => Promise<Result>,
  replicasOf: (connection: NatsConnection) => Promise<number> = async () => 1,
): Promise<Result> {
  const connection = await connectNats({ servers: natsServers(natsUrl), name: "omnirelay snapshot" });
  try {
    const places = await SnapshotPlaces.open(connection, { replicas: await replicasOf(connection), dataDir });
    try {
      return await use(connection, places);
    } finally {
      await places.close();
    }
  } finally {
    await connection.close();
  }
}
