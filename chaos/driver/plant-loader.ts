/** Loaded before a dispatcher of a drill: changes the source of one module while it is read. `?plant=` at the end of its own address names the bug. */
import assert from "node:assert/strict";
import { registerHooks } from "node:module";
import { isPlant, PLANTS } from "./plant.ts";

const name = new URL(import.meta.url).searchParams.get("plant") ?? "";
assert(isPlant(name), `there is no plant ${name}`);
const { file, find, replace } = PLANTS[name];
const target = new URL(`../../${file}`, import.meta.url).href;

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (url !== target) return loaded;
    const { source } = loaded;
    const text = typeof source === "string" ? source : new TextDecoder().decode(source as Uint8Array);
    assert.equal(text.split(find).length, 2, `what ${name} replaces must stand in ${file} once`);
    return { ...loaded, source: text.replace(find, () => replace) };
  },
});
