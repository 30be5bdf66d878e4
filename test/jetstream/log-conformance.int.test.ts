/** The log port on JetStream: one server, and three servers with a replicated stream. */
import { afterAll, describe, test } from "vitest";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { logConformance } from "../../services/testing/log-conformance.ts";
import { cluster, failOnLeakedSuiteServers, natsAvailability, natsServer } from "../support/nats.ts";
import { skipNote } from "./skip-note.ts";
import { jetStreamSubject } from "./stream-subject.ts";

const nats = await natsAvailability();
const note = skipNote(nats);
afterAll(failOnLeakedSuiteServers);

describe.skipIf(!nats.available)(`one server${note}`, () => {
  let shared: Promise<NatsServer> | undefined;
  const server = (): Promise<NatsServer> => {
    shared ??= natsServer({ scope: "suite" });
    return shared;
  };
  afterAll(async () => (await shared)?.[Symbol.asyncDispose]());
  logConformance({ describe, test }, "JetStreamLog", async () => {
    const running = await server();
    return jetStreamSubject({
      urls: [running.url],
      replicas: 1,
      interrupt: () => running.kill(),
      restore: () => running.restart(),
    });
  });
});

describe.skipIf(!nats.available)(`three servers${note}`, () => {
  let shared: ReturnType<typeof cluster> | undefined;
  const servers = (): ReturnType<typeof cluster> => {
    shared ??= cluster(3, { scope: "suite" });
    return shared;
  };
  afterAll(async () => (await shared)?.[Symbol.asyncDispose]());
  logConformance({ describe, test }, "JetStreamLog, replicated", async () => {
    const running = await servers();
    // Two of three: what is left cannot acknowledge, so an interruption is one for whoever leads the stream.
    const victims = running.nodes.slice(0, 2);
    return jetStreamSubject({
      urls: running.urls,
      replicas: 3,
      interrupt: async () => void (await Promise.all(victims.map((node) => node.kill()))),
      restore: async () => {
        await Promise.all(victims.map((node) => node.restart()));
        await running.metaLeader();
      },
    });
  });
});
