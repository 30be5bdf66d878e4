/** S14: whether an item costs the same when there are many: processor time of all sides for each, from its enqueue to its end, by how many are enqueued and then drained. */
import { drainRest, fill, supplyFor, supplyOf, warmUp } from "../loads.ts";
import { amount, type Cases, type LoadScenario, notAQueue } from "./scenario.ts";

export const s14: LoadScenario = {
  kind: "load",
  name: "S14",
  title: "cost by amount: processor time of all sides per item, of so many that are enqueued and then drained",
  unit: "µs",
  better: "less",
  // Each ten times the one before, from `itemsMin` to `itemsMax`. `itemsTotal`: fewer are repeated until they are as many, because processor time is counted in steps of 10 ms.
  sizes: {
    small: { warmUpSeconds: 0.02, itemsMin: 100, itemsMax: 1_000, itemsTotal: 200 },
    full: { warmUpSeconds: 3, itemsMin: 10_000, itemsMax: 1_000_000, itemsTotal: 100_000 },
  },
  runsMax: 3,
  unfit: notAQueue,
  load: async ({ client, items, meter, amounts, peer, report }) => {
    await warmUp(client, items, supplyFor(amount(amounts, "warmUpSeconds")), peer.drive);
    const cases: Record<string, Cases[string]> = {};
    for (let count = amount(amounts, "itemsMin"); count <= amount(amounts, "itemsMax"); count *= 10) {
      const times = Math.max(1, Math.ceil(amount(amounts, "itemsTotal") / count));
      const figures = await meter.rate(async () => {
        for (let time = 0; time < times; time += 1) {
          await fill(client, items, supplyOf(count), peer.drive);
          await drainRest(client, items, peer.drive);
        }
        return count * times;
      });
      // ms per 1,000 items are µs per item.
      const micros = Object.values(figures.cpuMs ?? {}).reduce((sum, ms) => sum + ms, 0);
      report(`${peer.name}: ${count} items at ${figures.value} items/s`);
      cases[`${count} items`] = { ...figures, value: Math.round(micros * 10) / 10, more: { rate: figures.value } };
    }
    return cases;
  },
};
