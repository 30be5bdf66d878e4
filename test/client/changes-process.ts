/** A subscriber as a process of its own, for the tests of crashes: `node changes-process.ts <nats url> <shard> <name>`. Prints each sequence. */
import { changes } from "../../services/client/mod.ts";
import { connectNats } from "../../services/jetstream/connect.ts";

const [url = "", shard = "", name = ""] = process.argv.slice(2);
const connection = await connectNats({ servers: url, name: "subscriber" });
for await (const event of changes(connection, { shard, name, commitIntervalMs: 5 })) {
  process.stdout.write(`event ${event.sequenceNumber}\n`);
  // So that positions are written in between.
  await new Promise((resolve) => setTimeout(resolve, 1));
}
