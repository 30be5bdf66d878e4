/** Reads a setting's value from text (a flag, a variable), and says in words what a setting wants; both follow from its schema. */
import { z } from "zod";
import { SinkConfig } from "../../contracts/sinks.ts";
import { SETTINGS, type SettingName } from "./settings.ts";

/** The schema without its default and `optional`. */
function innerSchema(schema: z.ZodType): z.ZodType {
  let inner = schema;
  while (inner instanceof z.ZodDefault || inner instanceof z.ZodOptional) inner = inner.unwrap() as z.ZodType;
  return inner;
}

export const isFlagWithoutValue = (name: SettingName): boolean => innerSchema(SETTINGS[name]) instanceof z.ZodBoolean;

/** The value that a text stands for. A text that does not fit stays text, so that the schema refuses it with its own words. */
export function valueOfText(name: SettingName, text: string): unknown {
  return convert(innerSchema(SETTINGS[name]), text.trim());
}

function convert(schema: z.ZodType, text: string): unknown {
  if (schema instanceof z.ZodNumber) return numberOf(text);
  if (schema instanceof z.ZodUnion) return numberOf(text);
  if (schema instanceof z.ZodBoolean)
    return ({ true: true, "1": true, false: false, "0": false } as const)[text] ?? text;
  if (schema instanceof z.ZodArray && schema.element instanceof z.ZodObject) return jsonOf(text);
  if (schema instanceof z.ZodArray)
    return text === "" ? [] : text.split(",").map((entry) => convert(schema.element as z.ZodType, entry.trim()));
  if (schema instanceof z.ZodObject) return pairsOf(schema, text);
  return text;
}

/** A list of objects is written as JSON. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text; // the schema refuses it with its own words
  }
}

function numberOf(text: string): number | string {
  return /^-?\d{1,15}$/.test(text) ? Number(text) : text;
}

/** `a=1,b=x` -> { a: 1, b: "x" }; a part without `=` stays, as a key that the schema refuses. */
function pairsOf(schema: z.ZodObject, text: string): Record<string, unknown> {
  const pairs = new Map<string, unknown>();
  for (const part of text.split(",").filter((piece) => piece.trim() !== "")) {
    const equals = part.indexOf("=");
    const key = (equals === -1 ? part : part.slice(0, equals)).trim();
    const field = Object.hasOwn(schema.shape, key) ? (schema.shape[key] as z.ZodType) : undefined;
    const value = equals === -1 ? undefined : part.slice(equals + 1).trim();
    pairs.set(key, field === undefined || value === undefined ? value : convert(innerSchema(field), value));
  }
  return Object.fromEntries(pairs);
}

/** What a setting wants, where its schema does not say it. */
const WORDS: Partial<Record<SettingName, string>> = {
  natsUrl: "nats://HOST:PORT, several with commas",
  region: "lower-case letters and digits joined by single -, at most 32",
  peerId: "letters, digits, _ and -, at most 64 characters (a name of the process may follow after --)",
  principal: "letters, digits, _ and -, at most 64 characters, without --",
  seed: "lower-case letters and digits joined by single -",
  syncInterval: "always, or a duration such as 500ms, 10s or 2m",
  natsMonitorUrl: "http://HOST:PORT, several with commas",
  httpHost: "an address or host name of this machine",
  dataDir: "the path of a folder",
  sinks: `a list of objects, as JSON; names: ${Object.keys(SinkConfig.shape).join(", ")}`,
  sinkModules: "a list of paths of modules",
};

/** What a setting wants, for example `a whole number from 1 to 64`. */
export function expectation(name: SettingName): string {
  return WORDS[name] ?? describe(innerSchema(SETTINGS[name]));
}

function describe(schema: z.ZodType): string {
  if (schema instanceof z.ZodNumber) return `a whole number from ${schema.minValue} to ${schema.maxValue}`;
  if (schema instanceof z.ZodBoolean) return "true or false";
  if (schema instanceof z.ZodEnum) return `one of ${schema.options.join(", ")}`;
  if (schema instanceof z.ZodUnion) return `one of ${schema.options.map((option) => literalText(option)).join(", ")}`;
  if (schema instanceof z.ZodArray) return `a list of ${plural(describe(schema.element as z.ZodType))}`;
  if (schema instanceof z.ZodObject) return `name=value pairs; names: ${Object.keys(schema.shape).join(", ")}`;
  return "lower-case names joined by single -, at most 32 characters each";
}

function literalText(schema: unknown): string {
  return schema instanceof z.ZodLiteral ? String(schema.value) : "a value";
}

function plural(text: string): string {
  return text.startsWith("one of ") ? `any of ${text.slice("one of ".length)}` : text;
}
