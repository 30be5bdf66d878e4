/** One nats-server that all tests of a file share. */
import { afterAll, beforeAll, beforeEach } from "vitest";
import { failOnLeakedSuiteServers, natsAvailability, natsServer, skipWithoutNats } from "./nats.ts";

/** Starts it before the file's first test and stops it behind the last one. Skips the tests, with the reason, where none can be had. */
export function suiteServer(): { readonly url: string } {
  let server: Awaited<ReturnType<typeof natsServer>> | undefined;
  beforeEach(skipWithoutNats);
  beforeAll(async () => {
    if ((await natsAvailability()).available) server = await natsServer({ scope: "suite" });
  });
  afterAll(failOnLeakedSuiteServers);
  afterAll(() => server?.[Symbol.asyncDispose]());
  return {
    get url() {
      if (server === undefined) throw new Error("the server is there as long as the tests run");
      return server.url;
    },
  };
}
