/** `npm run bench:report`: writes the tables and plots of the kept raw results into the documents; `--check` only says which are stale (exit code 1). */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { OperatingError } from "../../contracts/errors.ts";
import { reportFiles, staleReports } from "./report.ts";

const ROOT = join(import.meta.dirname, "../..");
const USAGE = `usage: npm run bench:report -- [--from RAW.json]… [--into FOLDER] [--check]
  --from   raw results, may be repeated; all of test/bench/results by default. Each row is of the newest that has it with five rounds
  --into   writes below another folder instead of into the documents
  --check  writes nothing; exit code 1 when a document is not what the kept results say
`;

function readFlags() {
  try {
    const { values } = parseArgs({
      options: {
        from: { type: "string", multiple: true },
        into: { type: "string" },
        check: { type: "boolean", default: false },
      },
    });
    const { from, into, check } = values;
    if (into === "") throw new Error("--into: an empty text is no folder");
    if (check && (from !== undefined || into !== undefined))
      throw new Error("--check looks at the documents and the kept results: it takes neither --from nor --into");
    return values;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n${USAGE}`);
    return process.exit(2);
  }
}

function write(target: string, text: string): void {
  try {
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, text);
  } catch (error) {
    throw notWritten(target, error);
  }
}

const notWritten = (target: string, cause: unknown): OperatingError =>
  new OperatingError("report_not_written", `${target} cannot be written: ${String(cause)}`, { definite: true, cause });

const { from, into, check } = readFlags();
if (check) {
  const stale = staleReports();
  for (const path of stale) process.stderr.write(`stale: ${path}\n`);
  process.exitCode = stale.length > 0 ? 1 : 0;
} else
  try {
    for (const [path, text] of reportFiles(from?.map((path) => resolve(path)))) {
      const target = join(into === undefined ? ROOT : resolve(into), path);
      write(target, text);
      process.stdout.write(`${target}\n`);
    }
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 2;
  }
