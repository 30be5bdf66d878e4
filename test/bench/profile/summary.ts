/** Turns what a probe has measured into lines: by function, by file and by area, per item. */
import type { HeapProfiler, Profiler, Runtime } from "node:inspector/promises";

export interface ProbeQuestion {
  readonly probe: "begin" | "end";
  readonly what: "figures" | "cpu" | "heap";
}
export interface ProbeAnswer {
  readonly gc?: {
    readonly minorMs: number;
    readonly majorMs: number;
    readonly count: number;
    readonly longestMs: number;
  };
  /** Part of the time in which the event loop did not wait for anything. */
  readonly busyShare?: number;
  /** How late the event loop came to its timers. ms. */
  readonly delayMs?: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly cpu?: Profiler.Profile;
  readonly heap?: HeapProfiler.SamplingHeapProfile;
}

/** `perItem`: µs or bytes. `share`: of the whole, idle time left out. */
export interface Line {
  readonly name: string;
  readonly perItem: number;
  readonly share: number;
}
export interface Summary {
  readonly perItem: number;
  readonly functions: readonly Line[];
  readonly files: readonly Line[];
  readonly areas: readonly Line[];
}

/** Self time of each function, without the time of starting the profiler. µs per item. */
export function summarizeCpu(profile: Profiler.Profile, checkout: string, items: number, top: number): Summary {
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
  const sums = new Sums(checkout);
  for (const [index, id] of (profile.samples ?? []).entries()) {
    const frame = frames.get(id);
    if (frame !== undefined && frame.functionName !== "(idle)" && frame.url !== "node:inspector")
      sums.add(frame, profile.timeDeltas?.[index] ?? 0);
  }
  return sums.summary(items, top);
}

/** What each function itself has allocated, whether collected or not. Bytes per item. */
export function summarizeHeap(
  { head }: HeapProfiler.SamplingHeapProfile,
  checkout: string,
  items: number,
  top: number,
): Summary {
  const sums = new Sums(checkout);
  const open = [head];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (node.selfSize > 0) sums.add(node.callFrame, node.selfSize);
    open.push(...node.children);
  }
  return sums.summary(items, top);
}

class Sums {
  readonly #checkout: string;
  readonly #functions = new Map<string, number>();
  readonly #files = new Map<string, number>();
  readonly #areas = new Map<string, number>();
  #all = 0;

  constructor(checkout: string) {
    this.#checkout = checkout;
  }

  add({ functionName, url, lineNumber }: Runtime.CallFrame, amount: number): void {
    const file = fileOf(url, this.#checkout);
    const name = functionName === "" ? "(anonymous)" : functionName;
    this.#all += amount;
    addTo(this.#functions, file === "" ? name : `${name} ${file}:${lineNumber + 1}`, amount);
    addTo(this.#files, file === "" ? name : file, amount);
    addTo(this.#areas, file === "" ? areaOfEngine(name) : areaOf(file), amount);
  }

  summary(items: number, top: number): Summary {
    const lines = (sums: ReadonlyMap<string, number>): Line[] =>
      [...sums]
        .sort(([, left], [, right]) => right - left)
        .map(([name, amount]) => ({ name, perItem: amount / items, share: amount / this.#all }));
    return {
      perItem: this.#all / items,
      functions: lines(this.#functions).slice(0, top),
      files: lines(this.#files).slice(0, top),
      areas: lines(this.#areas),
    };
  }
}

function addTo(sums: Map<string, number>, name: string, amount: number): void {
  sums.set(name, (sums.get(name) ?? 0) + amount);
}

/** A file as it is named within its checkout or its package; empty for what has none: the engine itself and its built-ins. */
function fileOf(url: string, checkout: string): string {
  const path = url.replace(/^file:\/\//, "");
  const inPackage = /.*\/node_modules\/(.*)$/.exec(path)?.[1];
  if (inPackage !== undefined) return inPackage;
  return path.startsWith(`${checkout}/`) ? path.slice(checkout.length + 1) : path;
}

/** `services/core`, `contracts`, `@nats-io/nats-core`, `node`. */
function areaOf(file: string): string {
  if (file.startsWith("node:")) return "node";
  const parts = file.split("/");
  const depth = parts[0] === "services" || parts[0] === "test" || file.startsWith("@") ? 2 : 1;
  return parts.slice(0, depth).join("/");
}

const areaOfEngine = (name: string): string =>
  name === "(garbage collector)" || name === "(program)" ? name : "engine built-ins";
