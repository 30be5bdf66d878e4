/** A worker as a process of its own, for the tests of signals and crashes: `node worker-process.ts <nats url> <work|throw>`. */
import { once } from "node:events";
import { LeaseClient, LeaseWorker } from "../../services/client/mod.ts";
import { SHARD } from "./shard-double.ts";

const [url = "", mode] = process.argv.slice(2);
const client = await LeaseClient.connect({ servers: url, shard: SHARD, principal: "alice", peerName: "process" });
const worker = new LeaseWorker(client, {
  prefetch: 2,
  waitMs: 200,
  handler: async (lease) => {
    process.stdout.write(`running ${lease.item.resourceId}\n`);
    await once(process.stdin, "data");
    process.stdin.pause();
  },
});
if (mode === "throw")
  worker.on("leased", () => {
    throw new Error("a listener is wrong");
  });
worker.installSignalHandlers();
worker.start();
