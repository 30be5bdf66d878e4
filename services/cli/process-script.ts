/** Finds the script of another process beside this one: `.ts` in a clone, `.js` in the package. */
import { extname } from "node:path";
import { fileURLToPath } from "node:url";

export function processScript(name: "mesh" | "dispatcher"): string {
  return fileURLToPath(new URL(`../${name}/main${extname(import.meta.url)}`, import.meta.url));
}
