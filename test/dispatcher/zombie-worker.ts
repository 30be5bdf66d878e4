/** A worker that takes one lease and then waits to be told to go on: stopped meanwhile, it is the zombie of the test. */
import { createInterface } from "node:readline";
import { LeaseClient, RefusedError } from "../../services/client/mod.ts";
import { FencedStore } from "../../services/persistence/mod.ts";

const [servers = "", principal = "", file = ""] = process.argv.slice(2);
const client = await LeaseClient.connect({ servers, shard: "default", principal });
const { leases } = await client.lease({ maxItems: 1, waitMs: 10_000, leaseDurationMs: 1_000 });
const [lease] = leases;
if (lease === undefined) throw new Error("no lease");
console.log(JSON.stringify({ event: "leased", token: lease.token, itemId: lease.itemId }));
for await (const _line of createInterface({ input: process.stdin })) break;
const store = FencedStore.open(file);
const written = store.write(
  { fenceKey: lease.fenceKey, token: lease.token, effectId: `${principal}-write` },
  () => "written",
);
console.log(JSON.stringify({ event: "wrote", outcome: written }));
try {
  console.log(JSON.stringify({ event: "settled", outcome: await client.complete(lease) }));
} catch (error) {
  if (!(error instanceof RefusedError)) throw error;
  console.log(JSON.stringify({ event: "settled", code: error.code, details: error.details }));
}
store.close();
await client.close();
