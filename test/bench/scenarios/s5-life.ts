/** S5: the life of an item, enqueued, leased and completed, with producers and workers at once and each peer driven as it is fastest. */
import { life, measuredLife, supplyFor, warmUp } from "../loads.ts";
import { amount, type LoadScenario } from "./scenario.ts";

export const s5: LoadScenario = {
  kind: "load",
  name: "S5",
  title: "life of an item: enqueue, lease, complete",
  unit: "items/s",
  better: "more",
  sizes: { small: { warmUpSeconds: 0.05, seconds: 0.15 }, full: { warmUpSeconds: 3, seconds: 10 } },
  load: async ({ client, items, meter, amounts, peer }) => {
    await warmUp(client, items, supplyFor(amount(amounts, "warmUpSeconds")), peer.drive);
    const supply = supplyFor(amount(amounts, "seconds"));
    const { figures } = await measuredLife(meter, () => life(client, items, supply, peer.drive));
    return { "": figures };
  },
};
