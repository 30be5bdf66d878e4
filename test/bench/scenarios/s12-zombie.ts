/** S12: a worker stands still until its items have gone to another, and then goes on: how many of its late completions are taken. */
import { amount, type DirectScenario } from "./scenario.ts";

const BEATS_PER_LEASE = 3;

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
    // Both keep their items alive, where the peer can: the heir holds what it took until the zombie is awake.
    const settings = { leaseMs, beatMs: leaseMs / BEATS_PER_LEASE };
    const zombie = await actor(settings);
    const heir = await actor(settings);
    await zombie.tell({ order: "enqueue", from: 0, count });
    await zombie.tell({ order: "work", concurrency: count, isHeld: true });
    if (!(await zombie.until(() => zombie.started.size >= count, boundMs)))
      throw new Error(`only ${zombie.started.size} of ${count} handlers started`);
    zombie.signal("SIGSTOP");
    await heir.tell({ order: "work", concurrency: count, isHeld: true });
    // It wakes at once then: where no beat keeps an item, the other worker has it for one lease only. Those that never went there cannot be
    // completed late; they are told.
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
