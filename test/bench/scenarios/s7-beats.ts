/** S7: what it costs to keep many running items alive, each by one beat per second. */
import { setTimeout as pause } from "node:timers/promises";
import { fill, supplyOf } from "../loads.ts";
import { amount, type LoadScenario } from "./scenario.ts";

const BEAT_MS = 1_000;
/** How long handlers may take to start. ms. */
const START_MS_MAX = 60_000;

export const s7: LoadScenario = {
  kind: "load",
  name: "S7",
  title: "keep items alive: processor time of all sides per 1,000 beats",
  unit: "ms",
  better: "less",
  sizes: { small: { held: 20, seconds: 1 }, full: { held: 1_000, seconds: 20 } },
  unfit: ({ abilities }) => (abilities.beat ? undefined : "its workers send no beats"),
  settings: () => ({ leaseMs: BEAT_MS * 3, beatMs: BEAT_MS }),
  load: async ({ client, items, meter, amounts, peer }) => {
    const held = amount(amounts, "held");
    const seconds = amount(amounts, "seconds");
    await fill(client, items, supplyOf(held), { ...peer.drive, inFlight: Math.min(peer.drive.inFlight, held) });
    const [gate, full] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let failures = 0;
    const tooLate = setTimeout(() => full.reject(new Error(`${items.seen} of ${held} items started`)), START_MS_MAX);
    const working = await client.work?.({
      concurrency: held,
      handler: (body) => {
        items.see(body);
        if (items.seen === held) full.resolve();
        return gate.promise;
      },
      settled: () => {},
      failed: () => {
        failures += 1;
      },
    });
    await full.promise;
    clearTimeout(tooLate);
    const beats = held * seconds;
    const {
      cpuMs = {},
      bytesWritten,
      elapsedMs,
    } = await meter.rate(async () => {
      await pause(seconds * 1_000);
      return beats;
    });
    gate.resolve();
    await working?.stop();
    const value = Object.values(cpuMs).reduce((sum, ms) => sum + ms, 0);
    return {
      "": {
        ...{ value: Math.round(value * 100) / 100, items: beats, cpuMs, more: { failures, lost: items.doubles } },
        ...(bytesWritten === undefined || elapsedMs === undefined ? {} : { bytesWritten, elapsedMs }),
      },
    };
  },
};
