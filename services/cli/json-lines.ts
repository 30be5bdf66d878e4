/** Reads items from JSON lines: every line is checked before the first item is sent, so that a bad file sends nothing. */
import { readFileSync } from "node:fs";
import { EnqueueItem } from "../../contracts/commands.ts";
import { OperatingError } from "../../contracts/errors.ts";
import { isSafeKey } from "../../contracts/ids.ts";

/** Problems named at most: a wrong file has one on every line. */
const PROBLEMS_MAX = 20;

/**
 * Reads a file of items, one JSON object a line; `-` is standard input. Empty lines are passed over.
 * Throws: OperatingError `input_invalid` (definite) that names each bad line, `input_unreadable` when there is no such file.
 */
export function readItems(file: string): readonly EnqueueItem[] {
  return parseItems(readText(file), file === "-" ? "standard input" : file);
}

function parseItems(text: string, name: string): readonly EnqueueItem[] {
  const items: EnqueueItem[] = [];
  const problems: string[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const parsed = parseItem(line);
    if (typeof parsed === "string") problems.push(`${name}, line ${index + 1}: ${parsed}`);
    else items.push(parsed);
  }
  if (problems.length === 0) return items;
  const more = problems.length > PROBLEMS_MAX ? [`and ${problems.length - PROBLEMS_MAX} lines more`] : [];
  throw new OperatingError(
    "input_invalid",
    [...problems.slice(0, PROBLEMS_MAX), ...more, "nothing was sent"].join("\n"),
    {
      definite: true,
    },
  );
}

/** The item, or what is wrong with it. */
function parseItem(line: string): EnqueueItem | string {
  let value: unknown;
  let unsafeKey: string | undefined;
  try {
    value = JSON.parse(line, (key, inner: unknown) => {
      // zod passes over __proto__ in a record: it would be lost without a word.
      if (!isSafeKey(key)) unsafeKey = key;
      return inner;
    });
  } catch (error) {
    return `no valid JSON (${(error as Error).message})`;
  }
  if (unsafeKey !== undefined) return `the name ${JSON.stringify(unsafeKey)} is not allowed`;
  const parsed = EnqueueItem.safeParse(value);
  if (parsed.success) return parsed.data;
  return parsed.error.issues
    .map((issue) => `${issue.path.length === 0 ? "item" : issue.path.join(".")}: ${issue.message}`)
    .join("; ");
}

function readText(file: string): string {
  try {
    const bytes = readFileSync(file === "-" ? 0 : file);
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw unreadable(file, error as Error);
  }
}

function unreadable(file: string, cause: Error): OperatingError {
  const name = file === "-" ? "standard input" : file;
  return new OperatingError("input_unreadable", `cannot read ${name}: ${cause.message}`, { definite: true, cause });
}
