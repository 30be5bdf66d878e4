/** The changefeed sink against the suite of all sinks, on one real server. */
import { afterAll, describe, test } from "vitest";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { sinkConformance } from "../../services/testing/mod.ts";
import { skipNote } from "../jetstream/skip-note.ts";
import { failOnLeakedSuiteServers, natsAvailability, natsServer } from "../support/nats.ts";
import { changefeedSubject } from "./changefeed-bed.ts";

const nats = await natsAvailability();
afterAll(failOnLeakedSuiteServers);

describe.skipIf(!nats.available)(`one server${skipNote(nats)}`, () => {
  let shared: Promise<NatsServer> | undefined;
  const server = (): Promise<NatsServer> => {
    shared ??= natsServer({ scope: "suite" });
    return shared;
  };
  afterAll(async () => (await shared)?.[Symbol.asyncDispose]());
  sinkConformance({ describe, test }, "changefeed", async () => {
    const running = await server();
    return changefeedSubject({
      urls: [running.url],
      replicas: 1,
      interrupt: () => running.kill(),
      restore: () => running.restart(),
    });
  });
});
