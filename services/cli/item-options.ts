/** The options of commands that make items: all that an item may name, but its times. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { EnqueueItem, RetryPolicy } from "../../contracts/commands.ts";
import { isSafeKey, PartitionKey, ResourceId, ResourceType } from "../../contracts/ids.ts";
import {
  ATTEMPTS_MAX,
  DELAY_MS_MAX,
  LEASE_DURATION_MS_MAX,
  LEASE_DURATION_MS_MIN,
  PRIORITY_MAX,
} from "../../contracts/limits.ts";
import { EXCLUSIVITIES } from "../../contracts/options.ts";
import { integer, parsedBy } from "./arguments.ts";

/** Names of those options beside `resourceType`. */
export const ITEM_OPTIONS = [
  "resourceId",
  "partitionKey",
  "payloadEncoding",
  "body",
  "attribute",
  "exclusivity",
  "maxAttempts",
  "priority",
  "leaseDurationMs",
  "retry",
  "uniqueKey",
  "group",
  "quotaKey",
] as const;
export type ItemOptions = Partial<EnqueueItem> & { readonly attribute?: Readonly<Record<string, string>> };

export function withItemOptions(command: Command): Command {
  return command
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
    );
}

/** The fields of an item that were given. */
export function givenFields(options: ItemOptions, names: readonly (keyof ItemOptions)[]): object {
  const given = names.filter((name) => options[name] !== undefined);
  return Object.fromEntries(given.map((name) => [name === "attribute" ? "attributes" : name, options[name]]));
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
