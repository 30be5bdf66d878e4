/** Checks what stands in the files as text: opening sentences, notes to self, and traces of the machine they were written on. */
import { expect, test } from "vitest";
import { parseSource, readSourceFiles, readTextFiles, type SourceFile, type TextFile } from "./source-tree.ts";

/** A note needs a place where its end can be seen: an issue (`#12`) or a decision (`DECISIONS 12`). */
const NOTE_ANCHORED = /#\d+|DECISIONS \d+/;
const NOTE = /\b(TODO|FIXME)\b/;
/** Paths of one machine and hosts of package registries: a checkout must not depend on where it was written. */
const MACHINE_TRACES = [
  /(^|[^\w./-])\/(work|Users)\/\w/,
  /\/home\/(?!node\b)[a-z]\w*\//,
  /bash_jobs/,
  ...["registry npmjs org", "registry yarnpkg com", "npm pkg github com", "proxy golang org", "deb debian org"].map(
    (words) => new RegExp(words.replaceAll(" ", "\\.")),
  ),
];

function openingProblems(file: SourceFile): string[] {
  const [first] = file.comments;
  const before = file.text.slice(0, first?.start ?? 0).replace(/^#!.*\n/, "");
  if (first === undefined || before.trim() !== "" || first.type !== "Block" || !first.value.startsWith("*"))
    return [`${file.path}: does not open with a doc comment`];
  const prose = first.value.replace(/^[ \t]*\*+ ?/gm, "").trim();
  return /^[A-Z`"].*?\w.*?[.:](\s|$)/s.test(prose) ? [] : [`${file.path}: the opening comment is not a sentence`];
}

function noteProblems(file: SourceFile): string[] {
  return file.comments.flatMap((comment) => {
    const note = NOTE.exec(comment.value)?.[1];
    if (note === undefined || (note === "TODO" && NOTE_ANCHORED.test(comment.value))) return [];
    const rule = note === "FIXME" ? "fix it, or write it down as an issue" : "give its issue or DECISIONS number";
    return [`${file.path}:${file.lineOf(comment.start)} ${note}: ${rule}`];
  });
}

function traceProblems({ path, text }: TextFile): string[] {
  return text.split("\n").flatMap((line, index) => {
    const trace = MACHINE_TRACES.map((pattern) => pattern.exec(line)?.[0]).find((found) => found !== undefined);
    return trace === undefined ? [] : [`${path}:${index + 1} holds a trace of one machine: ${trace.trim()}`];
  });
}

const sources = readSourceFiles(/^(contracts|services|infra|chaos|test)\/|^[^/]+\.config\.ts$/);
const texts = readTextFiles();

test("the walk sees the files", () => {
  const paths = texts.map((file) => file.path);
  for (const path of ["contracts/limits.ts", "vitest.config.ts"])
    expect(sources.map((file) => file.path)).toContain(path);
  for (const path of ["package.json", "package-lock.json", ".ci/run", "biome.json"]) expect(paths).toContain(path);
});

test("every source file opens with a sentence that says what it is", () => {
  expect(sources.flatMap(openingProblems)).toEqual([]);
});

test("notes to self have a number", () => {
  expect(sources.flatMap(noteProblems)).toEqual([]);
});

test("no file holds a path or a registry of one machine", () => {
  const others = texts.filter((file) => file.path !== "test/tidy/text.test.ts"); // this file has to name them
  expect(others.flatMap(traceProblems)).toEqual([]);
});

test("the lock file pins versions and leaves the registry to the machine", () => {
  const lock = texts.find((file) => file.path === "package-lock.json")?.text ?? "";
  expect(lock).toContain('"integrity"');
  expect(lock).not.toContain('"resolved"');
});

/** A registry that lacks another platform's binary makes `npm install` leave it out, and `npm ci` then refuses the file everywhere. */
test("the lock file holds the binaries of every platform", () => {
  const lock = JSON.parse(texts.find((file) => file.path === "package-lock.json")?.text ?? "{}");
  const packages: Record<string, { optionalDependencies?: Record<string, string> }> = lock.packages;
  const wanted = Object.entries(packages).flatMap(([path, { optionalDependencies }]) =>
    Object.keys(optionalDependencies ?? {}).map((name) => ({ path, name })),
  );
  expect(wanted.length).toBeGreaterThan(10);
  const isThere = ({ path, name }: { path: string; name: string }): boolean =>
    `node_modules/${name}` in packages || `${path}/node_modules/${name}` in packages;
  expect(wanted.filter((one) => !isThere(one))).toEqual([]);
});

test("every dependency is pinned to one version", () => {
  const manifest = JSON.parse(texts.find((file) => file.path === "package.json")?.text ?? "{}");
  const versions: [string, string][] = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
  expect(versions.length).toBeGreaterThan(3);
  expect(versions.filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))).toEqual([]);
});

test.each([
  "const x = 1;",
  "// Says nothing.\nconst x = 1;",
  "const x = 1;\n/** Late. */",
  "/** lease machine */",
  "/** */",
  "",
])("finds the planted opening: %j", (text) => expect(openingProblems(parseSource("infra/a.ts", text))).toHaveLength(1));

test.each([
  "/** The lease machine. */",
  "#!/usr/bin/env node\n/**\n * Runs the mesh.\n */\nf();",
  "/** `x` is what it is. */",
])("lets the opening through: %j", (text) => expect(openingProblems(parseSource("infra/a.ts", text))).toEqual([]));

test.each(["// TODO: later", "/* FIXME #12 */", "f(); // see TODO\n"])("finds the planted note: %j", (text) => {
  expect(noteProblems(parseSource("infra/a.ts", text))).toHaveLength(1);
});

test.each(["// TODO #12: later", "// TODO (DECISIONS 4)", 'const todo = "TODO";'])(
  "lets the note through: %j",
  (text) => {
    expect(noteProblems(parseSource("infra/a.ts", text))).toEqual([]);
  },
);

test.each([
  `cd /${"work"}/main`,
  'const x = "/Users/me";',
  "/home/me/x",
  `https://registry.${"npmjs"}.org/zod`,
  `deb.${"debian"}.org`,
])("finds the planted trace: %s", (text) => expect(traceProblems({ path: "a.md", text })).toHaveLength(1));

test.each([
  `see docs/${"work"}/plan.md`,
  "a framework/ folder",
  `https://example.org/${"work"}/x`,
  "/tmp/x",
  `/${"home"}/node/app`,
])("lets the text through: %s", (text) => expect(traceProblems({ path: "a.md", text })).toEqual([]));
