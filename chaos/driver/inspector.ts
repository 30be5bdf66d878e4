/** Keeps a process of a run from its event loop: wakes its inspector by SIGUSR1 and has it count until the time is over, as a handler gone wrong would. */
import type { DrillProcess } from "./drill-process.ts";

/** How long a woken inspector may take to say where it listens. ms. */
const WAKE_MS = 5_000;
/** How much longer than the block itself its answer may take. ms. */
const ANSWER_MS = 10_000;

/** Where the inspector of a life listens: it says so only once. */
const addresses: WeakMap<DrillProcess, { readonly life: number; readonly url: string }> = new WeakMap();

/** Answers for how long the loop stood still by the process's own clock, ms. Throws when the inspector cannot be had. */
export async function blockEventLoop(process: DrillProcess, ms: number): Promise<number> {
  const socket = new WebSocket(await addressOf(process));
  try {
    return await new Promise<number>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`the inspector of ${process.name} does not answer`)),
        ms + ANSWER_MS,
      );
      socket.onopen = () => socket.send(JSON.stringify(evaluation(ms)));
      socket.onerror = () => reject(new Error(`the inspector of ${process.name} cannot be reached`));
      socket.onmessage = ({ data }) => {
        clearTimeout(timer);
        const answer = JSON.parse(String(data)) as {
          readonly result?: { readonly result?: { readonly value?: number } };
        };
        resolve(answer.result?.result?.value ?? 0);
      };
    });
  } finally {
    socket.close();
  }
}

function evaluation(ms: number): object {
  const expression = `(() => { const start = performance.now(); while (performance.now() - start < ${ms}); return performance.now() - start; })()`;
  return { id: 1, method: "Runtime.evaluate", params: { expression } };
}

async function addressOf(process: DrillProcess): Promise<string> {
  const known = addresses.get(process);
  if (known?.life === process.lives) return known.url;
  const line = process.written(/Debugger listening on (ws:\S+)/, WAKE_MS);
  process.signal("SIGUSR1");
  const url = (await line)?.[1];
  if (url === undefined) throw new Error(`${process.name} did not open its inspector`);
  addresses.set(process, { life: process.lives, url });
  return url;
}
