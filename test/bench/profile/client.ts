/** The client process of `npm run profile`: drives one scenario after another with the SDK of a checkout, as it is asked over IPC. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Scenario } from "./options.ts";

/** 250-byte items, as in `npm run bench`. */
const body = (index: number): string =>
  JSON.stringify({ table: `db.orders.${index}`, partition: "p1", rows: "x".repeat(180) });

type Run = (url: string, shard: string, items: number, body: (index: number) => string) => Promise<number>;

const [checkout = "", url = "", shard = ""] = process.argv.slice(2);
const load = (path: string) => import(pathToFileURL(join(checkout, "test/bench", path)).href);
const { runBatches, runSingles } = (await load("mesh-runs.ts")) as Record<"runBatches" | "runSingles", Run>;
const { runRawRequests } = (await load("raw-requests.ts")) as Record<"runRawRequests", Run>;
const RUNS: Record<Scenario, Run> = { batches: runBatches, singles: runSingles, requests: runRawRequests };

process.on("message", ({ scenario, items }: { scenario?: Scenario; items?: number }) => {
  if (scenario === undefined || items === undefined) return;
  void RUNS[scenario](url, shard, items, body).then((rate) => process.send?.({ rate }));
});
process.channel?.ref();
process.send?.({ ready: true });
