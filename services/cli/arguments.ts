/** Options that several commands share, and the parsers that refuse a bad value with the reason, before anything is done. */
import { Command, InvalidArgumentError, Option } from "commander";
import { z } from "zod";
import { ItemId, Principal, ShardName } from "../../contracts/ids.ts";
import { expectation } from "../runtime/setting-text.ts";
import { environmentName, NATS_URL_DEFAULT, SETTINGS, type SettingName } from "../runtime/settings.ts";

const REGION_DEFAULT = "local";
const SHARD_DEFAULT = "default";
/** How long a command waits for its answer unless it is told: long enough for another dispatcher to take over. ms. */
const TIMEOUT_MS_DEFAULT = 10_000;
const TIMEOUT_MS_MAX = 3_600_000;
const PRINCIPAL_DEFAULT = "cli";

/** Where a command finds its shard. */
export interface MeshOptions {
  readonly natsUrl: string;
  readonly shard: string;
  readonly principal: string;
  readonly json: boolean;
}

/** A parser for commander that takes what the schema takes. */
export function parsedBy<T>(schema: z.ZodType<T>): (value: unknown) => T {
  return (value) => {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw new InvalidArgumentError(parsed.error.issues.map((issue) => issue.message).join("; "));
  };
}

/** A parser for whole numbers in decimal digits: `1e3`, `0x10` and `1.0` are refused, for a reader would not agree what they are. */
export function integer(min: number, max: number): (value: string) => number {
  return (value) => {
    const number = /^-?\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
    if (Number.isSafeInteger(number) && number >= min && number <= max) return number;
    throw new InvalidArgumentError(`must be a whole number from ${min} to ${max}`);
  };
}

/** An empty path would stand for the folder that one happens to be in. */
export function folderPath(value: string): string {
  if (value !== "") return value;
  throw new InvalidArgumentError("must be the path of a folder");
}

const Instant = z.iso.datetime({ offset: true });

/** A parser for a time in the log: ms, or a date and time with its zone. */
export function logTime(value: string): number {
  if (/^\d{1,15}$/.test(value)) return Number(value);
  if (Instant.safeParse(value).success) return Date.parse(value);
  throw new InvalidArgumentError("must be a time such as 2030-01-31T08:00:00Z, or milliseconds since 1970");
}

/** Collects the item ids that a command is given. */
export const itemIds = (value: string, before: readonly string[] | undefined): readonly string[] => [
  ...(before ?? []),
  parsedBy(ItemId)(value),
];

/** An option that is a setting of the processes as well: the same variable, the same values. */
function settingOption(flags: string, description: string, name: SettingName & ("natsUrl" | "region")): Option {
  const variable = environmentName(name);
  const option = new Option(flags, description).argParser((value: string) => {
    const parsed = SETTINGS[name].safeParse(value.trim());
    if (parsed.success) return parsed.data;
    throw new InvalidArgumentError(`must be ${expectation(name)}`);
  });
  // An empty variable is one that is not set, as for the processes.
  return process.env[variable] === "" ? option : option.env(variable);
}

export const natsUrlOption = () =>
  settingOption("--nats-url <url>", "NATS servers of the mesh, comma-separated", "natsUrl");
export const shardOption = () =>
  new Option("--shard <name>", "shard").default(SHARD_DEFAULT).argParser(parsedBy(ShardName));
export const regionOption = () =>
  settingOption("--region <name>", "region of the shard's log", "region").default(REGION_DEFAULT);
export const principalOption = (name: string) =>
  new Option("--principal <name>", "who asks: the last token of the subject")
    .default(name)
    .argParser(parsedBy(Principal));
export const jsonOption = (what: string) => new Option("--json", `print only ${what}`).default(false);
const timeoutOption = () =>
  new Option("--timeout-ms <ms>", "how long to wait for an answer")
    .default(TIMEOUT_MS_DEFAULT)
    .argParser(integer(1, TIMEOUT_MS_MAX));

/** A command that asks the leader of one shard; `output` says what `--json` prints. */
export function askCommand(name: string, output: string): Command {
  return new Command(name)
    .addOption(natsUrlOption().default(NATS_URL_DEFAULT))
    .addOption(shardOption())
    .addOption(principalOption(PRINCIPAL_DEFAULT))
    .addOption(timeoutOption())
    .addOption(jsonOption(`${output}, as JSON`));
}
