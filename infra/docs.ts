/** Writes docs/reference.md from the registries in the code, and docs/cli.md from the help of the command; `--check` fails when they differ. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { ERRORS } from "../contracts/errors.ts";
import { EVENTS } from "../contracts/events.ts";
import * as limits from "../contracts/limits.ts";
import { REPLICATION_METRICS } from "../contracts/metrics.ts";
import { SHARD_OPTIONS_DEFAULT, ShardOptions } from "../contracts/options.ts";
import { SinkConfig } from "../contracts/sinks.ts";
import { SUBJECTS, VERBS } from "../contracts/subjects.ts";
import { PROCESS_SETTINGS } from "../services/runtime/process-settings.ts";
import { SETTINGS } from "../services/runtime/settings.ts";
import { settingsTable } from "../services/runtime/settings-table.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Path below the root to text. */
export function docFiles(): ReadonlyMap<string, string> {
  return new Map([
    ["docs/reference.md", referenceText()],
    ["docs/cli.md", cliText()],
    ["docs/sinks.md", sinksText()],
  ]);
}

/** The documents that are missing or differ. */
export function staleDocs(): readonly string[] {
  const isStale = ([path, text]: [string, string]) =>
    !existsSync(join(root, path)) || readFileSync(join(root, path), "utf8") !== text;
  return [...docFiles()].filter(isStale).map(([path]) => path);
}

function referenceText(): string {
  const sections = [
    "# Reference\n\nWritten by `npm run docs` from the registries in the code. Do not edit: change the code and run it again.",
    section("Subjects", "One place puts every name on the bus together: `contracts/subjects.ts`.", [
      ["name", "pattern", "kind", "what for"],
      ...SUBJECTS.map((subject) => [subject.name, code(subject.pattern), subject.direction, subject.description]),
    ]),
    section("Verbs", "JSON Schemas: `contracts/schemas/`.", [
      ["verb", "request", "reply"],
      ...VERBS.map((verb) => [code(verb), link(`requests/${verb}`), link(`replies/${verb}`)]),
    ]),
    section("Events", "What stands in the log, in frames ([`frame`](../contracts/schemas/frame.json)).", [
      ["event", "schema"],
      ...Object.keys(EVENTS).map((type) => [code(type), link(`events/${type}`)]),
    ]),
    section(
      "Errors",
      "In order of precedence: the first that applies is returned. A reply's own `definite` may be weaker.",
      [
        ["code", "retryable", "definite", "meaning"],
        ...ERRORS.map((error) => [code(error.code), yes(error.retryable), yes(error.definite), error.description]),
      ],
    ),
    section("Shard options", "Changed by `configure`. They are state: they stand in the log.", optionRows()),
    section("Settings", SETTINGS_TEXT, settingRows()),
    section("Metrics", METRICS_TEXT, [
      ["metric", "unit", "meaning"],
      ...Object.values(REPLICATION_METRICS).map(({ name, unit, description }) => [code(name), unit, description]),
    ]),
    section("Limits", "", [["limit", "value", "meaning"], ...limitRows()]),
  ];
  return `${sections.join("\n\n")}\n`;
}

const METRICS_TEXT =
  "Served as Prometheus text at `/metrics` of the control plane of a mesh, and of a replicator with `--http-port`; there dots are underscores. Each has the attributes `sink`, `shard.id` and `region`, all from the configuration.";

const SETTINGS_TEXT =
  "One name means the same in every process: `natsUrl` in a TOML or JSON file (`--config`), `OMNIRELAY_NATS_URL` in the environment, `--nats-url` as a flag. Flags win over the environment, that over the file. A name in a file that no process knows is refused. Defaults here are the general ones; `--help` of a process shows its own.";

function settingRows(): string[][] {
  const all = { process: "reference", summary: "", schema: z.strictObject(SETTINGS), defaults: {} };
  const readers = (name: string) =>
    PROCESS_SETTINGS.filter(({ schema }) => Object.hasOwn(schema.shape, name)).map((reader) => reader.process);
  const rows = settingsTable(all).map((row) => [
    ...[code(row.name), code(row.flag), row.type, row.default, row.description],
    readers(row.name).join(", "),
  ]);
  return [["setting", "flag", "value", "default", "meaning", "read by"], ...rows];
}

function section(title: string, text: string, rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const [head = [], ...body] = rows;
  const table = [line(head), line(head.map(() => "---")), ...body.map(line)].join("\n");
  return [`## ${title}`, text, table].filter((part) => part !== "").join("\n\n");
}

const code = (text: string): string => `\`${text}\``;
const link = (schema: string): string => `[schema](../contracts/schemas/${schema}.json)`;
const yes = (value: boolean): string => (value ? "yes" : "no");
const figure = (value: unknown): string => (typeof value === "number" ? value.toLocaleString("en-US") : String(value));

function optionRows(): string[][] {
  const { properties = {} } = z.toJSONSchema(ShardOptions, { io: "input" });
  const rows = Object.entries(properties).map(([name, schema]) => {
    const { enum: choices, minimum, maximum, description = "" } = schema as z.core.JSONSchema.BaseSchema;
    const range =
      choices === undefined
        ? `${figure(minimum)} to ${figure(maximum)}`
        : choices.map((choice) => code(String(choice))).join(", ");
    return [code(name), range, figure(SHARD_OPTIONS_DEFAULT[name as keyof ShardOptions]), description];
  });
  return [["option", "range", "default", "meaning"], ...rows];
}

/** Values from the module, meanings from the comments in its source: a comment also counts for the constants right below it. */
function limitRows(): string[][] {
  const source = readFileSync(join(root, "contracts/limits.ts"), "utf8");
  const rows: string[][] = [];
  const values = new Map<string, unknown>(Object.entries(limits));
  let comment = "";
  for (const line of source.split("\n")) {
    comment = /^\/\*\* (.*) \*\/$/.exec(line)?.[1] ?? (line === "" ? "" : comment);
    const name = /^export const (\w+)/.exec(line)?.[1];
    if (name !== undefined) rows.push([code(name), figure(values.get(name)), comment]);
  }
  return rows;
}

/** The help of the command itself, run as a user runs it, so that no part of this folder imports a process. */
function cliText(): string {
  const help = execFileSync(process.execPath, [join(root, "services/cli/main.ts"), "help", "--all"], {
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1", COLUMNS: "110" },
  });
  return `# The command \`omnirelay\`\n\nWritten by \`npm run docs\` from the command's own help. From a clone: \`npm run --silent omnirelay -- …\`.\n\n${help}`;
}

interface SinkKindRow {
  readonly kind: string;
  readonly summary: string;
  readonly guarantee: string;
  readonly options: z.core.JSONSchema.BaseSchema;
}

/** The kinds of sinks as the command knows them. */
function sinksText(): string {
  const printed = execFileSync(process.execPath, [join(root, "services/cli/main.ts"), "sink", "kinds", "--json"], {
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1" },
  });
  const kinds = printed
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as SinkKindRow);
  const sections = [
    "# Sinks\n\nWritten by `npm run docs` from the code. How sinks are run: [replication.md](replication.md).",
    section(
      "Of every sink",
      "An entry of the list `sinks`.",
      sinkOptionRows(z.toJSONSchema(SinkConfig, { io: "input" })),
    ),
    ...kinds.map(({ kind, summary, guarantee, options }) =>
      section(`\`${kind}\``, `${summary} Guarantee: ${guarantee}.`, sinkOptionRows(options)),
    ),
  ];
  return `${sections.join("\n\n")}\n`;
}

/** One row per option; those of an object inside have its name before theirs, those of a choice are told for each. */
function sinkOptionRows(schema: z.core.JSONSchema.BaseSchema): string[][] {
  return [["option", "value", "default", "meaning"], ...optionsOf(schema, "")];
}

function optionsOf(schema: z.core.JSONSchema.BaseSchema, prefix: string): string[][] {
  const choices = schema.oneOf ?? schema.anyOf;
  if (schema.properties === undefined && choices !== undefined)
    return choices.flatMap((choice) => (typeof choice === "boolean" ? [] : optionsOf(choice, prefix)));
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    if (typeof property === "boolean") return [];
    if (property.properties !== undefined && Object.keys(property.properties).length > 0)
      return optionsOf(property, `${prefix}${name}.`);
    const fallback = property.default === undefined ? "" : code(JSON.stringify(property.default));
    return [[code(`${prefix}${name}`), valueText(property), fallback, property.description ?? ""]];
  });
}

function valueText(schema: z.core.JSONSchema.BaseSchema): string {
  const { const: only, enum: choices, minimum, maximum, type, items } = schema;
  if (only !== undefined) return code(JSON.stringify(only));
  if (choices !== undefined) return choices.map((choice) => code(String(choice))).join(", ");
  if (type === "integer" || type === "number") return `${figure(minimum)} to ${figure(maximum)}`;
  if (type === "array" && typeof items === "object" && !Array.isArray(items))
    return `list of ${valueText(items as z.core.JSONSchema.BaseSchema)}`;
  return typeof type === "string" ? type : "";
}

function main(): void {
  const stale = staleDocs();
  if (process.argv.includes("--check")) {
    for (const path of stale) console.error(`${path} is not what the code says; run: npm run docs`);
    process.exitCode = stale.length === 0 ? 0 : 1;
    return;
  }
  for (const [path, text] of docFiles()) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  console.log(`wrote docs, changed: ${stale.join(", ") || "nothing"}`);
}

if (import.meta.main) main();
