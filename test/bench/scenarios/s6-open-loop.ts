/** S6: from when an item is meant to be enqueued until its handler starts, at loads of the peer's own capacity and at 2,000 items/s. */
import { life, openLoop, supplyFor, warmUp } from "../loads.ts";
import type { Figures } from "../meter.ts";
import { amount, type Cases, type LoadRun, type LoadScenario, notAQueue } from "./scenario.ts";

const SHARES = [25, 50, 75];
/** The load that all peers are asked for alike, where they can. Items/s. */
const RATE_COMMON = 2_000;

export const s6: LoadScenario = {
  kind: "load",
  name: "S6",
  title: "open loop: from the time an item is meant for until its handler starts, p99",
  unit: "ms",
  better: "less",
  sizes: {
    small: { warmUpSeconds: 0.05, capacitySeconds: 0.2, seconds: 0.25 },
    full: { warmUpSeconds: 3, capacitySeconds: 5, seconds: 20 },
  },
  unfit: notAQueue,
  load: async (run) => {
    const { client, items, amounts, peer, report } = run;
    await warmUp(client, items, supplyFor(amount(amounts, "warmUpSeconds")), peer.drive);
    const startMs = performance.now();
    const { count, stop } = await life(client, items, supplyFor(amount(amounts, "capacitySeconds")), peer.drive);
    const capacity = (count * 1_000) / (performance.now() - startMs);
    await stop();
    report(`capacity of ${peer.name}: ${Math.round(capacity)} items/s`);
    const cases: Record<string, Cases[string]> = {};
    for (const share of SHARES) cases[`${share}%`] = await at(run, (capacity * share) / 100);
    // Above three quarters of its capacity a peer would only show how its queue grows.
    if (RATE_COMMON <= capacity * 0.75) cases[`${RATE_COMMON}/s`] = await at(run, RATE_COMMON);
    return cases;
  },
};

async function at({ client, items, amounts, peer, seed }: LoadRun, rate: number): Promise<Figures> {
  const load = { rate, seconds: amount(amounts, "seconds"), seed, drive: peer.drive };
  const { latencyMs, latencies, backlog } = await openLoop(client, items, load);
  return {
    value: latencyMs.p99,
    items: latencies.length,
    latencyMs,
    more: { rate: Math.round(rate), backlog },
  };
}
