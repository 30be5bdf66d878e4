/** `omnirelay dead-letters`: shows dead letters, brings them back, or ends them. */
import { setTimeout as delay } from "node:timers/promises";
import { Command, Option } from "commander";
import { REQUESTS } from "../../../contracts/commands.ts";
import { PartitionKey, ResourceId, ResourceType } from "../../../contracts/ids.ts";
import { ENTRIES_PER_REQUEST_MAX, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX } from "../../../contracts/limits.ts";
import type { DeadLetterFilter, DeadLettersTaken } from "../../client/ends.ts";
import type { ItemRecord, LeaseClient } from "../../client/lease-client.ts";
import { requestRuns } from "../../client/request-runs.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { askCommand, integer, itemIds, parsedBy } from "../arguments.ts";
import type { Done } from "../program.ts";
import { itemName, jsonResults, noteRefusals } from "../refusals.ts";
import { type AskOptions, withClient } from "../shard-client.ts";
import { safeText, type Terminal, timeText } from "../terminal.ts";
import { Cursor, type ListOptions, printPages } from "./list.ts";

interface Filter {
  readonly resourceType?: string;
  readonly resourceId?: string;
  readonly partitionKey?: string;
  readonly code?: string;
}
type TakeOptions = AskOptions & Filter & { readonly limit?: number; readonly all: boolean };
type RedriveOptions = TakeOptions & { readonly rate?: number };
type PurgeOptions = TakeOptions & { readonly yes: boolean };

/** Items in a second: beyond it the time between two of them is less than the millisecond that the shard counts in. */
const RATE_MAX = 1_000;
/** More than that is `--all`. */
const LIMIT_MAX = 1_000_000;
const LIST_EXAMPLES = `
Examples:
  omnirelay dead-letters list
  omnirelay dead-letters list --code timeout --all --json | jq -r .itemId`;
const REDRIVE_EXAMPLES = `
Redriven items go back to their old places, with no attempt charged; an end of their time (notAfter) no longer counts. Without --rate all can be
granted at once. With it each is delayed by so much more than the one before, and the next page is taken when the last is through: an
end of the command leaves the rest where it is. Ids may be redriven twice; a filter takes what is a dead letter then.

Examples:
  omnirelay dead-letters redrive 3 4
  omnirelay dead-letters redrive --code timeout --limit 10
  omnirelay dead-letters redrive --all --rate 100 --json | jq .redriven`;
const PURGE_EXAMPLES = `
Purged items are gone for good.

Examples:
  omnirelay dead-letters purge 3 --yes
  omnirelay dead-letters purge --resource-type reports --all --yes`;

export function deadLettersCommand(terminal: Terminal, done: Done): Command {
  return new Command("dead-letters")
    .description("Show the dead letters of a shard, bring them back, or end them.")
    .addCommand(listCommand(terminal, done))
    .addCommand(redriveCommand(terminal, done))
    .addCommand(purgeCommand(terminal, done));
}

function filtered(command: Command): Command {
  return command
    .addOption(new Option("--resource-type <type>", "only of this type").argParser(parsedBy(ResourceType)))
    .addOption(new Option("--resource-id <id>", "only of this resource").argParser(parsedBy(ResourceId)))
    .addOption(new Option("--partition-key <key>", "only of this partition").argParser(parsedBy(PartitionKey)))
    .addOption(
      new Option("--code <code>", "only with this code of their failure").argParser(parsedBy(REQUESTS.list.shape.code)),
    );
}

function listCommand(terminal: Terminal, done: Done): Command {
  return filtered(askCommand("list", "one item a line"))
    .description("Print dead letters, in order of enqueue, with when and why they died.")
    .addOption(
      new Option("--limit <count>", "items on a page").default(PAGE_SIZE_DEFAULT).argParser(integer(1, PAGE_SIZE_MAX)),
    )
    .addOption(new Option("--cursor <cursor>", "go on after an earlier page").argParser(parsedBy(Cursor)))
    .addOption(new Option("--all", "every page").default(false).conflicts("cursor"))
    .addHelpText("after", LIST_EXAMPLES)
    .action(async (options: ListOptions & Filter) => {
      const { code } = options;
      const isWanted = ({ deadLetter }: ItemRecord): boolean => code === undefined || deadLetter?.code === code;
      const filter: ListOptions = { ...options, status: "deadLettered" };
      await withClient(options, (client) => printPages(client, filter, terminal, isWanted, rowOf));
      done(EXIT_CODES.ok);
    });
}

function rowOf({ itemId, attempt, item, deadLetter }: ItemRecord): readonly (string | number)[] {
  return [
    itemId,
    `${safeText(item?.resourceType ?? "")} ${safeText(item?.resourceId ?? "")}`,
    attempt ?? 0,
    timeText(deadLetter?.at),
    deadLetter?.code ?? "",
    safeText(deadLetter?.reason ?? ""),
  ];
}

/** What `redrive` and `purge` take: ids, or a filter. */
function takeCommand(name: "redrive" | "purge"): Command {
  return filtered(askCommand(name, "the counts and one result per item"))
    .argument("[item...]", "item ids", itemIds)
    .addOption(
      new Option("--limit <count>", `at most so many of a filter; ${ENTRIES_PER_REQUEST_MAX} by default`)
        .argParser(integer(1, LIMIT_MAX))
        .conflicts("all"),
    )
    .addOption(new Option("--all", "all of them, page by page").default(false));
}

function redriveCommand(terminal: Terminal, done: Done): Command {
  return takeCommand("redrive")
    .description("Bring dead letters back: those named, or those that a filter names.")
    .addOption(new Option("--rate <count>", "at most so many a second").argParser(integer(1, RATE_MAX)))
    .addHelpText("after", REDRIVE_EXAMPLES)
    .action(async (ids: readonly string[], options: RedriveOptions, command: Command) => {
      checkChoice(ids, options, command);
      const everyMs = options.rate === undefined ? 0 : Math.ceil(1_000 / options.rate);
      const ask: Ask = (client, filter) => client.redrive({ ...filter, everyMs });
      done(await takeAll("redriven", paced(ask, everyMs), ids, options, terminal));
    });
}

function purgeCommand(terminal: Terminal, done: Done): Command {
  return takeCommand("purge")
    .description("End dead letters for good: those named, or those that a filter names.")
    .option("--yes", "they may be removed", false)
    .addHelpText("after", PURGE_EXAMPLES)
    .action(async (ids: readonly string[], options: PurgeOptions, command: Command) => {
      checkChoice(ids, options, command);
      if (!options.yes) command.error("error: purged items are gone for good; if they may be, add --yes");
      done(await takeAll("purged", (client, filter) => client.purge(filter), ids, options, terminal));
    });
}

const filterOf = ({ resourceType, resourceId, partitionKey, code }: Filter) => ({
  ...{ resourceType, resourceId, partitionKey, code },
});

function checkChoice(ids: readonly string[], options: TakeOptions, command: Command): void {
  const { all, limit } = options;
  const hasFilter = all || limit !== undefined || Object.values(filterOf(options)).some((value) => value !== undefined);
  if (ids.length > 0 && hasFilter) command.error("error: item ids and the options of a filter exclude each other");
  if (ids.length === 0 && !hasFilter) command.error("error: give item ids, a filter, or --all");
}

type Ask = (client: LeaseClient, filter: DeadLetterFilter) => Promise<DeadLettersTaken>;

/** Asks again only when the items of the page before have had their time: the delays of each page begin anew. */
function paced(ask: Ask, everyMs: number): Ask {
  let taken = 0;
  return async (client, filter) => {
    if (taken * everyMs > 0) await delay(taken * everyMs);
    const page = await ask(client, filter);
    taken = freshCount(page.results);
    return page;
  };
}

const freshCount = (results: DeadLettersTaken["results"]): number =>
  results.filter((result) => result.kind === "ok" && !result.value.duplicate).length;

/** `name`: what has become of those that were taken. Returns the exit code. */
async function takeAll(
  name: "redriven" | "purged",
  ask: Ask,
  ids: readonly string[],
  options: TakeOptions,
  terminal: Terminal,
): Promise<number> {
  const limit = options.all ? Number.POSITIVE_INFINITY : (options.limit ?? ENTRIES_PER_REQUEST_MAX);
  const results: DeadLettersTaken["results"][number][] = [];
  let cursor: string | undefined;
  await withClient(options, async (client) => {
    for (const run of requestRuns(ids, () => 0)) results.push(...(await ask(client, { itemIds: run })).results);
    if (ids.length > 0) return;
    let count = 0;
    for (;;) {
      const pageLimit = Math.min(limit - results.length, ENTRIES_PER_REQUEST_MAX);
      const page = await ask(client, { ...filterOf(options), cursor, limit: pageLimit });
      results.push(...page.results);
      cursor = page.cursor;
      if (cursor === undefined || results.length >= limit) return;
      count += freshCount(page.results);
      terminal.note(`${count} ${name} so far`);
    }
  });
  const fresh = freshCount(results);
  const refused = results.filter(({ kind }) => kind === "refused").length;
  const duplicates = results.length - fresh - refused;
  if (options.json)
    terminal.out(JSON.stringify({ [name]: fresh, duplicates, refused, results: jsonResults(results), cursor }));
  else terminal.out(`${fresh} ${name}, ${duplicates} ${name} before, ${refused} refused`);
  if (cursor !== undefined) terminal.note("there may be more: --all");
  return noteRefusals(
    results,
    (index) => (ids[index] === undefined ? "a dead letter" : itemName(ids[index])),
    terminal,
  );
}
