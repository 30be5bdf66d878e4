/** What is written from the code must be what the code says now, and what the documents tell people to type must exist. */
import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { staleDocs } from "../../infra/docs.ts";
import { schemaFiles, staleSchemas } from "../../infra/schemas.ts";

const ROOT = join(import.meta.dirname, "../..");

test("the JSON Schemas are those of the contracts (else: npm run schemas)", () => {
  expect(schemaFiles().size).toBeGreaterThan(40);
  expect(staleSchemas()).toEqual([]);
});

test("the reference documents are what the code says (else: npm run docs)", () => {
  expect(staleDocs()).toEqual([]);
});

test("every schema of a request refuses fields that it does not name, and every reply lets them through", () => {
  for (const [name, text] of schemaFiles()) {
    const { additionalProperties } = JSON.parse(text);
    if (name.startsWith("requests/")) expect([name, additionalProperties]).toEqual([name, false]);
    if (name.startsWith("replies/")) expect([name, additionalProperties]).not.toEqual([name, false]);
  }
});

interface CommandLine {
  readonly place: string;
  readonly words: readonly string[];
}

/** The lines of `sh` blocks, without comments, output and pipes. */
function commandLines(): readonly CommandLine[] {
  return globSync(["*.md", "docs/**/*.md"], { cwd: ROOT }).flatMap((file) => {
    const blocks = readFileSync(join(ROOT, file), "utf8").matchAll(/^```(?:sh|bash)\n(.*?)^```/gms);
    return [...blocks].flatMap(([, block = ""]) =>
      block
        .replaceAll("\\\n", " ")
        .split("\n")
        .flatMap((line) => line.replace(/(^|\s)#.*$/, "").split(/&&|\||;/))
        .map((part) => ({ place: file, words: part.trim().split(/\s+/) })),
    );
  });
}

const scripts: Record<string, string> = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")).scripts;

test("every npm script and every file that a document starts exists", () => {
  const missing = commandLines().flatMap(({ place, words }) => {
    const [program, ...rest] = words;
    const plain = rest.filter((word) => !word.startsWith("-"));
    if (program === "npm" && plain[0] === "run" && !Object.hasOwn(scripts, plain[1] ?? ""))
      return [`${place}: ${words.join(" ")}`];
    if (program === "npm" && ["start", "test"].includes(plain[0] ?? "") && !Object.hasOwn(scripts, plain[0] ?? ""))
      return [`${place}: ${words.join(" ")}`];
    if (program === "node" && !existsSync(join(ROOT, plain[0] ?? ""))) return [`${place}: ${words.join(" ")}`];
    return [];
  });
  expect(missing).toEqual([]);
});

test("every omnirelay command and option that a document names exists", () => {
  const help = readFileSync(join(ROOT, "docs/cli.md"), "utf8");
  const sections = new Map(help.split(/^## omnirelay ?/m).map((text) => [text.slice(0, text.indexOf("\n")), text]));
  const wrong = commandLines().flatMap(({ place, words }) => {
    const start =
      words[0] === "omnirelay" ? 1 : words.includes("omnirelay") && words[0] === "npm" ? words.indexOf("--") + 1 : 0;
    if (start === 0) return [];
    const rest = words.slice(start);
    const name = [3, 2, 1].map((length) => rest.slice(0, length).join(" ")).find((words) => sections.has(words));
    if (name === undefined) return [`${place}: ${words.join(" ")}`];
    if (name === "up") return []; // its flags are the mesh's
    const unknown = rest
      .filter((word) => /^--[a-z]/.test(word))
      .filter((word) => !sections.get(name)?.includes(`${word.replace(/=.*$/, "")} `));
    return unknown.map((option) => `${place}: ${words.join(" ")}: no option ${option}`);
  });
  expect(wrong).toEqual([]);
});
