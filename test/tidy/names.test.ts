/** Checks the words: one word per idea in file names and exported names, and no file that says nothing about what it holds. */
import { expect, test } from "vitest";
import { CODE_FOLDERS, parseSource, readSourceFiles, type SourceFile } from "./source-tree.ts";

const FILE_WORDS_EMPTY = /^(utils?|common|helpers?|misc|types|index)$/;
/**
 * Word -> what it is called here. Only words without another good meaning: `message`, `position` and `reduce` are left to the
 * reader's judgement. `claims` (of a JSON web token) is not `claim`.
 */
const WORDS_BANNED: Readonly<Record<string, string>> = {
  ...{ job: "item", jobs: "item", task: "item", tasks: "item" },
  ...{ lock: "lease", locks: "lease", locked: "lease", unlock: "settle", mutex: "lease" },
  ...{ claim: "lease", claimed: "lease", claiming: "lease" },
  ...{ offset: "sequence", offsets: "sequence" },
  ...{ slave: "follower", slaves: "follower", secondary: "follower", secondaries: "follower" },
  ...{ evolve: "apply", reducer: "apply" },
};
/** A distance in bytes is an offset and nothing else. */
const OFFSET_OF_BYTES = /byte/;

/** `leaseDurationMs`, `LEASE_MS`, `lease-duration` -> their words in lower case. */
function wordsOf(name: string): string[] {
  return name
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .replace(/([A-Z]+)([A-Z][a-z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "");
}

function bannedWordProblems(name: string, at: string): string[] {
  return wordsOf(name)
    .filter((word) => Object.hasOwn(WORDS_BANNED, word))
    .filter((word) => !(word.startsWith("offset") && OFFSET_OF_BYTES.test(name.toLowerCase())))
    .map((word) => `${at}: ${name} says "${word}"; here that is "${WORDS_BANNED[word]}"`);
}

function pathProblems(path: string): string[] {
  return path.split("/").flatMap((part) => {
    const stem = part.replace(/\..*$/, "");
    const isEmpty = FILE_WORDS_EMPTY.test(stem);
    return [...(isEmpty ? [`${path}: "${stem}" does not say what it holds`] : []), ...bannedWordProblems(stem, path)];
  });
}

function exportProblems(file: SourceFile): string[] {
  return file.module.staticExports
    .flatMap((declaration) => declaration.entries)
    .flatMap(({ exportName, start }) =>
      bannedWordProblems(exportName.name ?? "", `${file.path}:${file.lineOf(start)}`),
    );
}

const code = readSourceFiles(CODE_FOLDERS);
const tests = readSourceFiles(/^test\//);

test("the walk sees the code and the tests", () => {
  expect(code.length).toBeGreaterThan(3);
  expect(tests.map((file) => file.path)).toContain("test/tidy/names.test.ts");
  expect(code.flatMap((file) => file.module.staticExports).length).toBeGreaterThan(10);
});

test("file names say what the files hold, in the words of the glossary", () => {
  expect([...code, ...tests].flatMap((file) => pathProblems(file.path))).toEqual([]);
});

test("exported names use the words of the glossary", () => {
  expect(code.flatMap(exportProblems)).toEqual([]);
});

test.each([
  "services/client/utils.ts",
  "services/client/util/a.ts",
  "services/client/helpers.test.ts",
  "services/common/a.ts",
  "contracts/index.ts",
  "contracts/types.ts",
  "services/core/job-state.ts",
  "services/core/lock.ts",
])("finds the planted path %s", (path) => expect(pathProblems(path)).toHaveLength(1));

test.each([
  "export const jobCount = 1;",
  "export function claimItem() {}",
  "export class TaskRunner {}",
  "export interface LogOffset {}",
  "export type LOCK_MS = 1;",
  "const a = 1; export { a as acquireLock };",
  'export { startSlave } from "./a.ts";',
])("finds the planted name: %s", (text) => {
  expect(exportProblems(parseSource("services/core/a.ts", text))).toHaveLength(1);
});

test.each([
  "export const clock = 1, blockCount = 2, byteOffset = 3, offsetBytes = 4;",
  "export type TokenClaims = 1;",
  "const lock = 1;",
  "export const wording = 'job task lock';",
])("lets through: %s", (text) => {
  expect(exportProblems(parseSource("services/core/a.ts", text))).toEqual([]);
});
