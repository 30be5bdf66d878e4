/** S1 to S3: what it takes to hand items over, one after the other, 64 at once, and in batches of 100. */
import { drainRest, fill, supplyFor } from "../loads.ts";
import type { Drive } from "../peers/peer.ts";
import { amount, type Cases, type LoadRun, type LoadScenario } from "./scenario.ts";

async function enqueue(run: LoadRun, drive: Pick<Drive, "batch" | "inFlight">): Promise<Cases> {
  const { client, items, meter, amounts, peer } = run;
  // The same calls as are measured, so that their code is compiled.
  await fill(client, items, supplyFor(amount(amounts, "warmUpSeconds")), drive);
  const figures = await meter.rate(() => fill(client, items, supplyFor(amount(amounts, "seconds")), drive));
  // Not measured: every item must come out.
  await drainRest(client, items, peer.drive);
  return { "": figures };
}

const base = {
  kind: "load",
  unit: "items/s",
  better: "more",
  sizes: { small: { warmUpSeconds: 0.01, seconds: 0.05 }, full: { warmUpSeconds: 2, seconds: 10 } },
} as const;

export const s1: LoadScenario = {
  ...base,
  name: "S1",
  title: "enqueue, one call after the other",
  load: (run) => enqueue(run, { batch: 1, inFlight: 1 }),
};

export const s2: LoadScenario = {
  ...base,
  name: "S2",
  title: "enqueue, 64 single calls at once",
  load: (run) => enqueue(run, { batch: 1, inFlight: 64 }),
};

export const s3: LoadScenario = {
  ...base,
  name: "S3",
  title: "enqueue in batches of 100, 8 at once",
  unfit: ({ name }) =>
    name.endsWith("-raw") || name.startsWith("nats-") ? "it has no call for many items" : undefined,
  load: (run) => enqueue(run, { batch: 100, inFlight: 8 }),
};
