/** `omnirelay enqueue`: items from a JSON-lines file, from standard input, or one from options. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { EnqueueItem, RetryPolicy } from "../../../contracts/commands.ts";
import { OperatingError } from "../../../contracts/errors.ts";
import { isSafeKey, PartitionKey, RequestId, ResourceId, ResourceType } from "../../../contracts/ids.ts";
import {
  ATTEMPTS_MAX,
  DELAY_MS_MAX,
  LEASE_DURATION_MS_MAX,
  LEASE_DURATION_MS_MIN,
  PRIORITY_MAX,
} from "../../../contracts/limits.ts";
import { EXCLUSIVITIES } from "../../../contracts/options.ts";
import type { Enqueued } from "../../client/lease-client.ts";
import type { EntryResult } from "../../client/refusal.ts";
import { askCommand, integer, logTime, parsedBy } from "../arguments.ts";
import { enqueueInOrder } from "../enqueue-in-order.ts";
import { readItems } from "../json-lines.ts";
import type { Done } from "../program.ts";
import { jsonResults, noteRefusals } from "../refusals.ts";
import { type AskOptions, withClient } from "../shard-client.ts";
import type { Terminal } from "../terminal.ts";

type ItemOptions = Partial<EnqueueItem> & { readonly attribute?: Readonly<Record<string, string>> };
type EnqueueOptions = AskOptions & ItemOptions & { readonly file?: string };

const ITEM_OPTIONS = [
  "resourceId",
  "partitionKey",
  "payloadEncoding",
  "body",
  "attribute",
  "exclusivity",
  "maxAttempts",
  "priority",
  "delayMs",
  "notBefore",
  "notAfter",
  "leaseDurationMs",
  "retry",
  "uniqueKey",
  "group",
  "quotaKey",
  "requestId",
] as const;
const EXAMPLES = `
A file has one item a line, with the fields of the enqueue request (contracts/schemas/requests/enqueue.json). The whole file is checked
before the first item is sent. Items are sent in their order. Give each a requestId: then the command can be run again after a failure
and enqueues nothing twice.

Examples:
  omnirelay enqueue --resource-type orders --resource-id 42 --body '{"step":"ship"}' --request-id ship-42
  omnirelay enqueue --resource-type reports --resource-id daily --delay-ms 60000 --retry exponential:1000:60000
  omnirelay enqueue --file items.jsonl --json
  generate | omnirelay enqueue --file -`;

export function enqueueCommand(terminal: Terminal, done: Done): Command {
  return askCommand("enqueue", "the counts and one result per item")
    .description("Enqueue items.")
    .addOption(new Option("--file <file>", "JSON lines, one item a line; - is standard input"))
    .addOption(
      new Option("--resource-type <type>", "type of the resource of a single item").argParser(parsedBy(ResourceType)),
    )
    .addOption(new Option("--resource-id <id>", "its id").argParser(parsedBy(ResourceId)))
    .addOption(new Option("--partition-key <key>", "its partition").argParser(parsedBy(PartitionKey)))
    .addOption(new Option("--body <text>", "its body"))
    .addOption(new Option("--payload-encoding <type>", "media type of the body"))
    .addOption(new Option("--attribute <name=value>", "an attribute; may be repeated").argParser(attribute))
    .addOption(new Option("--exclusivity <kind>", "what excludes it from running beside others").choices(EXCLUSIVITIES))
    .addOption(
      new Option("--max-attempts <count>", "attempts before it is dead-lettered").argParser(integer(1, ATTEMPTS_MAX)),
    )
    .addOption(
      new Option("--priority <level>", "0 to 9, higher goes first; 0 by default").argParser(integer(0, PRIORITY_MAX)),
    )
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
      new Option("--lease-duration-ms <ms>", "length of its leases, where the worker asks for none").argParser(
        integer(LEASE_DURATION_MS_MIN, LEASE_DURATION_MS_MAX),
      ),
    )
    .addOption(
      new Option(
        "--retry <policy>",
        "its delay after a failure, in ms: none, fixed:D, exponential:FIRST:MAX, list:D,D,…",
      ).argParser(retryPolicy),
    )
    .addOption(
      new Option("--unique-key <key>", "at most one unfinished item has it").argParser(
        parsedBy(EnqueueItem.shape.uniqueKey),
      ),
    )
    .addOption(new Option("--group <name>", "who it is done for").argParser(parsedBy(EnqueueItem.shape.group)))
    .addOption(
      new Option("--quota-key <name>", "what it needs that may have a quota").argParser(
        parsedBy(EnqueueItem.shape.quotaKey),
      ),
    )
    .addOption(
      new Option("--request-id <id>", "makes it one item however often it is sent").argParser(parsedBy(RequestId)),
    )
    .addHelpText("after", EXAMPLES)
    .action(async (options: EnqueueOptions, command: Command) => {
      const items = itemsOf(options, command);
      const results = await withClient(options, (client) => enqueueInOrder(client, items));
      done(printResults(results, options.json, terminal));
    });
}

function attribute(
  value: string,
  before: Readonly<Record<string, string>> | undefined,
): Readonly<Record<string, string>> {
  const at = value.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("must be name=value");
  // zod passes over __proto__ in a record: it would be lost without a word.
  if (!isSafeKey(value.slice(0, at))) throw new InvalidArgumentError("an attribute name is not allowed");
  return Object.fromEntries([...Object.entries(before ?? {}), [value.slice(0, at), value.slice(at + 1)]]);
}

/** `none`, `fixed:1000`, `exponential:1000:60000` or `list:1000,5000`. */
function retryPolicy(value: string): RetryPolicy {
  const [kind = "", ...parts] = value.split(":");
  const [first = "", second = ""] = parts;
  const delay = integer(0, DELAY_MS_MAX);
  switch (`${kind}:${parts.length}`) {
    case "none:0":
      return { kind: "none" };
    case "fixed:1":
      return { kind: "fixed", delayMs: delay(first) };
    case "exponential:2":
      return parsedBy(RetryPolicy)({ kind: "exponential", firstMs: delay(first), maxMs: delay(second) });
    case "list:1":
      return parsedBy(RetryPolicy)({ kind: "list", delaysMs: first.split(",").map(delay) });
    default:
      throw new InvalidArgumentError("must be none, fixed:D, exponential:FIRST:MAX or list:D,D,… with delays in ms");
  }
}

function itemsOf(options: EnqueueOptions, command: Command): readonly EnqueueItem[] {
  const { file, resourceType } = options;
  const single = ITEM_OPTIONS.filter((name) => options[name] !== undefined);
  if (file !== undefined) {
    if (resourceType !== undefined || single.length > 0)
      return command.error("error: --file and the options of a single item exclude each other");
    const items = readItems(file);
    if (items.length === 0) throw new OperatingError("input_invalid", `${file} holds no item`, { definite: true });
    return items;
  }
  if (resourceType === undefined || options.resourceId === undefined)
    return command.error("error: give --file, or --resource-type and --resource-id");
  const given = single.map((name) => [name === "attribute" ? "attributes" : name, options[name]]);
  const parsed = EnqueueItem.safeParse({ resourceType, ...Object.fromEntries(given) });
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
