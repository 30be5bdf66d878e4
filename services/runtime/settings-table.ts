/** The table of a process's settings: one source for `--help` and for the generated docs. */
import { z } from "zod";
import { type ProcessSettings, settingNames } from "./config.ts";
import { expectation, isFlagWithoutValue } from "./setting-text.ts";
import { environmentName, flagName, OTHER_ENVIRONMENT, type SettingName, settingMeta } from "./settings.ts";

export interface SettingRow {
  readonly name: SettingName;
  readonly env: string;
  readonly flag: string;
  /** What a value may be, in words. */
  readonly type: string;
  /** As it would be written; empty when there is none. */
  readonly default: string;
  readonly description: string;
}

/** One row per setting that the process reads, in the order of its schema. */
export function settingsTable(definition: ProcessSettings<z.ZodObject>): readonly SettingRow[] {
  return [...settingNames(definition)].map((name) => ({
    name,
    env: environmentName(name),
    flag: flagName(name),
    type: expectation(name),
    default: defaultText(definition, name),
    description: settingMeta(name).description,
  }));
}

function defaultText(definition: ProcessSettings<z.ZodObject>, name: SettingName): string {
  if (Object.hasOwn(definition.defaults, name)) return textOf(definition.defaults[name]);
  const schema = definition.schema.shape[name];
  if (schema instanceof z.ZodDefault) return textOf(schema.def.defaultValue);
  return settingMeta(name).defaultText ?? "";
}

function textOf(value: unknown): string {
  if (Array.isArray(value)) return value.join(",");
  if (typeof value === "object" && value !== null)
    return Object.entries(value)
      .map(([key, entry]) => `${key}=${String(entry)}`)
      .join(",");
  return value === undefined ? "" : String(value);
}

/** The text of `--help`. */
export function helpText(definition: ProcessSettings<z.ZodObject>, command: string): string {
  const rows = settingsTable(definition).map((row) => {
    const value = isFlagWithoutValue(row.name) ? "" : ` ${settingMeta(row.name).value}`;
    const fallback = row.default === "" ? "" : ` Default: ${row.default}.`;
    return `  ${row.flag}${value}\n      ${row.description}${fallback}\n      ${row.env}`;
  });
  return [
    `Usage: ${command} [flags]`,
    "",
    definition.summary,
    "",
    "Settings come from flags, before environment, before a file (--config FILE.toml or FILE.json, keys in camelCase), before defaults.",
    "",
    ...rows,
    "  --config FILE\n      Settings file. OMNIRELAY_CONFIG",
    "  --help, --version",
    "",
    "Other variables:",
    ...Object.entries(OTHER_ENVIRONMENT).map(([name, text]) => `  ${name}\n      ${text}`),
    "",
  ].join("\n");
}
