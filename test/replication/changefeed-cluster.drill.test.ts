/** The changefeed sink against the suite of all sinks, on a replicated stream of three servers of which two die. */
import { afterAll, describe, expect, test, vi } from "vitest";
import { connectNats } from "../../services/jetstream/connect.ts";
import { type SuiteRunner, sinkConformance } from "../../services/testing/mod.ts";
import { skipNote } from "../jetstream/skip-note.ts";
import { cluster, failOnLeakedSuiteServers, natsAvailability } from "../support/nats.ts";
import { changefeedSubject } from "./changefeed-bed.ts";

const nats = await natsAvailability();
afterAll(failOnLeakedSuiteServers);

describe.skipIf(!nats.available)(`three servers${skipNote(nats)}`, () => {
  let shared: ReturnType<typeof cluster> | undefined;
  const servers = (): ReturnType<typeof cluster> => {
    shared ??= cluster(3, { scope: "suite" });
    return shared;
  };
  afterAll(async () => (await shared)?.[Symbol.asyncDispose]());
  // Two of three servers die again and again: an election that comes in between is told as an error that passes.
  const patient: SuiteRunner = { describe, test: (name, body) => void test(name, { retry: 2 }, body) };
  sinkConformance(patient, "changefeed, replicated", async () => {
    const running = await servers();
    const victims = running.nodes.slice(0, 2);
    return changefeedSubject({
      urls: running.urls,
      replicas: 3,
      interrupt: async () => void (await Promise.all(victims.map((node) => node.kill()))),
      restore: async () => {
        await Promise.all(victims.map((node) => node.restart()));
        await running.metaLeader();
        await untilPlaced(running.urls);
      },
    });
  });
});

/** Resolves when a stream of three replicas can be made: a server that has just come back is not thought of at once. */
async function untilPlaced(urls: readonly string[]): Promise<void> {
  const connection = await connectNats({ servers: urls, name: "probe" });
  try {
    const config = { name: "PROBE", subjects: ["probe"], num_replicas: 3, storage: "memory" };
    await vi.waitFor(
      async () => {
        const answer = await connection.request("$JS.API.STREAM.CREATE.PROBE", JSON.stringify(config), {
          timeout: 2_000,
        });
        expect(answer.json()).not.toHaveProperty("error");
      },
      { timeout: 30_000, interval: 200 },
    );
    await connection.request("$JS.API.STREAM.DELETE.PROBE", "");
  } finally {
    await connection.close();
  }
}
