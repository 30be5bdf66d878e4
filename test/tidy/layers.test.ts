/** Checks the direction of dependencies between folders. After tigerbeetle src/tidy.zig. */
import { expect, test } from "vitest";
import { dependenciesOf, hiddenDependencyProblems } from "./imports.ts";
import { CODE_FOLDERS, parseSource, readSourceFiles, type SourceFile } from "./source-tree.ts";

const LIBRARIES = [
  "services/core",
  "services/runtime",
  "services/jetstream",
  "services/persistence",
  "services/health",
  "services/replication",
  "services/client",
  "services/outbox",
  "services/catalog",
  "services/testing",
];
const PROCESSES = [
  "services/dispatcher",
  "services/worker",
  "services/seeder",
  "services/control-plane",
  "services/cli",
  "services/mesh",
  "services/replicator",
];
const PROCESS_MAY_IMPORT = ["contracts", ...LIBRARIES, "infra"];
/** Folder -> folders it may import, besides itself. A folder that is not a key is a violation. The only copy of this table. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  contracts: [],
  "services/core": ["contracts"],
  "services/runtime": ["contracts"],
  "services/jetstream": ["contracts", "services/core", "services/runtime"],
  "services/persistence": ["contracts", "services/core", "services/runtime"],
  "services/health": ["contracts", "services/core", "services/runtime", "services/jetstream"],
  "services/replication": [
    "contracts",
    "services/core",
    "services/runtime",
    "services/jetstream",
    "services/persistence",
  ],
  "services/client": ["contracts", "services/runtime", "services/jetstream"],
  "services/outbox": ["contracts", "services/client"],
  "services/catalog": ["contracts", "services/runtime", "services/client", "services/persistence"],
  "services/testing": [
    "contracts",
    "services/core",
    "services/persistence",
    "services/jetstream",
    "services/runtime",
    "services/replication",
  ],
  ...Object.fromEntries(PROCESSES.map((folder) => [folder, PROCESS_MAY_IMPORT])),
  infra: ["contracts", "services/runtime", "services/jetstream"],
  chaos: ["contracts", ...LIBRARIES, "infra"],
};
/** The mesh runs any set of roles in one process, so it may import this one file of each role. */
const ROLE_FILE = /^services\/(dispatcher|worker|seeder|control-plane|replicator)\/role\.ts$/;

/** `services/core/state/item.ts` -> `services/core`; `contracts/ids.ts` -> `contracts`. */
function folderOf(path: string): string {
  return path
    .split("/")
    .slice(0, path.startsWith("services/") ? 2 : 1)
    .join("/");
}

function layerProblems(file: SourceFile): string[] {
  const folder = folderOf(file.path);
  const allowed = MAY_IMPORT[folder];
  if (allowed === undefined) return [`${file.path}: ${folder} is not in the layer table`];
  const problems = hiddenDependencyProblems(file);
  if (LIBRARIES.includes(folder) && file.path === `${folder}/main.ts`)
    problems.push(`${file.path}: main.ts makes a process, but ${folder} is listed as a library`);
  for (const { path, line } of dependenciesOf(file)) {
    if (path === null || folderOf(path) === folder || allowed.includes(folderOf(path))) continue;
    if (folder === "services/mesh" && ROLE_FILE.test(path)) continue;
    problems.push(`${file.path}:${line} ${folder} may not import ${path}`);
  }
  return problems;
}

const files = readSourceFiles(CODE_FOLDERS);

test("the walk sees the code", () => {
  expect(files.length).toBeGreaterThan(3); // a linter that sees no files is green
  expect(files.map((file) => file.path)).toContain("contracts/limits.ts");
});

test("imports follow the layer table", () => {
  expect(files.flatMap(layerProblems)).toEqual([]);
});

test("the layer table has no cycle", () => {
  const reaches = (from: string, target: string): boolean =>
    (MAY_IMPORT[from] ?? []).some((next) => next === target || reaches(next, target));
  expect(Object.keys(MAY_IMPORT).filter((folder) => reaches(folder, folder))).toEqual([]);
});

test.each([
  ["contracts/a.ts", 'import { x } from "../services/core/a.ts";'],
  ["contracts/a.ts", 'export { x } from "../services/core/a.ts";'],
  ["contracts/a.ts", 'export * from "../services/core/a.ts";'],
  ["contracts/a.ts", 'export type X = import("../services/core/a.ts").X;'],
  ["services/core/a.ts", 'import type { X } from "../runtime/a.ts";'],
  ["services/core/deep/a.ts", 'import { x } from "../../runtime/a.ts";'],
  ["services/persistence/a.ts", 'import { x } from "../jetstream/a.ts";'],
  ["services/worker/a.ts", 'import { x } from "../dispatcher/role.ts";'],
  ["services/mesh/a.ts", 'import { x } from "../dispatcher/node/a.ts";'],
  ["services/mesh/a.ts", 'import { x } from "../replicator/process.ts";'],
  ["services/cli/a.ts", 'import { x } from "../../chaos/main.ts";'],
  ["services/cli/a.ts", 'import { x } from "../../test/tidy/a.ts";'],
  ["services/cli/a.ts", 'const x = await import("../worker/role.ts");'],
  ["services/cli/a.ts", 'const x = require("../worker/role.ts");'],
  ["services/cli/a.ts", "const load = createRequire(import.meta.url);"],
  ["services/cli/a.ts", 'import { x } from "omnirelay/client";'],
  ["services/core/main.ts", "export const x = 1;"],
  ["services/novel/a.ts", "export const x = 1;"],
  ["services/a.ts", "export const x = 1;"],
  ["infra/a.ts", 'import { x } from "../services/core/a.ts";'],
])("finds the planted violation in %s: %s", (path, text) => {
  expect(layerProblems(parseSource(path, text))).toHaveLength(1);
});

test.each([
  ["services/core/deep/a.ts", 'import { x } from "../../../contracts/ids.ts";'],
  ["services/core/a.ts", 'import { x } from "./deep/b.ts";'],
  ["services/mesh/a.ts", 'import { x } from "../control-plane/role.ts";'],
  ["services/cli/a.ts", 'export type X = import("../client/mod.ts").X;'],
  ["services/cli/a.ts", 'import { x } from "commander";'],
  ["chaos/drills/a.ts", 'import { x } from "../../infra/a.ts";'],
])("lets through %s: %s", (path, text) => {
  expect(layerProblems(parseSource(path, text))).toEqual([]);
});
