/** `omnirelay drain`, `restore`, `discard` and `evict`: hold a shard's items still, take them out, let them go on; end a peer's leases. */
import { setTimeout as delay } from "node:timers/promises";
import { type Command, Option } from "commander";
import type { DrainItem } from "../../../contracts/commands.ts";
import { DRAIN_LEASES, DrainId } from "../../../contracts/drain.ts";
import { OperatingError } from "../../../contracts/errors.ts";
import { PeerId } from "../../../contracts/ids.ts";
import { ENTRIES_PER_REQUEST_MAX } from "../../../contracts/limits.ts";
import type { ReplyOf } from "../../../contracts/replies.ts";
import type { RestoredItem } from "../../client/drains.ts";
import type { LeaseClient } from "../../client/lease-client.ts";
import type { EntryResult } from "../../client/refusal.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { askCommand, parsedBy } from "../arguments.ts";
import { type DrainHeader, readDrainFile, writeDrainFile } from "../drain-file.ts";
import type { Done } from "../program.ts";
import { itemName, noteRefusals } from "../refusals.ts";
import { type AskOptions, withClient } from "../shard-client.ts";
import { safeText, type Terminal } from "../terminal.ts";

type DrainOptions = AskOptions & {
  readonly leases: (typeof DRAIN_LEASES)[number];
  readonly export?: string;
  readonly wait: boolean;
};
type RestoreOptions = AskOptions & { readonly file?: string; readonly fromOtherLog: boolean };

/** How often the shard is asked whether leases still live. ms. */
const WAIT_EVERY_MS = 250;
/** Items between two words of progress. */
const PROGRESS_EVERY = 10_000;
/** Bodies that are read before items are sent. Characters. */
const RUN_LENGTH_MAX = 4 * 1_024 * 1_024;
const DRAIN_EXAMPLES = `
Marks every pending or leased item and grants nothing until "restore" or "discard"; what is enqueued later waits unmarked. Leases end as always, or
at once with --leases expire, uncharged. --export waits for the last lease and writes the items to a file, which is whole or not there. The same
command again goes on with the same drain.

Examples:
  omnirelay drain monday --leases expire
  omnirelay drain monday --export monday.jsonl
  omnirelay drain monday --wait --json | jq .marked`;
const RESTORE_EXAMPLES = `
With the id of a drain its items go on where they were. With --file the items of an export are made anew, each once however often this is repeated; the whole
file is checked before anything is sent. Items of this log come back only if they were discarded.

Examples:
  omnirelay restore monday
  omnirelay restore --file monday.jsonl --shard other --from-other-log`;
const DISCARD_EXAMPLES = `
Discarded items are gone for good, but for an export of them. It is refused while one of them is leased. After an end of this command run it again: a drain
that is partly discarded can only be discarded whole.

Examples:
  omnirelay discard monday --yes`;
const EVICT_EXAMPLES = `
The attempts are not charged, and the tokens are stale from then on. The peer may lease again: stop it first.

Examples:
  omnirelay evict worker--7`;

const drainIdOf = parsedBy(DrainId);

export function drainCommand(terminal: Terminal, done: Done): Command {
  return askCommand("drain", "the reply")
    .description("Hold the unfinished items of a shard still, and export them.")
    .argument("<drain-id>", "names this drain", drainIdOf)
    .addOption(
      new Option("--leases <how>", "let leases end as always, or end them").choices(DRAIN_LEASES).default("wait"),
    )
    .addOption(new Option("--export <file>", "wait as --wait does, then write the items to this file"))
    .option("--wait", "wait until no item is leased", false)
    .addHelpText("after", DRAIN_EXAMPLES)
    .action(async (drainId: string, options: DrainOptions) => {
      await withClient(options, (client) => drain(client, drainId, options, terminal));
      done(EXIT_CODES.ok);
    });
}

async function drain(client: LeaseClient, drainId: string, options: DrainOptions, terminal: Terminal): Promise<void> {
  const { leases, export: file, wait, json } = options;
  const reply = await client.drain(drainId, { leases });
  const isWaiting = wait || file !== undefined;
  const { marked, active } = isWaiting ? await untilIdle(client, drainId, terminal) : reply;
  const exported = file === undefined ? undefined : await exportItems(client, drainId, file, terminal);
  if (json) terminal.out(JSON.stringify({ ...reply, marked, active, exported }));
  else {
    const how = exported === undefined ? "" : `, ${exported} exported to ${safeText(file ?? "")}`;
    terminal.out(`drain ${safeText(drainId)}: ${marked} items held, ${active} of them leased${how}`);
  }
}

/** Waits until none of the drain's items is leased. */
async function untilIdle(
  client: LeaseClient,
  drainId: string,
  terminal: Terminal,
): Promise<{ readonly marked: number; readonly active: number }> {
  let told: number | undefined;
  for (;;) {
    const { active, drain: on } = await client.stats();
    const { marked } = theDrain(on, drainId);
    if (active === 0) return { marked, active };
    if (active !== told) terminal.note(`waits for ${active} leases`);
    told = active;
    await delay(WAIT_EVERY_MS);
  }
}

async function exportItems(client: LeaseClient, drainId: string, file: string, terminal: Terminal): Promise<number> {
  const { logId, region, shard, drain: on } = await client.stats({ consistent: true });
  const { sequence, at, discarding } = theDrain(on, drainId);
  // It would stand in the place of one that is whole.
  if (discarding) throw problem("drain_not_whole", "the drain is partly discarded: an export would not be whole");
  const progress = (count: number): void => {
    if (count % PROGRESS_EVERY === 0) terminal.note(`${count} exported so far`);
  };
  return writeDrainFile(file, { logId, region, shard, drainId, sequence, at }, client.drained(drainId), progress);
}

function theDrain(on: ReplyOf<"stats">["drain"], drainId: string): NonNullable<typeof on> {
  if (on?.drainId === drainId) return on;
  throw problem("drain_not_found", `the drain ${JSON.stringify(drainId)} is over`);
}

export function restoreCommand(terminal: Terminal, done: Done): Command {
  return askCommand("restore", "the reply, or the counts")
    .description("Let the items of a drain go on, or make the items of an export anew.")
    .argument("[drain-id]", "a drain that is on", drainIdOf)
    .addOption(new Option("--file <file>", "an export"))
    .option("--from-other-log", "the export may be of another log than the shard's", false)
    .addHelpText("after", RESTORE_EXAMPLES)
    .action(async (drainId: string | undefined, options: RestoreOptions, command: Command) => {
      const { file, fromOtherLog, json } = options;
      if ((drainId === undefined) === (file === undefined)) command.error("error: give the id of a drain, or --file");
      if (fromOtherLog && file === undefined) command.error("error: --from-other-log is about --file");
      if (file !== undefined) {
        const header = await checkFile(file);
        done(await withClient(options, (client) => restoreFile(client, file, header, options, terminal)));
        return;
      }
      const id = drainId ?? "";
      const { duplicate } = await withClient(options, (client) => client.restore(id));
      if (json) terminal.out(JSON.stringify({ drainId: id, duplicate }));
      else terminal.out(`drain ${safeText(id)}: ${duplicate ? "restored before" : "restored"}`);
      done(EXIT_CODES.ok);
    });
}

/** Reads the whole file before anything is sent. */
async function checkFile(file: string): Promise<DrainHeader> {
  let header: DrainHeader | undefined;
  for await (const _item of readDrainFile(file, (found) => (header = found)));
  return header as DrainHeader;
}

/** Returns the exit code. */
async function restoreFile(
  client: LeaseClient,
  file: string,
  header: DrainHeader,
  { fromOtherLog, json }: RestoreOptions,
  terminal: Terminal,
): Promise<number> {
  const { logId, region, shard, drainId } = header;
  const target = await client.stats({ consistent: true });
  if (target.logId !== logId && !fromOtherLog)
    throw problem(
      "drain_file_foreign",
      `${file}, line 1: it is of log ${logId} (${region}/${shard}), the shard has log ${target.logId}; if that is meant, add --from-other-log`,
    );
  const source = { drainId, origin: { logId, region, shard } };
  const counts = { restored: 0, duplicates: 0, refused: 0 };
  let done = 0;
  const refusals: EntryResult<RestoredItem>[] = [];
  const refusedIds: string[] = [];
  for await (const run of runsOf(readDrainFile(file, () => {}))) {
    for (const [index, result] of (await client.restoreItems(source, run)).entries()) {
      if (result.kind === "ok") counts[result.value.duplicate ? "duplicates" : "restored"] += 1;
      else {
        counts.refused += 1;
        refusals.push(result);
        refusedIds.push(run[index]?.itemId ?? "");
      }
    }
    done += run.length;
    if (done % PROGRESS_EVERY < run.length) terminal.note(`${done} items so far`);
  }
  const { restored, duplicates, refused } = counts;
  if (json) terminal.out(JSON.stringify({ drainId, ...counts }));
  else terminal.out(`${restored} restored, ${duplicates} there before, ${refused} refused`);
  return noteRefusals(refusals, (index) => itemName(refusedIds[index]), terminal);
}

async function* runsOf(items: AsyncIterable<DrainItem>): AsyncGenerator<readonly DrainItem[], void, void> {
  let run: DrainItem[] = [];
  let length = 0;
  for await (const item of items) {
    run.push(item);
    length += item.item.body?.length ?? 0;
    if (run.length < ENTRIES_PER_REQUEST_MAX && length < RUN_LENGTH_MAX) continue;
    yield run;
    run = [];
    length = 0;
  }
  if (run.length > 0) yield run;
}

export function discardCommand(terminal: Terminal, done: Done): Command {
  return askCommand("discard", "the counts")
    .description("End the items of a drain for good.")
    .argument("<drain-id>", "the drain that is on", drainIdOf)
    .option("--yes", "they may be removed", false)
    .addHelpText("after", DISCARD_EXAMPLES)
    .action(async (drainId: string, options: AskOptions & { readonly yes: boolean }, command: Command) => {
      if (!options.yes) command.error("error: discarded items are gone for good; if they may be, add --yes");
      let told = 0;
      const onProgress = (discarded: number, left: number): void => {
        if (discarded - told < PROGRESS_EVERY) return;
        told = discarded;
        terminal.note(`${discarded} discarded so far, ${left} left`);
      };
      const { discarded, duplicate } = await withClient(options, (client) => client.discard(drainId, { onProgress }));
      if (options.json) terminal.out(JSON.stringify({ drainId, discarded, duplicate }));
      else
        terminal.out(
          `drain ${safeText(drainId)}: ${duplicate ? "discarded before" : `discarded, ${discarded} items have ended`}`,
        );
      done(EXIT_CODES.ok);
    });
}

export function evictCommand(terminal: Terminal, done: Done): Command {
  return askCommand("evict", "the count")
    .description("End the leases that a peer holds.")
    .argument("<peer>", "peer id", parsedBy(PeerId))
    .addHelpText("after", EVICT_EXAMPLES)
    .action(async (peerId: string, options: AskOptions) => {
      const { evicted } = await withClient(options, (client) => client.evict(peerId));
      if (options.json) terminal.out(JSON.stringify({ peerId, evicted }));
      else terminal.out(`peer ${safeText(peerId)}: ${evicted} leases ended`);
      done(EXIT_CODES.ok);
    });
}

const problem = (code: string, message: string): OperatingError =>
  new OperatingError(code, message, { definite: true });
