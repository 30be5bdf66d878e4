/** The input of the ingest tests: the golden tables of delta-io/delta where they are beside this checkout, else our own small ones. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const GOLDEN = join(import.meta.dirname, "../../../shared/data/delta-logs");
const FIXTURES = join(import.meta.dirname, "../catalog/fixtures");

export interface IngestInput {
  readonly folder: string;
  readonly items: number;
  /** What `--json` must say of the tables. */
  readonly tables: Readonly<Record<string, object>>;
}

export function ingestInput(): IngestInput {
  const isGolden = existsSync(GOLDEN);
  if (!isGolden)
    process.stderr.write(
      `the golden tables are not at ${GOLDEN}: the small tables of test/catalog/fixtures stand in for them\n`,
    );
  return isGolden ? inputOf(GOLDEN, GOLDEN, 291) : smallInput();
}

/** Our own small tables, for what does not depend on how many there are. */
export const smallInput = (): IngestInput => inputOf(join(FIXTURES, "delta"), FIXTURES, 8);

function inputOf(folder: string, expectedFolder: string, items: number): IngestInput {
  const file = join(expectedFolder, "expected.json");
  const expected: Record<string, Record<string, unknown>> = JSON.parse(readFileSync(file, "utf8"));
  const tables = Object.entries(expected).map(
    ([name, { minReaderVersion: _version, ...figures }]) => [name, figures] as const,
  );
  return { folder, items, tables: Object.fromEntries(tables) };
}
