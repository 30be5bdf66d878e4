/** Splits a command line into settings as written, and everything that is wrong with it; apart from config so that it stays pure. */
import type { ConfigProblem } from "./config-error.ts";
import { nearest } from "./nearest.ts";
import { isFlagWithoutValue } from "./setting-text.ts";
import { flagName, SETTINGS, type SettingName } from "./settings.ts";

export interface ParsedFlags {
  readonly values: ReadonlyMap<SettingName, { readonly text: string; readonly flag: string }>;
  readonly configPath: string | undefined;
  readonly help: boolean;
  readonly version: boolean;
  readonly problems: readonly ConfigProblem[];
}

const BY_FLAG: ReadonlyMap<string, SettingName> = new Map(
  (Object.keys(SETTINGS) as SettingName[]).map((name) => [flagName(name), name]),
);
const OTHER_FLAGS = ["--config", "--help", "--version"] as const;

/**
 * Reads `--flag value`, `--flag=value`, `--switch` and `--no-switch`. `allowed` are the settings of the process.
 * A flag of another process, an unknown one, one without its value, a contradiction and a stray word are problems, all told at once.
 */
export function parseFlags(
  args: readonly string[],
  allowed: ReadonlySet<SettingName>,
  processName: string,
): ParsedFlags {
  const values = new Map<SettingName, { text: string; flag: string }>();
  const problems: ConfigProblem[] = [];
  const found = { configPath: undefined as string | undefined, help: false, version: false };
  const rest = [...args];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === "--help" || arg === "-h") found.help = true;
    else if (arg === "--version") found.version = true;
    else if (!arg.startsWith("--")) problems.push({ source: arg, message: "is no flag", fix: "remove it; see --help" });
    else {
      const written = splitFlag(arg, rest);
      if (written.flag === "--config") {
        if (written.text === undefined) problems.push(missingValue(written.flag));
        found.configPath = written.text;
        continue;
      }
      const name = BY_FLAG.get(written.flag);
      const problem =
        name === undefined || !allowed.has(name)
          ? unknownFlag(written.flag, name, allowed, processName)
          : addValue(values, name, written);
      if (problem !== undefined) problems.push(problem);
    }
  }
  return { values, problems, ...found };
}

interface WrittenFlag {
  readonly flag: string;
  readonly text: string | undefined;
}

/** Takes the value from after `=`, or the next word when the flag wants one. */
function splitFlag(arg: string, rest: string[]): WrittenFlag {
  const equals = arg.indexOf("=");
  if (equals !== -1) return { flag: arg.slice(0, equals), text: arg.slice(equals + 1) };
  const negated = arg.startsWith("--no-") ? BY_FLAG.get(`--${arg.slice("--no-".length)}`) : undefined;
  if (negated !== undefined && isFlagWithoutValue(negated)) return { flag: flagName(negated), text: "false" };
  const name = BY_FLAG.get(arg);
  if (name !== undefined && isFlagWithoutValue(name)) return { flag: arg, text: "true" };
  // Also behind an unknown flag: its value is no problem of its own.
  const isNext = rest[0] !== undefined && !rest[0].startsWith("--");
  return { flag: arg, text: isNext ? rest.shift() : undefined };
}

function addValue(
  values: Map<SettingName, { text: string; flag: string }>,
  name: SettingName,
  { flag, text }: WrittenFlag,
): ConfigProblem | undefined {
  if (text === undefined) return missingValue(flag);
  const before = values.get(name);
  if (before !== undefined && before.text !== text)
    return {
      source: flag,
      message: `is given twice, with ${JSON.stringify(before.text)} and ${JSON.stringify(text)}`,
      fix: "keep one",
    };
  values.set(name, { text, flag });
  return undefined;
}

function missingValue(flag: string): ConfigProblem {
  return { source: flag, message: "has no value", fix: `write ${flag} VALUE` };
}

function unknownFlag(
  flag: string,
  name: SettingName | undefined,
  allowed: ReadonlySet<SettingName>,
  processName: string,
): ConfigProblem {
  if (name !== undefined)
    return {
      source: flag,
      message: `is a setting of another process, not of the ${processName}`,
      fix: "remove it; see --help",
    };
  const guess = nearest(flag, [...[...allowed].map(flagName), ...OTHER_FLAGS]);
  return {
    source: flag,
    message: "is no flag",
    fix: guess === undefined ? "see --help for those that there are" : `did you mean ${guess}?`,
  };
}
