/** S10: a worker is killed in the middle of its items: how long until others have them, and whether one is lost or done twice. */
import type { PeerSettings } from "../peers/peer.ts";
import { amount, type Cases, type DirectRun, type DirectScenario } from "./scenario.ts";

export const s10: DirectScenario = {
  kind: "direct",
  name: "S10",
  title: "worker killed: time until its last item has started elsewhere",
  unit: "ms",
  better: "less",
  sizes: {
    small: { items: 24, concurrency: 4, leaseMs: 1_000, boundMs: 20_000, withShipped: 0 },
    full: { items: 400, concurrency: 16, leaseMs: 10_000, boundMs: 180_000, withShipped: 1 },
  },
  runsMax: 3,
  unfit: ({ abilities }) =>
    abilities.recovery ? undefined : "an item of a worker that is gone comes back after hours, whatever the settings",
  direct: async (run) => {
    const leaseMs = amount(run.amounts, "leaseMs");
    const cases: Record<string, Cases[string]> = { "equal settings": await kill(run, { leaseMs }, 0) };
    if (amount(run.amounts, "withShipped") > 0) cases["as shipped"] = await kill(run, {}, amount(run.amounts, "items"));
    return cases;
  },
};

async function kill(run: DirectRun, settings: PeerSettings, from: number): Promise<Cases[string]> {
  const { amounts } = run;
  const [count, concurrency, boundMs] = ["items", "concurrency", "boundMs"].map((name) => amount(amounts, name));
  const victim = await run.actor(settings);
  const heir = await run.actor(settings);
  await victim.tell({ order: "enqueue", from, count: count ?? 0 });
  await victim.tell({ order: "work", concurrency: concurrency ?? 0, isHeld: true });
  if (!(await victim.until(() => victim.started.size >= (concurrency ?? 0), boundMs ?? 0)))
    throw new Error(`only ${victim.started.size} of ${concurrency} handlers started`);
  await heir.tell({ order: "work", concurrency: concurrency ?? 0, isHeld: false });
  const orphans = [...victim.started.keys()];
  victim.signal("SIGKILL");
  const killedMs = performance.now();
  await heir.until(() => heir.counts.settled.size >= (count ?? 0), boundMs ?? 0);
  await heir.tell({ order: "stopWork" });
  const waits = orphans.map((number) => (heir.started.get(number) ?? Number.POSITIVE_INFINITY) - killedMs);
  const back = waits.filter(Number.isFinite);
  const doubles = [...heir.counts.settled.values()].filter((times) => times > 1).length;
  await heir.end();
  return {
    // One that did not come back within the bound counts as the bound.
    value: Math.round(Math.max(...back, back.length < waits.length ? (boundMs ?? 0) : 0)),
    items: count ?? 0,
    more: {
      held: orphans.length,
      notBack: waits.length - back.length,
      notDone: (count ?? 0) - heir.counts.settled.size,
      doubles,
    },
  };
}
