/** Finds what a file depends on, hidden ways included: shared by the layer rule and the purity rule. */
import { dirname, join, normalize } from "node:path";
import { type SourceFile, walk } from "./source-tree.ts";

export interface Dependency {
  /** As written in the file. */
  readonly specifier: string;
  /** Path from the root when the specifier is relative; null for packages and Node's own modules. */
  readonly path: string | null;
  /** True when nothing is left of it at run time. */
  readonly isTypeOnly: boolean;
  /** Imported names; `*` for a namespace, `default` for the default export. */
  readonly names: readonly string[];
  readonly line: number;
}

/** Everything that a file names in `import`, `export from` and `import("...")` types. */
export function dependenciesOf(file: SourceFile): Dependency[] {
  const found: Dependency[] = [];
  const add = (specifier: string, isTypeOnly: boolean, names: readonly string[], start: number): void => {
    const path = specifier.startsWith(".") ? normalize(join(dirname(file.path), specifier)) : null;
    found.push({ specifier, path, isTypeOnly, names, line: file.lineOf(start) });
  };
  walk(file.program, (node) => {
    if (node.type === "ImportDeclaration") {
      const specifiers: { type: string; importKind?: string; imported?: { name: string } }[] = node["specifiers"];
      const names = specifiers.map(
        (s) => s.imported?.name ?? (s.type === "ImportNamespaceSpecifier" ? "*" : "default"),
      );
      const isTypeOnly =
        node["importKind"] === "type" || (specifiers.length > 0 && specifiers.every((s) => s.importKind === "type"));
      add(node["source"].value, isTypeOnly, names, node.start);
    }
    if (node.type === "ExportAllDeclaration")
      add(node["source"].value, node["exportKind"] === "type", ["*"], node.start);
    if (node.type === "ExportNamedDeclaration" && node["source"]) {
      const specifiers: { exportKind?: string; local: { name: string } }[] = node["specifiers"];
      const isTypeOnly =
        node["exportKind"] === "type" || (specifiers.length > 0 && specifiers.every((s) => s.exportKind === "type"));
      const names = specifiers.map((s) => s.local.name);
      add(node["source"].value, isTypeOnly, names, node.start);
    }
    // Code that is loaded when it is needed is a dependency like any other.
    if (node.type === "ImportExpression" && typeof node["source"]?.value === "string")
      add(node["source"].value, false, ["*"], node.start);
    if (node.type === "TSImportType") add(node["source"]?.value ?? "", true, ["*"], node.start);
  });
  return found;
}

/** Loads what a user names, which is no dependency of ours. */
const LOADS_MODULES_OF_USERS = "services/replicator/sink-modules.ts";

/** The ways to load code that the layer table would not see. `import("...")` in a type is none: it is checked like an import. */
export function hiddenDependencyProblems(file: SourceFile): string[] {
  const problems: string[] = [];
  if (file.path === LOADS_MODULES_OF_USERS) return problems;
  walk(file.program, (node) => {
    const at = `${file.path}:${file.lineOf(node.start)}`;
    if (node.type === "ImportExpression" && typeof node["source"]?.value !== "string")
      problems.push(`${at} import() hides a dependency`);
    if (node.type === "CallExpression" && /^(require|createRequire)$/.test(node["callee"].name ?? ""))
      problems.push(`${at} ${node["callee"].name}() hides a dependency`);
  });
  for (const { specifier, line } of dependenciesOf(file))
    if (/^(omnirelay(\/|$)|#)/.test(specifier))
      problems.push(`${file.path}:${line} ${specifier} hides a path: import the file`);
  return problems;
}
