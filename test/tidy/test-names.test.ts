/** Checks the tests themselves: a name is used once per file, nothing is focused, and whatever is skipped says why. */
import { expect, test } from "vitest";
import { parseSource, readSourceFiles, type SourceFile, type SyntaxNode, walk } from "./source-tree.ts";

const TEST_FUNCTION = /^(test|it|describe|suite|bench)$/;

/** One call of `test(...)`, `describe.each(...)(...)` and so on. */
interface TestCall {
  /** `test`, `it`, `describe`, ... */
  readonly kind: string;
  /** The dotted words behind it: `each`, `skipIf`, ... */
  readonly modifiers: readonly string[];
  /** Its title when that is plain text; null when it is computed. */
  readonly title: string | null;
  /** Titles of the describe blocks around it. */
  readonly path: string;
  readonly line: number;
}

function testCallsOf(file: SourceFile): TestCall[] {
  const found: TestCall[] = [];
  const describes: { readonly end: number; readonly title: string }[] = [];
  walk(file.program, (node, parent, field) => {
    // `test.each(table)` is called once more, with the title: only the outermost call is the test.
    if (node.type !== "CallExpression" || field === "callee" || parent?.type === "MemberExpression") return;
    const words = calleeWords(node["callee"]);
    const [kind, ...modifiers] = words;
    if (kind === undefined || !TEST_FUNCTION.test(kind)) return;
    while (describes.length > 0 && (describes.at(-1)?.end ?? 0) < node.start) describes.pop();
    const title = titleOf(node["arguments"][0]);
    const path = describes.map((block) => block.title).join(" > ");
    found.push({ kind, modifiers, title, path, line: file.lineOf(node.start) });
    if (kind === "describe" || kind === "suite") describes.push({ end: node.end, title: title ?? `#${node.start}` });
  });
  return found;
}

/** `test.skipIf(x).each(y)` -> ["test", "skipIf", "each"]; [] for anything that is not a name. */
function calleeWords(callee: SyntaxNode): string[] {
  if (callee.type === "Identifier") return [callee["name"]];
  if (callee.type === "CallExpression") return calleeWords(callee["callee"]);
  if (callee.type === "TaggedTemplateExpression") return calleeWords(callee["tag"]);
  if (callee.type !== "MemberExpression" || callee["computed"]) return [];
  const words = calleeWords(callee["object"]);
  return words.length === 0 ? [] : [...words, callee["property"].name];
}

function titleOf(argument: SyntaxNode | undefined): string | null {
  if (argument?.type === "Literal" && typeof argument["value"] === "string") return argument["value"];
  if (argument?.type === "TemplateLiteral" && argument["expressions"].length === 0)
    return argument["quasis"][0].value.cooked;
  return null;
}

function testProblems(file: SourceFile): string[] {
  const problems: string[] = [];
  const seen = new Map<string, number>();
  for (const { kind, modifiers, title, path, line } of testCallsOf(file)) {
    const at = `${file.path}:${line}`;
    if (modifiers.includes("only")) problems.push(`${at} .only leaves the other tests out`);
    // A computed title can carry the reason of a conditional skip; nothing else shows it in the output.
    const silent = modifiers.find(
      (word) => /^(skip|todo)$/.test(word) || (/^(skipIf|runIf)$/.test(word) && title !== null),
    );
    if (silent !== undefined)
      problems.push(`${at} .${silent} gives no reason: call context.skip("reason"), or put the reason in the title`);
    if (title === null) continue;
    const name = `${kind === "describe" ? "describe " : ""}${path} > ${title}`;
    const before = seen.get(name);
    if (before !== undefined) problems.push(`${at} "${title}" is also the name of the test in line ${before}`);
    seen.set(name, line);
  }
  return problems;
}

const files = readSourceFiles(/^test\/.*\.test\.ts$/);

test("the walk sees the tests", () => {
  expect(files.map((file) => file.path)).toContain("test/tidy/test-names.test.ts");
  expect(files.flatMap(testCallsOf).length).toBeGreaterThan(20);
});

test("test names are unique, nothing is focused and every skip gives its reason", () => {
  expect(files.flatMap(testProblems)).toEqual([]);
});

test.each([
  'test("a", f); test("a", f);',
  'test("a", f); test(`a`, f);',
  'test("a", f); test.each([1])("a", f);',
  'describe("d", () => { test("a", f); test("a", f); });',
  'describe("d", f); describe("d", f);',
  'test.only("a", f);',
  'describe.only("a", f);',
  'test.skip("a", f);',
  'test.skipIf(true)("a", f);',
  'test.runIf(true).each([1])("a", f);',
  'it.todo("a");',
])("finds the planted problem: %s", (text) => {
  expect(testProblems(parseSource("test/a.test.ts", text))).toHaveLength(1);
});

test.each([
  'test("a", f); test("b", f);',
  'describe("d", () => { test("a", f); }); describe("e", () => { test("a", f); }); test("a", f);',
  'for (const x of y) { test("a" + x, f); test("a" + x, f); }',
  'test("a", (context) => { context.skip("no docker here"); });',
  'describe.skipIf(reason !== "")("on a real server " + reason, f);',
  'pattern.test("a"); pattern.test("a");',
])("lets through: %s", (text) => {
  expect(testProblems(parseSource("test/a.test.ts", text))).toEqual([]);
});
