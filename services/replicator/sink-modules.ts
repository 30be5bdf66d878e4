/** Kinds of sinks of third parties: loaded by the path of their module, as the settings say. The only place where code that is not ours comes in. */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { OperatingError } from "../../contracts/errors.ts";
import type { SinkKind, SinkKinds } from "../replication/mod.ts";

/** Throws: OperatingError `sink_module_invalid` (definite). */
export async function withModules(kinds: SinkKinds, files: readonly string[]): Promise<SinkKinds> {
  for (const file of files) {
    let loaded: { readonly sinkKinds?: unknown };
    try {
      loaded = (await import(pathToFileURL(resolve(file)).href)) as typeof loaded;
    } catch (cause) {
      throw invalidModule(file, `cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
    }
    if (!Array.isArray(loaded.sinkKinds)) throw invalidModule(file, "exports no list `sinkKinds`");
    for (const kind of loaded.sinkKinds as readonly SinkKind[]) kinds.register(kind);
  }
  return kinds;
}

const invalidModule = (file: string, what: string, cause?: unknown): OperatingError =>
  new OperatingError("sink_module_invalid", `the module ${file} ${what}`, { definite: true, cause });
