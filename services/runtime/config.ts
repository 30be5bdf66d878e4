/**
 * Loads the settings of a process from four layers: defaults < file < environment < flags. Everything that is wrong is told at once,
 * with where it was written and how to mend it; what comes out is complete and frozen.
 */
import type { z } from "zod";
import { ShardOptionsPatch } from "../../contracts/options.ts";
import { ConfigError, type ConfigProblem } from "./config-error.ts";
import { readConfigFile } from "./config-file.ts";
import { type ParsedFlags, parseFlags } from "./flags.ts";
import { nearest } from "./nearest.ts";
import { redact, redactText } from "./redact.ts";
import { expectation, valueOfText } from "./setting-text.ts";
import {
  environmentName,
  isSettingName,
  isSettingVariable,
  OTHER_ENVIRONMENT,
  SETTINGS,
  type SettingName,
  settingMeta,
} from "./settings.ts";

/** A rule between settings: returns what is wrong, or undefined. `of` names the settings that it compares. */
export interface SettingRule<Settings> {
  readonly of: readonly SettingName[];
  check(
    settings: Settings,
    isWritten: (name: SettingName) => boolean,
  ): { readonly message: string; readonly fix: string } | undefined;
}

/** What a process reads. The keys of `schema` are names of the registry; `defaults` are this process's own. */
export interface ProcessSettings<Schema extends z.ZodObject> {
  readonly process: string;
  /** One sentence for the help. */
  readonly summary: string;
  readonly schema: Schema;
  readonly defaults: Partial<Readonly<Record<SettingName, unknown>>>;
  readonly rules?: readonly SettingRule<z.output<Schema>>[];
}

export interface SettingsSource {
  /** Without the program and the script. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface LoadedSettings<Settings> {
  readonly settings: Settings;
  /** Where each value came from, for example `--items`, `OMNIRELAY_ITEMS`, `mesh.toml: items`, `default`. */
  readonly origins: Readonly<Record<string, string>>;
  /** What is logged at start: values without secrets. */
  readonly effective: Readonly<Record<string, unknown>>;
}

interface Written {
  readonly value: unknown;
  readonly origin: string;
}
type Layers = Map<SettingName, Written>;

/**
 * Merges and checks the layers.
 * Names that another process reads are allowed in file and environment, which processes share, and refused as flags.
 * Throws: ConfigError (definite) with every problem.
 */
export function loadSettings<Schema extends z.ZodObject>(
  definition: ProcessSettings<Schema>,
  source: SettingsSource,
  parsed: ParsedFlags = parseFlags(source.args, settingNames(definition), definition.process),
): LoadedSettings<Readonly<z.output<Schema>>> {
  const problems: ConfigProblem[] = [...parsed.problems];
  const own = settingNames(definition);
  const layers: Layers = new Map();
  for (const [name, value] of Object.entries(definition.defaults)) {
    if (isSettingName(name)) layers.set(name, { value, origin: "default" });
  }
  addFile(layers, own, parsed.configPath ?? source.env["OMNIRELAY_CONFIG"], problems);
  addEnvironment(layers, own, source.env, problems);
  for (const [name, { text, flag }] of parsed.values)
    layers.set(name, { value: valueOfText(name, text), origin: flag });

  const result = definition.schema.safeParse(Object.fromEntries([...layers].map(([name, { value }]) => [name, value])));
  if (!result.success) problems.push(...result.error.issues.map((issue) => problemOf(issue, layers)));
  else problems.push(...brokenRules(definition, result.data, layers));
  if (problems.length > 0 || !result.success) throw new ConfigError(definition.process, problems);
  return {
    settings: deepFreeze(result.data),
    origins: Object.freeze(Object.fromEntries([...own].map((name) => [name, layers.get(name)?.origin ?? "default"]))),
    effective: effectiveOf(result.data),
  };
}

export function settingNames(definition: ProcessSettings<z.ZodObject>): ReadonlySet<SettingName> {
  const names = Object.keys(definition.schema.shape);
  const unknown = names.filter((name) => !isSettingName(name));
  if (unknown.length > 0)
    throw new Error(`settings of the ${definition.process} are not in the registry: ${unknown.join(", ")}`);
  return new Set(names as SettingName[]);
}

function addFile(
  layers: Layers,
  own: ReadonlySet<SettingName>,
  path: string | undefined,
  problems: ConfigProblem[],
): void {
  if (path === undefined || path === "") return;
  const file = readConfigFile(path);
  if ("problem" in file) {
    problems.push(file.problem);
    return;
  }
  for (const [key, value] of Object.entries(file.values)) {
    const origin = `${path}: ${key}`;
    if (!isSettingName(key)) {
      const guess = nearest(key, Object.keys(SETTINGS));
      problems.push({
        source: origin,
        message: "is no setting",
        fix: guess === undefined ? "remove it" : `did you mean ${guess}?`,
      });
    } else if (own.has(key)) layers.set(key, { value, origin });
  }
}

function addEnvironment(
  layers: Layers,
  own: ReadonlySet<SettingName>,
  env: SettingsSource["env"],
  problems: ConfigProblem[],
): void {
  const byVariable = new Map(Object.keys(SETTINGS).map((name) => [environmentName(name), name as SettingName]));
  for (const [variable, text] of Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!isSettingVariable(variable)) continue;
    const name = byVariable.get(variable);
    if (name === undefined) {
      const guess = nearest(variable, [...byVariable.keys(), ...Object.keys(OTHER_ENVIRONMENT)]);
      problems.push({
        source: variable,
        message: "is no setting",
        fix: guess === undefined ? "unset it" : `did you mean ${guess}?`,
      });
    } else if (own.has(name) && text !== undefined && text !== "") {
      // An empty variable is how compose files and shells leave one out.
      layers.set(name, { value: valueOfText(name, text), origin: variable });
    }
  }
}

type Issue = z.core.$ZodIssue;

function problemOf(issue: Issue, layers: Layers): ConfigProblem {
  const [key, ...inner] = issue.path;
  const name = String(key ?? "");
  if (!isSettingName(name)) return { source: name, message: issue.message, fix: "see --help" };
  const written = layers.get(name);
  const source = `${written?.origin ?? name}${inner.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("")}`;
  const wanted = `give ${expectation(name)}`;
  if (written === undefined) return { source: name, message: "is missing", fix: wanted };
  if (issue.code === "unrecognized_keys")
    return { source, message: `has no option named ${issue.keys.join(", ")}`, fix: guessOf(issue.keys) ?? wanted };
  if (inner.length > 0 && name === "shardOptions")
    return { source, message: `is refused (${issue.message})`, fix: "mend or remove it" };
  const why = issue.code === "custom" ? `${issue.message}; it ` : "";
  return { source, message: `${why}is ${shown(name, valueAt(written.value, inner))}`, fix: wanted };
}

/** The options of a shard are the only setting with names of its own. */
function guessOf(keys: readonly string[]): string | undefined {
  const guesses = keys.flatMap((key) => nearest(key, Object.keys(ShardOptionsPatch.shape)) ?? []);
  return guesses.length === 0 ? undefined : `did you mean ${guesses.join(", ")}?`;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let inner = value;
  for (const part of path) inner = typeof inner === "object" && inner !== null ? Reflect.get(inner, part) : undefined;
  return inner;
}

function shown(name: SettingName, value: unknown): string {
  if (settingMeta(name).secret === true) return "not a value that it can have";
  return redactText(JSON.stringify(value) ?? String(value)).slice(0, 200);
}

function brokenRules<Schema extends z.ZodObject>(
  definition: ProcessSettings<Schema>,
  settings: z.output<Schema>,
  layers: Layers,
): ConfigProblem[] {
  const isWritten = (name: SettingName): boolean => (layers.get(name)?.origin ?? "default") !== "default";
  return (definition.rules ?? []).flatMap((rule) => {
    const broken = rule.check(settings, isWritten);
    if (broken === undefined) return [];
    const places = rule.of.map((name) => {
      const value = (settings as Record<string, unknown>)[name];
      return `${layers.get(name)?.origin ?? name} (${value === undefined ? "not given" : shown(name, value)})`;
    });
    return [{ source: places.join(" and "), ...broken }];
  });
}

function effectiveOf(settings: object): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(settings).map(([name, value]) => [
      name,
      isSettingName(name) && settingMeta(name).secret === true ? "***" : redact(value),
    ]),
  );
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}
