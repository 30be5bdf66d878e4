/**
 * Checks that the deterministic parts stay deterministic: a replay, and a simulator on a virtual clock, must get the same answer
 * from them every time. Separate from the layers, because it is about what code does and not about what it imports.
 */
import { expect, test } from "vitest";
import { dependenciesOf } from "./imports.ts";
import { CODE_FOLDERS, parseSource, readSourceFiles, type SourceFile, type SyntaxNode, walk } from "./source-tree.ts";

interface PurityRule {
  /** Package or Node module -> the names that may be imported from it; `all` for any. Type-only imports are free. */
  readonly imports: Readonly<Record<string, readonly string[] | "all">>;
  /** Global names that may not be read at all. */
  readonly globals: ReadonlySet<string>;
  /** `Date` with arguments is arithmetic: allowed where it does not tempt. */
  readonly isDateArithmeticAllowed: boolean;
  /** A `Promise` in a type only describes a port; in the node it would mean code that awaits. */
  readonly isPromiseTypeAllowed: boolean;
}

const GLOBALS_IMPURE = [
  ...["setTimeout", "setInterval", "setImmediate", "clearTimeout", "clearInterval", "clearImmediate", "queueMicrotask"],
  ...[
    "process",
    "performance",
    "crypto",
    "fetch",
    "globalThis",
    "global",
    "WeakRef",
    "FinalizationRegistry",
    "Atomics",
  ],
];
const RULE_CORE: PurityRule = {
  imports: { zod: "all", "node:assert/strict": "all" },
  globals: new Set(GLOBALS_IMPURE),
  isDateArithmeticAllowed: true,
  isPromiseTypeAllowed: true,
};
const RULE_NODE: PurityRule = {
  imports: { zod: "all", "node:assert/strict": "all", "node:buffer": "all", "node:crypto": ["createHash"] },
  globals: new Set(GLOBALS_IMPURE),
  isDateArithmeticAllowed: true,
  isPromiseTypeAllowed: false,
};
/** Members that read the clock, the dice or the machine's locale. */
const MEMBERS_IMPURE = /^(Math\.random|Date\.now|.*\.(localeCompare|toLocale\w+))$/;
const CORE = /^(contracts|services\/core)\//;
const NODE = /^services\/dispatcher\/node\//;

function purityProblems(file: SourceFile, rule: PurityRule): string[] {
  const problems: string[] = [];
  for (const { specifier, path, names, isTypeOnly, line } of dependenciesOf(file)) {
    if (path !== null || isTypeOnly) continue;
    const allowed = Object.hasOwn(rule.imports, specifier) ? rule.imports[specifier] : [];
    const isAllowed = allowed === "all" || (names.length > 0 && names.every((name) => allowed?.includes(name)));
    if (!isAllowed) problems.push(`${file.path}:${line} pure code imports ${names.join(", ")} from ${specifier}`);
  }
  walk(file.program, (node, parent, field) => {
    const impurity = impurityOf(node, parent, field, rule);
    if (impurity !== null) problems.push(`${file.path}:${file.lineOf(node.start)} pure code uses ${impurity}`);
  });
  return problems;
}

/** Names what is impure about one node; null when nothing is. */
function impurityOf(node: SyntaxNode, parent: SyntaxNode | null, field: string, rule: PurityRule): string | null {
  if (node.type === "AwaitExpression") return "await";
  if (node.type === "ForOfStatement" && node["await"]) return "for await";
  if (/Function/.test(node.type) && node["async"]) return "async";
  if (node.type === "MetaProperty" && node["meta"].name === "import") return "import.meta";
  if (node.type === "MemberExpression" && !node["computed"]) {
    const member = `${node["object"].name ?? ""}.${node["property"].name}`;
    return MEMBERS_IMPURE.test(member) ? member : null;
  }
  if (node.type !== "Identifier" || isOnlyAName(parent, field)) return null;
  const name: string = node["name"];
  if (rule.globals.has(name)) return `${name} (if it is a name of your own: choose another)`;
  if (name === "Promise") return rule.isPromiseTypeAllowed && /^TS/.test(parent?.type ?? "") ? null : name;
  if (name === "Date") return rule.isDateArithmeticAllowed && isDateArithmetic(parent, field) ? null : name;
  return null;
}

/** True for an identifier that names a member or a key and reads no variable. */
function isOnlyAName(parent: SyntaxNode | null, field: string): boolean {
  if (parent === null || parent["computed"] === true) return false;
  if (parent.type === "MemberExpression") return field === "property";
  if (parent.type === "TSQualifiedName") return field === "right";
  return field === "key" && parent["shorthand"] !== true;
}

/** `new Date(ms)`, `Date.UTC(...)` and the type: `new Date()`, `Date()` and handing `Date` around read the clock, or may. */
function isDateArithmetic(parent: SyntaxNode | null, field: string): boolean {
  if (parent?.type === "NewExpression") return field === "callee" && parent["arguments"].length > 0;
  return parent?.type === "MemberExpression" || /^TS/.test(parent?.type ?? "");
}

/**
 * The files that run inside the shard node: its folder and whatever that imports for its values, however far.
 * Without the second half a file next door with a timer in it would make the node impure unseen.
 */
function nodeClosure(all: readonly SourceFile[]): SourceFile[] {
  const byPath = new Map(all.map((file) => [file.path, file]));
  const reached = new Set(all.filter((file) => NODE.test(file.path)));
  for (const file of reached) {
    for (const { path, isTypeOnly } of dependenciesOf(file)) {
      const next = path === null || isTypeOnly ? undefined : byPath.get(path);
      if (next !== undefined) reached.add(next); // a Set walks what is added while it is walked
    }
  }
  return [...reached].filter((file) => !CORE.test(file.path));
}

const files = readSourceFiles(CODE_FOLDERS);
const coreFiles = files.filter((file) => CORE.test(file.path));

test("the walk sees the pure code", () => {
  expect(coreFiles.map((file) => file.path)).toContain("contracts/limits.ts");
});

test("contracts and services/core are pure", () => {
  expect(coreFiles.flatMap((file) => purityProblems(file, RULE_CORE))).toEqual([]);
});

test("the shard node touches the world only through its ports", () => {
  expect(nodeClosure(files).flatMap((file) => purityProblems(file, RULE_NODE))).toEqual([]);
});

const plantsInBoth = [
  "const x = Math.random();",
  "const x = Date.now();",
  "const x = new Date();",
  "const x = Date();",
  "const { now } = Date;",
  "const x = performance.now();",
  "const x = process.env;",
  "const x = { process };",
  'const x = globalThis["process"];',
  "setTimeout(() => {}, 1);",
  "queueMicrotask(() => {});",
  "const x = crypto.randomUUID();",
  "const x = Promise.resolve(1);",
  "async function x() {}",
  "class X { async x() {} }",
  "await x;",
  "export {}; for await (const y of x) {}",
  'const x = "a".localeCompare("b");',
  "const x = import.meta.url;",
  'import { readFileSync } from "node:fs";',
  'import { randomUUID } from "node:crypto";',
  'import * as crypt from "node:crypto";',
  'import { createHash, randomBytes } from "node:crypto";',
  'import "node:timers";',
  'export { setTimeout } from "node:timers/promises";',
];

test.each(plantsInBoth)("finds the planted impurity: %s", (text) => {
  expect(purityProblems(parseSource("services/core/a.ts", text), RULE_CORE)).not.toEqual([]);
  expect(purityProblems(parseSource("services/dispatcher/node/a.ts", text), RULE_NODE)).not.toEqual([]);
});

test.each([
  "interface Port { read(): Promise<number>; }",
  'import { createHash } from "node:crypto";',
  'import { Buffer } from "node:buffer";',
])("holds the node and the core to different rules: %s", (text) => {
  const inCore = purityProblems(parseSource("services/core/a.ts", text), RULE_CORE);
  const inNode = purityProblems(parseSource("services/dispatcher/node/a.ts", text), RULE_NODE);
  expect([inCore.length, inNode.length].sort()).toEqual([0, 1]);
});

test.each([
  "const x = ports.clock.setTimeout(1);",
  "const x = { process: 1 }.process;",
  "interface Port { fetch(): void; performance: number }",
  'const x = "await Date.now() setTimeout"; // process, await',
  'import type { Logger } from "pino";',
  'import assert from "node:assert/strict";',
])("lets through: %s", (text) => {
  expect(purityProblems(parseSource("services/core/a.ts", text), RULE_CORE)).toEqual([]);
  expect(purityProblems(parseSource("services/dispatcher/node/a.ts", text), RULE_NODE)).toEqual([]);
});

test("follows the node's imports into the files next door", () => {
  const planted = [
    parseSource("services/dispatcher/node/a.ts", 'import { b } from "../b.ts"; import type { D } from "../d.ts";'),
    parseSource("services/dispatcher/b.ts", 'import { c } from "./c.ts"; import { e } from "../../contracts/e.ts";'),
    parseSource("services/dispatcher/c.ts", "setTimeout(() => {}, 1);"),
    parseSource("services/dispatcher/d.ts", "setTimeout(() => {}, 1);"),
    parseSource("contracts/e.ts", "export const e = 1;"),
  ];
  expect(nodeClosure(planted).flatMap((file) => purityProblems(file, RULE_NODE))).toHaveLength(1);
});
