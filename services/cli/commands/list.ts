/** `omnirelay list`: items of a shard, a page or all. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { LIST_STATUSES } from "../../../contracts/commands.ts";
import { PartitionKey, ResourceId, ResourceType } from "../../../contracts/ids.ts";
import { PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX } from "../../../contracts/limits.ts";
import type { ItemRecord, LeaseClient, ListFilter } from "../../client/lease-client.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { askCommand, integer, parsedBy } from "../arguments.ts";
import type { Done } from "../program.ts";
import { type AskOptions, withClient } from "../shard-client.ts";
import { aligned, safeText, type Terminal, timeText } from "../terminal.ts";

export type ListOptions = AskOptions &
  Pick<ListFilter, "status" | "resourceType" | "resourceId" | "partitionKey" | "cursor"> & {
    limit: number;
    all: boolean;
  };

export const Cursor = z.string().regex(/^[0-9a-z]{1,16}$/, "must be the cursor of an earlier page");
const EXAMPLES = `
Examples:
  omnirelay list --status deadLettered
  omnirelay list --resource-type delta.table --all --json | jq -r .itemId`;

export function listCommand(terminal: Terminal, done: Done): Command {
  return askCommand("list", "one item a line")
    .description("Print the unfinished items of a shard, oldest first, without their bodies.")
    .addOption(new Option("--status <status>", "only these").choices(LIST_STATUSES))
    .addOption(new Option("--resource-type <type>", "only of this type").argParser(parsedBy(ResourceType)))
    .addOption(new Option("--resource-id <id>", "only of this resource").argParser(parsedBy(ResourceId)))
    .addOption(new Option("--partition-key <key>", "only of this partition").argParser(parsedBy(PartitionKey)))
    .addOption(
      new Option("--limit <count>", "items on a page").default(PAGE_SIZE_DEFAULT).argParser(integer(1, PAGE_SIZE_MAX)),
    )
    .addOption(new Option("--cursor <cursor>", "go on after an earlier page").argParser(parsedBy(Cursor)))
    .addOption(new Option("--all", "every page").default(false).conflicts("cursor"))
    .addHelpText("after", EXAMPLES)
    .action(async (options: ListOptions) => {
      await withClient(options, (client) => printPages(client, options, terminal));
      done(EXIT_CODES.ok);
    });
}

/** Prints a page, or all pages, of the items that are wanted. */
export async function printPages(
  client: LeaseClient,
  options: ListOptions,
  terminal: Terminal,
  isWanted: (item: ItemRecord) => boolean = () => true,
  row: (item: ItemRecord) => readonly (string | number)[] = rowOf,
): Promise<void> {
  const { status, resourceType, resourceId, partitionKey, limit } = options;
  const filter = { status, resourceType, resourceId, partitionKey };
  let { cursor } = options;
  do {
    const items: ItemRecord[] = [];
    // The shard ends a page also when it has looked at many items: behind a filter one may be short, or empty, and not the last.
    do {
      const page = await client.list({ ...filter, limit: limit - items.length, cursor });
      items.push(...page.items.filter(isWanted));
      cursor = page.cursor;
    } while (items.length < limit && cursor !== undefined);
    if (options.json) for (const item of items) terminal.out(JSON.stringify(item));
    else for (const line of aligned(items.map(row))) terminal.out(line);
  } while (options.all && cursor !== undefined);
  if (cursor !== undefined) terminal.note(`there may be more: --cursor ${cursor}, or --all`);
}

function rowOf(record: ItemRecord): readonly (string | number)[] {
  const { itemId, status, attempt, item, lease, deadLetter, lastError, progress } = record;
  const why =
    deadLetter?.reason ??
    (lease === undefined
      ? lastError?.reason
      : `${lease.peerId} until ${timeText(lease.expiresAt)}${progress === undefined ? "" : `: ${progress.text}`}`);
  return [
    itemId,
    status,
    `${safeText(item?.resourceType ?? "")} ${safeText(item?.resourceId ?? "")}`,
    attempt ?? 0,
    safeText(why ?? ""),
  ];
}
