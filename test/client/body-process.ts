/**
 * The life of large bodies as a process that kills itself at one step of it: `node body-process.ts <nats url> <id> <before|after> <step>`.
 * A step is a write to the bucket or a settling request; `before` it is sent, or `after` the server has it. Past the last step it says so.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import { LargeBodies, LeaseClient, sweepBodies } from "../../services/client/mod.ts";
import { connectNats } from "../../services/jetstream/connect.ts";

const [url = "", id = "", mode = "", step = "0"] = process.argv.slice(2);
const STEP = /^(\$O\.|\$JS\.API\.STREAM\.PURGE\.|resourcelease\.default\.(enqueue|complete|cancel)\.)/;

/** Larger than one piece of the store. */
export const bodyOf = (name: string): string => JSON.stringify(`${name} `.repeat(40_000));

function killAt(connection: NatsConnection): void {
  const publish = connection.publish.bind(connection);
  let steps = 0;
  connection.publish = (subject, ...rest) => {
    if (!STEP.test(subject)) return publish(subject, ...rest);
    steps += 1;
    if (steps === Number(step) && mode === "before") process.kill(process.pid, "SIGKILL");
    publish(subject, ...rest);
    if (steps === Number(step)) void connection.flush().then(() => process.kill(process.pid, "SIGKILL"));
  };
}

async function live(): Promise<void> {
  const connection = await connectNats({ servers: url, name: "bodies" });
  killAt(connection);
  const client = await LeaseClient.connect({ connection, shard: "default", principal: "alice" });
  const bodies = await LargeBodies.open(client, { connection });
  await bodies.enqueue({ resourceType: "kept", resourceId: id, requestId: id, body: bodyOf(id) });
  const { itemId } = await bodies.enqueue({ resourceType: "cancelled", resourceId: id, body: bodyOf("cancelled") });
  await client.cancel(itemId);
  const completed = Promise.withResolvers<void>();
  const worker = bodies.worker({
    resourceTypes: ["kept"],
    leaseDurationMs: 1_000,
    handler: async ({ item }) => {
      if (item.body !== bodyOf(item.resourceId)) process.stdout.write(`wrong ${item.resourceId}\n`);
    },
  });
  worker.on("completed", ({ lease }) => {
    if (lease.item.resourceId === id) completed.resolve();
  });
  worker.start();
  await completed.promise;
  await worker.stop();
  await bodies.close();
  await sweepBodies({ connection, graceMs: 0 });
  process.stdout.write("over\n");
  await connection.close();
}

if (url !== "") await live();
