/** Where the command writes: results to standard output, everything else to standard error; one object, so that tests can read both. */
import { TIMESTAMP_MS_MAX } from "../../contracts/limits.ts";
import { redactText } from "../runtime/redact.ts";

export interface Terminal {
  /** One line of result. */
  out(line: string): void;
  /** One line for the person at the terminal. */
  note(line: string): void;
  /** Whether standard error is a terminal, so that a progress bar can be drawn. */
  readonly isInteractive: boolean;
}

export function processTerminal(): Terminal {
  // The reader of a pipe may leave (`… | head`): then nobody wants the rest.
  process.stdout.on("error", () => process.exit(0));
  process.stderr.on("error", () => {});
  return {
    out: (line) => void process.stdout.write(`${line}\n`),
    note: (line) => void process.stderr.write(`${redactText(line)}\n`),
    isInteractive: process.stderr.isTTY === true,
  };
}

/** Rows with the columns aligned; figures to the right. */
export function aligned(rows: readonly (readonly (string | number)[])[]): readonly string[] {
  const widths: number[] = [];
  for (const row of rows)
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, String(cell).length);
  return rows.map((row) =>
    row
      .map((cell, column) =>
        typeof cell === "number" ? String(cell).padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd(),
  );
}

/** A time in the log as people read it. */
export function timeText(ms: number | undefined): string {
  if (ms === undefined) return "";
  return ms <= TIMESTAMP_MS_MAX ? new Date(ms).toISOString() : `${ms} ms`;
}

/** Characters that move the cursor, reverse the order of others or cannot be seen. */
const UNSAFE = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;
const UNSAFE_BUT_NEWLINE = /(?!\n)[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/** Text from a stranger on one line of a terminal: what could move the cursor or mislead the eye is escaped. */
export function safeText(text: string): string {
  return text.replace(UNSAFE, escaped);
}

/** Lines of ours with text of strangers in them. JSON stays the same JSON: there such characters stand in strings only. */
function safeLines(text: string): string {
  return text.replace(UNSAFE_BUT_NEWLINE, escaped);
}

/** As JSON writes it: one escape per UTF-16 unit. */
function escaped(character: string): string {
  return Array.from({ length: character.length }, (_, index) => character.charCodeAt(index))
    .map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`)
    .join("");
}

/** A terminal that writes nothing but text: the last door, for whatever a command has not made safe itself. */
export function safeTerminal(terminal: Terminal): Terminal {
  return {
    out: (line) => terminal.out(safeLines(line)),
    note: (line) => terminal.note(safeLines(line)),
    isInteractive: terminal.isInteractive,
  };
}
