/** Makes Delta folders for tests: sound ones, and ones broken in a given way. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { onTestFinished } from "vitest";

/** The hook of the running test; tests that run side by side hand over their own. */
type Cleanup = (dispose: () => void) => void;

/** A folder that is gone after the test. */
export function temporaryFolder(cleanup: Cleanup = onTestFinished): string {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-delta-"));
  cleanup(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export const commitFile = (version: number): string => `${String(version).padStart(20, "0")}.json`;

/** `tables`: name to the texts of its commits, from version 0. Returns the folder. */
export function deltaFolder(tables: Readonly<Record<string, readonly string[]>>, cleanup?: Cleanup): string {
  const folder = temporaryFolder(cleanup);
  for (const [table, commits] of Object.entries(tables))
    for (const [version, text] of commits.entries()) writeCommit(folder, table, commitFile(version), text);
  return folder;
}

export function writeCommit(folder: string, table: string, name: string, text: string | Uint8Array): void {
  const file = join(folder, table, "_delta_log", name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

export const addLine = (path: string, size: number): string => `${JSON.stringify({ add: { path, size } })}\n`;
export const removeLine = (path: string): string => `${JSON.stringify({ remove: { path } })}\n`;
