/** `omnirelay enqueue`: items from a JSON-lines file, from standard input, or one from options. */
import { type Command, Option } from "commander";
import { EnqueueItem } from "../../../contracts/commands.ts";
import { OperatingError } from "../../../contracts/errors.ts";
import { FAILURE_POLICIES } from "../../../contracts/flows.ts";
import { ItemId, RequestId } from "../../../contracts/ids.ts";
import { DELAY_MS_MAX } from "../../../contracts/limits.ts";
import type { Enqueued } from "../../client/lease-client.ts";
import type { EntryResult } from "../../client/refusal.ts";
import { askCommand, integer, logTime, parsedBy } from "../arguments.ts";
import { enqueueInOrder } from "../enqueue-in-order.ts";
import { givenFields, ITEM_OPTIONS, type ItemOptions, withItemOptions } from "../item-options.ts";
import { readItems } from "../json-lines.ts";
import type { Done } from "../program.ts";
import { jsonResults, noteRefusals } from "../refusals.ts";
import { type AskOptions, withClient } from "../shard-client.ts";
import type { Terminal } from "../terminal.ts";

type EnqueueOptions = AskOptions & ItemOptions & { readonly file?: string };

const SINGLE_OPTIONS = [
  ...ITEM_OPTIONS,
  "delayMs",
  "notBefore",
  "notAfter",
  "requestId",
  "dependsOn",
  "onDependencyFailure",
] as const;
const EXAMPLES = `
A file has one item a line, with the fields of the enqueue request (contracts/schemas/requests/enqueue.json). The whole file is checked
before the first item is sent. Items are sent in their order; in dependsOn an index counts the items of the file, from 0. Give each a
requestId: then the command can be run again after a failure and enqueues nothing twice.

Examples:
  omnirelay enqueue --resource-type orders --resource-id 42 --body '{"step":"ship"}' --request-id ship-42
  omnirelay enqueue --resource-type reports --resource-id daily --delay-ms 60000 --retry exponential:1000:60000
  omnirelay enqueue --file items.jsonl --json
  generate | omnirelay enqueue --file -`;

export function enqueueCommand(terminal: Terminal, done: Done): Command {
  const command = askCommand("enqueue", "the counts and one result per item")
    .description("Enqueue items.")
    .addOption(new Option("--file <file>", "JSON lines, one item a line; - is standard input"));
  return withItemOptions(command)
    .addOption(
      new Option("--delay-ms <ms>", "how long it is not granted yet")
        .argParser(integer(0, DELAY_MS_MAX))
        .conflicts("notBefore"),
    )
    .addOption(new Option("--not-before <time>", "when it is granted at the earliest").argParser(logTime))
    .addOption(
      new Option("--not-after <time>", "from when on it is a dead letter instead, unless leased").argParser(logTime),
    )
    .addOption(
      new Option("--request-id <id>", "makes it one item however often it is sent").argParser(parsedBy(RequestId)),
    )
    .addOption(
      new Option("--depends-on <id>", "an item that it waits for; may be repeated").argParser(
        (value: string, before: { itemId: string }[] = []) => [...before, { itemId: parsedBy(ItemId)(value) }],
      ),
    )
    .addOption(
      new Option("--on-dependency-failure <policy>", "what becomes of it when one of those is not completed").choices(
        FAILURE_POLICIES,
      ),
    )
    .addHelpText("after", EXAMPLES)
    .action(async (options: EnqueueOptions, command: Command) => {
      const items = itemsOf(options, command);
      const results = await withClient(options, (client) => enqueueInOrder(client, items));
      done(printResults(results, options.json, terminal));
    });
}

function itemsOf(options: EnqueueOptions, command: Command): readonly EnqueueItem[] {
  const { file, resourceType } = options;
  const single = SINGLE_OPTIONS.filter((name) => options[name] !== undefined);
  if (file !== undefined) {
    if (resourceType !== undefined || single.length > 0)
      return command.error("error: --file and the options of a single item exclude each other");
    const items = readItems(file);
    if (items.length === 0) throw new OperatingError("input_invalid", `${file} holds no item`, { definite: true });
    return items;
  }
  if (resourceType === undefined || options.resourceId === undefined)
    return command.error("error: give --file, or --resource-type and --resource-id");
  const parsed = EnqueueItem.safeParse({ resourceType, ...givenFields(options, single) });
  if (parsed.success) return [parsed.data];
  const problems = parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
  return command.error(`error: the item is not valid: ${problems.join("; ")}`);
}

function printResults(results: readonly EntryResult<Enqueued>[], json: boolean, terminal: Terminal): number {
  const done = results.flatMap((result) => (result.kind === "ok" ? [result.value] : []));
  const duplicates = done.filter((result) => result.duplicate).length;
  const refused = results.length - done.length;
  if (json) {
    terminal.out(
      JSON.stringify({
        items: results.length,
        enqueued: done.length - duplicates,
        duplicates,
        refused,
        results: jsonResults(results),
      }),
    );
  } else {
    terminal.out(`${done.length - duplicates} enqueued, ${duplicates} known before, ${refused} refused`);
    if (results.length === 1 && done[0] !== undefined)
      terminal.out(`item ${done[0].itemId}, sequence ${done[0].sequence}`);
  }
  return noteRefusals(results, (index) => `item ${index + 1}`, terminal);
}
