/** Runs a command line inside the test and keeps what it writes. */
import { runCli } from "../../services/cli/program.ts";

export interface CliResult {
  readonly code: number;
  readonly out: string;
  readonly notes: string;
}

export async function cli(...args: readonly string[]): Promise<CliResult> {
  const out: string[] = [];
  const notes: string[] = [];
  const code = await runCli(args, {
    out: (line) => out.push(line),
    note: (line) => notes.push(line),
    isInteractive: false,
  });
  return { code, out: out.join("\n"), notes: notes.join("\n") };
}
