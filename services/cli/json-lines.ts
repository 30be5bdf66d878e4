/** Reads items from JSON lines: every line is checked before the first item is sent, so that a bad file sends nothing. */
import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import type { z } from "zod";
import { EnqueueItem } from "../../contracts/commands.ts";
import { OperatingError } from "../../contracts/errors.ts";
import { isSafeKey } from "../../contracts/ids.ts";
import { nearest } from "../runtime/nearest.ts";

/** Problems named at most: a wrong file has one on every line. */
const PROBLEMS_MAX = 20;
const LINE_FEED = 0x0a;

/**
 * Reads a file of items, one JSON object a line; `-` is standard input. Empty lines are passed over.
 * Throws: OperatingError `input_invalid` (definite) that names each bad line, `input_unreadable` when there is no such file.
 */
export function readItems(file: string): readonly EnqueueItem[] {
  return parseItems(readText(file), nameOf(file));
}

const nameOf = (file: string): string => (file === "-" ? "standard input" : file);

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
    .map((issue) => `${issue.path.length === 0 ? "item" : issue.path.join(".")}: ${issue.message}${guessOf(issue)}`)
    .join("; ");
}

function guessOf(issue: z.core.$ZodIssue): string {
  if (issue.code !== "unrecognized_keys" || issue.path.length > 0) return "";
  const guesses = issue.keys.flatMap((key) => nearest(key, Object.keys(EnqueueItem.shape)) ?? []);
  return guesses.length === 0 ? "" : ` (did you mean ${guesses.join(", ")}?)`;
}

function readText(file: string): string {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(file === "-" ? 0 : file);
  } catch (error) {
    throw unreadable(file, error as Error);
  }
  if (isUtf8(bytes)) return new TextDecoder().decode(bytes);
  throw new OperatingError("input_invalid", `${nameOf(file)}, ${placeOfBadByte(bytes)}\nnothing was sent`, {
    definite: true,
  });
}

/** Line and byte of the first thing that is no UTF-8. A line feed is one byte of its own there, so lines can be looked at alone. */
function placeOfBadByte(bytes: Uint8Array): string {
  let start = 0;
  for (let line = 1; ; line += 1) {
    const end = bytes.indexOf(LINE_FEED, start);
    const part = bytes.subarray(start, end === -1 ? bytes.length : end);
    if (!isUtf8(part)) {
      // What decodes to the same bytes up to here is right: the first that does not is where it breaks.
      const back = new TextEncoder().encode(new TextDecoder("utf-8", { ignoreBOM: true }).decode(part));
      const at = part.findIndex((byte, index) => byte !== back[index]);
      return `line ${line}: it is not UTF-8, from byte ${at + 1} of the line on`;
    }
    if (end === -1) return "it is not UTF-8";
    start = end + 1;
  }
}

function unreadable(file: string, cause: Error): OperatingError {
  return new OperatingError("input_unreadable", `cannot read ${nameOf(file)}: ${cause.message}`, {
    definite: true,
    cause,
  });
}
