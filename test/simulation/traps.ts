/** Takes away what would make two runs of one seed differ: real clocks, real chance and real timers throw while the simulation runs. */

type Holder = Record<string, unknown>;

const TRAPPED: readonly (readonly [Holder, string])[] = [
  [Date as unknown as Holder, "now"],
  [Math as unknown as Holder, "random"],
  [performance as unknown as Holder, "now"],
  [globalThis as unknown as Holder, "setTimeout"],
  [globalThis as unknown as Holder, "setInterval"],
  [globalThis as unknown as Holder, "setImmediate"],
  [globalThis as unknown as Holder, "queueMicrotask"],
  [globalThis as unknown as Holder, "fetch"],
];

/** Runs code that may touch nothing real. */
export function trapped<T>(run: () => T): T {
  const originals = TRAPPED.map(([holder, name]) => holder[name]);
  for (const [holder, name] of TRAPPED)
    holder[name] = () => {
      throw new Error(`${name} was called inside the simulation`);
    };
  try {
    return run();
  } finally {
    for (const [index, [holder, name]] of TRAPPED.entries()) holder[name] = originals[index];
  }
}
