/** Reads a settings file, TOML or JSON by its extension; the only door through which its bytes come in. */
import { readFileSync, statSync } from "node:fs";
import { extname } from "node:path";
import { parse as parseToml, TomlError } from "smol-toml";
import type { ConfigProblem } from "./config-error.ts";

const FILE_BYTES_MAX = 1024 * 1024;

export type ConfigFile = { readonly values: Readonly<Record<string, unknown>> } | { readonly problem: ConfigProblem };

/** The keys of the file as they stand there, unchecked, or why it cannot be read. */
export function readConfigFile(path: string): ConfigFile {
  const extension = extname(path).toLowerCase();
  if (extension !== ".toml" && extension !== ".json")
    return problem(path, `has the extension ${extension === "" ? "none" : extension}`, "name it .toml or .json");
  const text = readText(path);
  if (typeof text !== "string") return text;
  try {
    const values: unknown = extension === ".toml" ? parseToml(text) : JSON.parse(text);
    if (typeof values !== "object" || values === null || Array.isArray(values))
      return problem(path, "holds no object", "write settings as keys of one object");
    return { values: values as Record<string, unknown> };
  } catch (error) {
    const message = error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
    const place = error instanceof TomlError ? ` (line ${error.line}, column ${error.column})` : "";
    return problem(
      path,
      `cannot be read as ${extension.slice(1).toUpperCase()}: ${message}${place}`,
      "mend its syntax",
    );
  }
}

function readText(path: string): string | ConfigFile {
  try {
    const { size } = statSync(path);
    if (size > FILE_BYTES_MAX) return problem(path, `has ${size} bytes`, `keep it below ${FILE_BYTES_MAX}`);
    return readFileSync(path, "utf8");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return problem(path, `cannot be read: ${reason}`, "check --config and OMNIRELAY_CONFIG");
  }
}

function problem(path: string, message: string, fix: string): ConfigFile {
  return { problem: { source: path, message, fix } };
}
