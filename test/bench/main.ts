/** `npm run bench`: OmniRelay and its peers under the same loads, side by side. Exit code 0: all that was asked for ran; 1: something failed, or got slower than the bound of --compare allows, or nothing could be compared with it; 2: wrong usage. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { OperatingError } from "../../contracts/errors.ts";
import { compareRows, comparisonText, regressions, uncompared } from "./compare.ts";
import { describeMachine } from "./machine.ts";
import { type BenchOptions, readOptions, USAGE } from "./options.ts";
import { resultsTable } from "./report-tables.ts";
import { type Results, resultsText } from "./results.ts";
import { endAtSignals } from "./signals.ts";
import { Suite } from "./suite.ts";

const report = (line: string): void => void process.stderr.write(`${line}\n`);

async function main(options: BenchOptions): Promise<number> {
  const suite = new Suite({ ...options.request, report });
  // What the suite throws when it is ended is a consequence and is not told.
  const signalled = endAtSignals(() => suite.stop());
  report(`seed ${options.request.seed}`);
  const { size, seed, placement } = options.request;
  const date = new Date().toISOString();
  const { rows, notRun, syncs, probes, peers } = await suite.run().catch((error: unknown) => {
    if (suite.isStopped) return signalled;
    throw error;
  });
  const results: Results = {
    ...{ format: 1, date, size, seed, placement, machine: describeMachine() },
    ...{ peers, rows: [...rows], notRun: [...notRun], syncs: [...syncs], probes: [...probes] },
  };
  const isWritten = options.out === undefined || write(results, options.out);
  const comparisons = options.compare === undefined ? [] : compareRows(results, options.compare);
  if (options.isJson || !isWritten) process.stdout.write(`${JSON.stringify({ ...results, comparisons })}\n`);
  else process.stdout.write(resultsTable(results) + (comparisons.length > 0 ? comparisonText(comparisons) : ""));
  const slower = regressions(comparisons, options.bound);
  for (const { scenario, case: each, durability, peer, ratio } of slower)
    report(`slower: ${scenario} ${each} ${durability} ${peer}: ${ratio} of what it was, the bound is ${options.bound}`);
  const left = options.compare === undefined ? [] : uncompared(results, comparisons);
  for (const { scenario, case: each, durability, peer } of left)
    report(`not compared: ${scenario} ${each} ${durability} ${peer}: the base has no such row`);
  const isGate = options.compare === undefined || comparisons.length > 0;
  if (!isGate) report("--compare: not one row of this run could be compared");
  const failures = results.notRun.filter(({ isFailure }) => isFailure);
  for (const { scenario, durability, peer, reason } of failures)
    report(`failed: ${scenario} ${durability} ${peer}: ${reason}`);
  return slower.length > 0 || failures.length > 0 || !isGate || !isWritten ? 1 : 0;
}

/** Returns whether it could be: what took hours is printed when not. */
function write(results: Results, folder: string): boolean {
  const path = join(folder, `${results.date.replaceAll(":", "-").slice(0, 19)}.json`);
  try {
    writeFileSync(path, resultsText(results));
  } catch (error) {
    report(`${path} cannot be written, so that the raw results are printed: ${String(error)}`);
    return false;
  }
  report(`written: ${path}`);
  return true;
}

try {
  const options = await readOptions(process.argv.slice(2));
  if (options === undefined) process.stdout.write(USAGE);
  else process.exitCode = await main(options);
} catch (error) {
  if (!(error instanceof OperatingError && error.definite)) throw error;
  process.stderr.write(`${error.message}\n${error.code === "invalid_options" ? USAGE : ""}`);
  process.exitCode = 2;
}
