/** S13: half of a peer's capacity for a long time: whether memory, files and latency stay what they were. */
import { life, openLoop, supplyFor, warmUp } from "../loads.ts";
import { percentiles } from "../machine.ts";
import { amount, type LoadScenario, notAQueue } from "./scenario.ts";

/** Every latency is kept: at 5,000 items/s half an hour takes 9 million of them. */
const SHARE = 0.5;
const SAMPLES = 20;

export const s13: LoadScenario = {
  kind: "load",
  name: "S13",
  title: "soak at half of capacity, 5,000 items/s at most: p99 of the last quarter by that of the first",
  unit: "times",
  better: "less",
  sizes: {
    small: { warmUpSeconds: 0.05, capacitySeconds: 0.2, minutes: 0.01, rateMax: 5_000 },
    full: { warmUpSeconds: 5, capacitySeconds: 10, minutes: 30, rateMax: 5_000 },
  },
  runsMax: 1,
  unfit: notAQueue,
  load: async ({ client, items, meter, amounts, peer, seed, report }) => {
    await warmUp(client, items, supplyFor(amount(amounts, "warmUpSeconds")), peer.drive);
    const startMs = performance.now();
    const { count, stop } = await life(client, items, supplyFor(amount(amounts, "capacitySeconds")), peer.drive);
    const capacity = (count * 1_000) / (performance.now() - startMs);
    await stop();
    const rate = Math.min(capacity * SHARE, amount(amounts, "rateMax"));
    const seconds = amount(amounts, "minutes") * 60;
    const samples: { rss: number; folder: number }[] = [];
    const sample = (): void => {
      const rss = Object.values(meter.rssMib()).reduce((sum, mib) => sum + mib, 0);
      samples.push({ rss, folder: meter.folderMib() });
      report(`${peer.name}: ${Math.round(rate)} items/s, servers ${rss} MiB, files ${samples.at(-1)?.folder} MiB`);
    };
    const timer = setInterval(sample, (seconds * 1_000) / SAMPLES);
    const { latencies, latencyMs, backlog } = await openLoop(client, items, { rate, seconds, seed, drive: peer.drive });
    clearInterval(timer);
    sample();
    const quarter = Math.floor(latencies.length / 4);
    const first = percentiles(latencies.subarray(0, quarter)).p99;
    const last = percentiles(latencies.subarray(-quarter)).p99;
    const part = (from: number, to: number) => samples.slice(samples.length * from, Math.max(1, samples.length * to));
    const top = (some: typeof samples, of: "rss" | "folder"): number => Math.max(...some.map((one) => one[of]));
    const more = {
      ...{ rate: Math.round(rate), backlog, p99MsFirstQuarter: first, p99MsLastQuarter: last },
      ...{ rssMibFirstHalf: top(part(0, 0.5), "rss"), rssMibSecondHalf: top(part(0.5, 1), "rss") },
      ...{ folderMibFirstHalf: top(part(0, 0.5), "folder"), folderMibSecondHalf: top(part(0.5, 1), "folder") },
    };
    return { "": { value: Math.round((last / first) * 100) / 100, items: latencies.length, latencyMs, more } };
  },
};
