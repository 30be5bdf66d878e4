/** Objects in the JetStream object store: the suites against a real server, and what others do to the bucket. */
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, test } from "vitest";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { BucketPlace } from "../../services/replication/sinks/objects-jetstream.ts";
import { sinkConformance } from "../../services/testing/mod.ts";
import { skipNote } from "../jetstream/skip-note.ts";
import { failOnLeakedSuiteServers, natsAvailability, natsServer } from "../support/nats.ts";
import { placeSuite } from "./objects-place-suite.ts";
import { objectsSubject } from "./objects-subject.ts";

const nats = await natsAvailability();
let server: NatsServer;
let connection: NatsConnection;
let buckets = 0;

beforeAll(async () => {
  if (!nats.available) return;
  server = await natsServer({ scope: "suite" });
  connection = await connectNats({ servers: server.url, name: "objects" });
});
afterAll(failOnLeakedSuiteServers);
afterAll(async () => {
  await connection?.close();
  await server?.[Symbol.asyncDispose]();
});

/** Places in a bucket of their own. */
function bucket(): () => BucketPlace {
  buckets += 1;
  const options = { bucket: `objects-${buckets}`, replicas: 1, maxBytes: undefined };
  return () => new BucketPlace(connection, options);
}

describe.skipIf(!nats.available)(`one server${skipNote(nats)}`, () => {
  placeSuite({ describe, test }, "a bucket of JetStream", async () => ({
    make: bucket(),
    close: async () => undefined,
  }));

  sinkConformance({ describe, test }, "ObjectsSink of JetStream", async () =>
    objectsSubject(bucket(), {
      interrupt: () => server.kill(),
      restore: () => server.restart(),
      close: async () => undefined,
    }),
  );
});
