/** Reads and parses the repository for the tidy tests, so that every rule is a pure function over the same files. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Comment, type EcmaScriptModule, parseSync, visitorKeys } from "oxc-parser";

/** One text file. `path` is relative to the root, with forward slashes. */
export interface TextFile {
  readonly path: string;
  readonly text: string;
}

/** One parsed TypeScript file. */
export interface SourceFile extends TextFile {
  readonly program: SyntaxNode;
  readonly module: EcmaScriptModule;
  readonly comments: readonly Comment[];
  /** 1-based line of a character offset. */
  lineOf(characterOffset: number): number;
}

/** A syntax node, seen generically: the rules look only at the few fields that they name. */
export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  // biome-ignore lint/suspicious/noExplicitAny: a rule reads fields of whichever node type it has just tested for.
  readonly [field: string]: any;
}

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Folders that are made, not written: never tracked. */
const FOLDERS_SKIPPED = new Set(["node_modules", "dist", "coverage", ".git", ".omnirelay"]);
const BINARY = /\.(png|ico|woff2|db|sqlite|tgz|gz|zst|bin)$/;
/** The folders that hold the product's code, as opposed to its tests. */
export const CODE_FOLDERS = /^(contracts|services|infra|chaos)\//;

/** Every text file of the repository. */
export function readTextFiles(): TextFile[] {
  return pathsBelow("")
    .filter((path) => !BINARY.test(path) && !path.endsWith(".log"))
    .map((path) => ({ path, text: readFileSync(join(ROOT, path), "utf8") }));
}

/** Every TypeScript file whose path `isWanted`, parsed. */
export function readSourceFiles(isWanted: RegExp): SourceFile[] {
  return pathsBelow("")
    .filter((path) => path.endsWith(".ts") && isWanted.test(path))
    .map((path) => parseSource(path, readFileSync(join(ROOT, path), "utf8")));
}

/** Parses one file; a rule that judged a half-parsed file would be green for nothing, so an error throws. */
export function parseSource(path: string, text: string): SourceFile {
  const { program, module, comments, errors } = parseSync(path, text);
  if (errors.length > 0) throw new Error(`${path} does not parse: ${errors[0]?.message}`);
  const lineStarts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lineStarts.push(at + 1);
  const lineOf = (characterOffset: number): number => {
    const next = lineStarts.findIndex((start) => start > characterOffset);
    return next < 0 ? lineStarts.length : next;
  };
  return { path, text, program: program as unknown as SyntaxNode, module, comments, lineOf };
}

/** Calls `see` for every node below `node`, parents first; `parent` is the enclosing node and `field` its place in it. */
export function walk(
  node: SyntaxNode,
  see: (node: SyntaxNode, parent: SyntaxNode | null, field: string) => void,
  parent: SyntaxNode | null = null,
  field = "",
): void {
  see(node, parent, field);
  for (const key of visitorKeys[node.type] ?? []) {
    const child = node[key];
    if (Array.isArray(child)) {
      for (const one of child) if (one) walk(one, see, node, key);
    } else if (child) walk(child, see, node, key);
  }
}

function pathsBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) return FOLDERS_SKIPPED.has(entry.name) ? [] : pathsBelow(path);
    return entry.isFile() ? [path] : [];
  });
}
