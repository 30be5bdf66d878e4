/** S4: how fast a queue that is full already is drained by 1, 16 and 64 handlers that do nothing. */
import type { Items } from "../items.ts";
import { Drain, drainRest, fill, supplyOf, warmUp } from "../loads.ts";
import type { PeerClient } from "../peers/peer.ts";
import { amount, type Cases, type LoadScenario, notAQueue } from "./scenario.ts";

const CONCURRENCIES = [1, 16, 64];

export const s4: LoadScenario = {
  kind: "load",
  name: "S4",
  title: "drain a full queue",
  unit: "items/s",
  better: "more",
  // `itemsMin` are in the queue at the start of each window; as many as are drained in it when those are more, up to `itemsMax`.
  sizes: {
    small: { warmUp: 50, itemsMin: 200, itemsMax: 400, probe: 20, seconds: 0.05 },
    full: { warmUp: 10_000, itemsMin: 50_000, itemsMax: 500_000, probe: 1_000, seconds: 10 },
  },
  unfit: notAQueue,
  load: async ({ client, items, meter, amounts, peer }) => {
    await warmUp(client, items, supplyOf(amount(amounts, "warmUp")), peer.drive);
    const refill = (depth: number) =>
      fill(client, items, supplyOf(Math.max(0, depth - (items.made - items.seen))), peer.drive);
    const itemsMin = amount(amounts, "itemsMin");
    const cases: Record<string, Cases[string]> = {};
    for (const concurrency of CONCURRENCIES) {
      await refill(itemsMin);
      const rate = await probe(client, items, concurrency, amount(amounts, "probe"));
      const count = Math.ceil(Math.min(rate * amount(amounts, "seconds"), amount(amounts, "itemsMax")));
      await refill(Math.max(itemsMin, count));
      const drain = new Drain(items);
      cases[`C=${concurrency}`] = await meter.rate(async () => {
        await drain.start(client, concurrency);
        await drain.until(count);
        return count;
      });
      await drain.stop();
    }
    // Not measured: every item must come out.
    await drainRest(client, items, peer.drive);
    return cases;
  },
};

/** How fast so many handlers are, from a few items. Items/s. */
async function probe(client: PeerClient, items: Items, concurrency: number, count: number): Promise<number> {
  const startMs = performance.now();
  const drain = await new Drain(items).start(client, concurrency);
  await drain.until(count);
  const rate = (count * 1_000) / (performance.now() - startMs);
  await drain.stop();
  return rate;
}
