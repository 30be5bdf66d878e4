/** S12: a worker stands still for three times its lease, its items go to another, and then it goes on: how many of its late completions are taken. */
import { setTimeout as pause } from "node:timers/promises";
import { amount, type DirectScenario } from "./scenario.ts";

const LEASES_ASLEEP = 3;

export const s12: DirectScenario = {
  kind: "direct",
  name: "S12",
  title: "zombie: late completions that are taken although another worker has the item",
  unit: "items",
  better: "less",
  sizes: {
    small: { items: 4, leaseMs: 1_000, boundMs: 20_000 },
    full: { items: 16, leaseMs: 10_000, boundMs: 120_000 },
  },
  runsMax: 3,
  unfit: ({ abilities, worth }) => {
    if (!abilities.recovery) return "its items stay with a worker that stands still";
    return worth.complete.startsWith("nothing") ? "it confirms no completion, so that none can be counted" : undefined;
  },
  direct: async ({ actor, amounts }) => {
    const [count, leaseMs, boundMs] = [
      amount(amounts, "items"),
      amount(amounts, "leaseMs"),
      amount(amounts, "boundMs"),
    ];
    const zombie = await actor({ leaseMs });
    const heir = await actor({ leaseMs });
    await zombie.tell({ order: "enqueue", from: 0, count });
    await zombie.tell({ order: "work", concurrency: count, isHeld: true });
    if (!(await zombie.until(() => zombie.started.size >= count, boundMs)))
      throw new Error(`only ${zombie.started.size} of ${count} handlers started`);
    zombie.signal("SIGSTOP");
    await heir.tell({ order: "work", concurrency: count, isHeld: true });
    await pause(leaseMs * LEASES_ASLEEP);
    // Those that never went to the other worker cannot be completed late; they are told.
    await heir.until(() => heir.started.size >= count, boundMs);
    const notMoved = count - heir.started.size;
    zombie.signal("SIGCONT");
    await zombie.tell({ order: "letGo" });
    await zombie.tell({ order: "stopWork" });
    const taken = [...zombie.counts.settled.keys()].filter((number) => heir.started.has(number)).length;
    await heir.tell({ order: "letGo" });
    await heir.until(() => heir.counts.settled.size >= count, leaseMs);
    await heir.tell({ order: "stopWork" });
    return { "": { value: taken, items: count, more: { notMoved, settledByHeir: heir.counts.settled.size } } };
  },
};
