/** Checks that functions and files stay small enough to read in one go. No list of exceptions: a ratchet is free from day one. */
import { expect, test } from "vitest";
import { CODE_FOLDERS, parseSource, readSourceFiles, type SourceFile, walk } from "./source-tree.ts";

/** One screen; the typical function has 6 to 12 lines. */
const LINES_PER_FUNCTION_MAX = 70;
/** The ninetieth percentile of well-kept projects lies between 257 and 646. */
const LINES_PER_FILE_MAX = 400;

function sizeProblems(file: SourceFile): string[] {
  const problems: string[] = [];
  const lineCount = file.text.trimEnd().split("\n").length;
  if (lineCount > LINES_PER_FILE_MAX) problems.push(`${file.path}: ${lineCount} lines, at most ${LINES_PER_FILE_MAX}`);
  walk(file.program, (node) => {
    if (!/Function/.test(node.type) || !node["body"]) return;
    const first = file.lineOf(node.start);
    const count = file.lineOf(node.end - 1) - first + 1;
    if (count > LINES_PER_FUNCTION_MAX)
      problems.push(`${file.path}:${first} a function of ${count} lines, at most ${LINES_PER_FUNCTION_MAX}`);
  });
  return problems;
}

const files = readSourceFiles(CODE_FOLDERS);

test("the walk sees the code", () => expect(files.length).toBeGreaterThan(3));

test("functions and files are short enough", () => {
  expect(files.flatMap(sizeProblems)).toEqual([]);
});

const body = (lineCount: number): string => "  f();\n".repeat(lineCount - 2);

test.each([
  ["function", (n: number) => `function f() {\n${body(n)}}`],
  ["arrow function", (n: number) => `const f = () => {\n${body(n)}};`],
  ["method", (n: number) => `class X {\nf() {\n${body(n)}}\n}`],
  ["inner function", (n: number) => `call(function () {\n${body(n)}});`],
] as const)("counts the lines of a planted %s", (_kind, textOf) => {
  const problemsAt = (n: number): string[] => sizeProblems(parseSource("infra/a.ts", `\n${textOf(n)}\n`));
  expect(problemsAt(LINES_PER_FUNCTION_MAX)).toEqual([]);
  expect(problemsAt(LINES_PER_FUNCTION_MAX + 1)).toEqual(
    ["infra/a.ts:2 a function of 71 lines, at most 70"].map((p) => {
      return textOf(3).startsWith("class") ? p.replace(":2", ":3") : p;
    }),
  );
});

test("counts the lines of a planted file", () => {
  const problemsAt = (n: number): string[] => sizeProblems(parseSource("infra/a.ts", "f();\n".repeat(n)));
  expect(problemsAt(LINES_PER_FILE_MAX)).toEqual([]);
  expect(problemsAt(LINES_PER_FILE_MAX + 1)).toHaveLength(1);
});
