/** S4: how fast a queue that is full already is drained by 1, 16 and 64 handlers that do nothing. */
import { Drain, fill, supplyOf, warmUp } from "../loads.ts";
import { amount, type Cases, type LoadScenario, notAQueue } from "./scenario.ts";

const CONCURRENCIES = [1, 16, 64];
/** With one handler a peer is slow: fewer items say as much. */
const SHARE_OF_ONE = 0.1;

export const s4: LoadScenario = {
  kind: "load",
  name: "S4",
  title: "drain a full queue",
  unit: "items/s",
  better: "more",
  sizes: { small: { warmUp: 50, items: 200 }, full: { warmUp: 10_000, items: 50_000 } },
  unfit: notAQueue,
  load: async ({ client, items, meter, amounts, peer }) => {
    await warmUp(client, items, supplyOf(amount(amounts, "warmUp")), peer.drive);
    const cases: Record<string, Cases[string]> = {};
    for (const concurrency of CONCURRENCIES) {
      const count = Math.ceil(amount(amounts, "items") * (concurrency === 1 ? SHARE_OF_ONE : 1));
      await fill(client, items, supplyOf(count), peer.drive);
      let drain: Drain | undefined;
      cases[`C=${concurrency}`] = await meter.rate(async () => {
        drain = await new Drain(items).start(client, concurrency);
        await drain.until(count);
        return count;
      });
      await drain?.stop();
    }
    return cases;
  },
};
