/** Tells which entries of a request were refused, and turns that into the exit code. */
import type { EntryResult } from "../client/refusal.ts";
import { EXIT_CODES } from "../runtime/lifecycle.ts";
import { safeText, type Terminal } from "./terminal.ts";

/** Refusals named at most: one cause may refuse them all. */
const REFUSALS_NAMED_MAX = 20;

/** `nameOf`: what the entry at an index is called. */
export function noteRefusals(
  results: readonly EntryResult<unknown>[],
  nameOf: (index: number) => string,
  terminal: Terminal,
): number {
  let refused = 0;
  for (const [index, result] of results.entries()) {
    if (result.kind === "ok") continue;
    refused += 1;
    if (refused > REFUSALS_NAMED_MAX) continue;
    terminal.note(`omnirelay: ${safeText(`${nameOf(index)}: ${result.error.code}: ${result.error.message}`)}`);
  }
  if (refused > REFUSALS_NAMED_MAX) terminal.note(`omnirelay: and ${refused - REFUSALS_NAMED_MAX} more`);
  return refused === 0 ? EXIT_CODES.ok : EXIT_CODES.failed;
}

/** Results as `--json` prints them. */
export const jsonResults = (results: readonly EntryResult<unknown>[]): readonly unknown[] =>
  results.map((result) => (result.kind === "ok" ? result.value : { error: result.error }));

export const itemName = (itemId: string | undefined): string => `item ${JSON.stringify(itemId)}`;
