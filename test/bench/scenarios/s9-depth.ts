/** S9: whether a queue that holds many items is slower than one that holds few: throughput, lease latency and memory by depth, and what each item costs to put there. */

import { driveAtDepth, lifeAtDepth } from "../depth.ts";
import type { Items } from "../items.ts";
import { Drain, drainRest, fill, measuredLife, supplyFor, supplyOf, warmUp } from "../loads.ts";
import { percentiles } from "../machine.ts";
import type { PeerClient } from "../peers/peer.ts";
import { amount, type Cases, type LoadScenario, notAQueue } from "./scenario.ts";

/** Each ten times the one before, up to `depthMax`. */
const DEPTH_MIN = 1_000;

export const s9: LoadScenario = {
  kind: "load",
  name: "S9",
  title: "life of an item in a queue that holds many",
  unit: "items/s",
  better: "more",
  sizes: {
    small: { warmUpSeconds: 0.02, depthMax: 1_000, seconds: 0.1, leases: 10 },
    full: { warmUpSeconds: 3, depthMax: 1_000_000, seconds: 10, leases: 1_000 },
  },
  runsMax: 3,
  unfit: notAQueue,
  load: async (run) => {
    const { client, items, meter, amounts, peer, report } = run;
    const { drive } = peer;
    await warmUp(client, items, supplyFor(amount(amounts, "warmUpSeconds")), drive);
    const cases: Record<string, Cases[string]> = {};
    for (let depth = DEPTH_MIN; depth <= amount(amounts, "depthMax"); depth *= 10) {
      const filled = await meter.rate(() =>
        fill(client, items, supplyOf(Math.max(0, depth - (items.made - items.seen))), drive),
      );
      report(`${peer.name} holds ${depth} items, filled at ${filled.value} items/s`);
      const supply = supplyFor(amount(amounts, "seconds"));
      const held = driveAtDepth(drive);
      const { figures, lived } = await measuredLife(meter, () => lifeAtDepth(client, items, supply, held, depth));
      // When the producers had ended the worker took some more.
      await fill(client, items, supplyOf(Math.max(0, depth - (items.made - items.seen))), drive);
      // Starts that come from the worker's own memory would say nothing about the queue.
      const latencyMs = peer.ahead === undefined ? await oneByOne(client, items, amount(amounts, "leases")) : undefined;
      const cpu = Object.values(filled.cpuMs ?? {}).reduce((sum, ms) => sum + ms, 0);
      const rss = Object.entries(meter.rssMib()).map(([name, mib]) => [`rssMib ${name}`, mib] as const);
      const more = {
        ...{ waitingMin: lived.least, waitingMax: lived.most },
        ...(peer.ahead === undefined ? {} : { takenAhead: peer.ahead }),
        ...{ fillRate: filled.value, fillMicrosPerItem: Math.round(cpu), ...Object.fromEntries(rss) },
      };
      cases[`depth ${depth}`] = { ...figures, ...(latencyMs === undefined ? {} : { latencyMs }), more };
    }
    // Every item must come out, and what that takes shows whether the cost grows with the depth.
    const left = items.made - items.seen;
    const drained = await meter.rate(async () => {
      await drainRest(client, items, drive);
      return left;
    });
    cases["drain of the rest"] = drained;
    return cases;
  },
};

/** Between the starts of the handlers of one worker that works on one item at a time: lease, start, settle, at that depth. */
async function oneByOne(client: PeerClient, items: Items, count: number) {
  const starts: number[] = [];
  const drain = await new Drain(items, () => {
    starts.push(performance.now());
  }).start(client, 1);
  await drain.until(count);
  await drain.stop();
  return percentiles(starts.slice(1).map((ms, index) => ms - (starts[index] ?? 0)));
}
