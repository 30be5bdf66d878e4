/** S8: how late items start that are due at their own times. By the wall clock, as the servers count: it may go faster or slower than the other one. */

import { Drain, randomOf } from "../loads.ts";
import { percentiles } from "../machine.ts";
import { amount, type LoadScenario } from "./scenario.ts";

const BATCH = 100;
/** Between the last enqueue and the first item that is due, so that none is due before it is in. ms. */
const LEAD_MS = 500;

export const s8: LoadScenario = {
  kind: "load",
  name: "S8",
  title: "delays: how long after it is due an item starts, p99",
  unit: "ms",
  better: "less",
  sizes: {
    small: { items: 100, fillMs: 300, withinMs: 300 },
    full: { items: 10_000, fillMs: 5_000, withinMs: 10_000 },
  },
  unfit: ({ abilities }) => (abilities.delay ? undefined : "it has no delays, or they are measured by another row"),
  load: async ({ client, items, amounts, peer, seed }) => {
    const count = amount(amounts, "items");
    const random = randomOf(seed);
    const firstMs = Date.now() + amount(amounts, "fillMs") + LEAD_MS;
    const due = Float64Array.from({ length: count }, () => firstMs + random() * amount(amounts, "withinMs"));
    for (let from = 0; from < count; from += BATCH) {
      const bodies = items.make(Math.min(BATCH, count - from));
      const nowMs = Date.now();
      const delays = bodies.map((_, index) => Math.max(0, Math.round((due[from + index] ?? 0) - nowMs)));
      // The delay is counted in whole ms from when it is asked for.
      for (const [index, delay] of delays.entries()) due[from + index] = nowMs + delay;
      await client.enqueueDelayed?.(bodies, delays);
    }
    const filledMs = Date.now();
    const late = new Float64Array(count);
    const drain = await new Drain(items, (number) => {
      late[number] = Date.now() - (due[number] ?? 0);
    }).start(client, peer.drive.concurrency);
    await drain.until(count);
    await drain.stop();
    const latencyMs = percentiles(late);
    const early = late.filter((ms) => ms < -1).length;
    const more = { early, filledTooLateMs: Math.max(0, Math.round(filledMs - firstMs)) };
    return { "": { value: latencyMs.p99, items: count, latencyMs, more } };
  },
};
