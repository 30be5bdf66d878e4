/** Connecting: what a person is told when it fails, and where credentials may stand. */
import { createServer } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { connectNats, withoutLogin } from "../../services/jetstream/connect.ts";
import { watchOf } from "../../services/jetstream/connection-watch.ts";
import { failOnLeakedServers, natsAvailability, natsServer } from "../support/nats.ts";
import { skipNote } from "./skip-note.ts";

const nats = await natsAvailability();
const note = skipNote(nats);
afterEach(failOnLeakedServers);

async function failureOf(promise: Promise<unknown>): Promise<OperatingError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof OperatingError) return error;
  throw new Error(`expected an operating error, got ${String(error)}`);
}

/** A port that nobody listens on: taken and given back. */
async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

describe("withoutLogin", () => {
  test.each([
    ["nats://127.0.0.1:4222", "nats://127.0.0.1:4222"],
    ["nats://alice:secret@host:4222", "nats://host:4222"],
    ["token@host:4222", "nats://host:4222"],
    ["tls://host", "tls://host"],
  ])("%s becomes %s", (server, shown) => expect(withoutLogin(server)).toBe(shown));
});

describe.skipIf(!nats.available)(`connectNats${note}`, () => {
  test("names the servers without credentials when none answers", async () => {
    const port = await closedPort();
    const error = await failureOf(connectNats({ servers: `nats://alice:secret@127.0.0.1:${port}`, name: "t" }));
    expect(error.code).toBe("nats_unreachable");
    expect(error.definite).toBe(true);
    expect(error.message).toContain(`nats://127.0.0.1:${port}`);
    expect(error.message).toContain("connection refused");
    expect(error.message).not.toContain("secret");
  });

  test("says so when a host does not exist", async () => {
    const error = await failureOf(connectNats({ servers: "nats://no-such-host.invalid:4222", name: "t" }));
    expect(error.code).toBe("nats_unreachable");
  });

  test("says so when a credentials file cannot be read", async () => {
    const error = await failureOf(connectNats({ servers: "nats://127.0.0.1:1", name: "t", creds: "/no/such/file" }));
    expect(error.code).toBe("nats_options");
    expect(error.message).toContain("/no/such/file");
  });

  test("takes credentials from the options and from the URL, and says when they are refused", async ({
    onTestFinished,
  }) => {
    const extraConfig = 'accounts { A { users: [{ user: "al ice", password: "p@ss" }] } }';
    const server = await natsServer({ cleanup: onTestFinished, extraConfig });
    const { host, port } = server;
    const byOptions = await connectNats({ servers: server.url, name: "t", user: "al ice", pass: "p@ss" });
    const byUrl = await connectNats({ servers: `nats://al%20ice:p%40ss@${host}:${port}`, name: "t" });
    await Promise.all([byOptions.close(), byUrl.close()]);
    const error = await failureOf(connectNats({ servers: server.url, name: "t", user: "al ice", pass: "wrong" }));
    expect(error.code).toBe("nats_unauthorized");
    expect(error.definite).toBe(true);
  });

  test("comes back by itself when the server does, and tells both", async ({ onTestFinished }) => {
    const server = await natsServer({ cleanup: onTestFinished });
    const connection = await connectNats({ servers: server.url, name: "t" });
    const watch = watchOf(connection);
    const changes: boolean[] = [];
    const change = (): Promise<void> => new Promise((resolve) => watch.onChange(() => resolve()));
    watch.onChange((connected) => changes.push(connected));
    const down = change();
    await server.kill();
    await down;
    expect(watch.connected).toBe(false);
    const up = change();
    await server.restart();
    await up;
    expect(watch.connected).toBe(true);
    const closed = change();
    await connection.close();
    await closed;
    expect(watch.closed).toBe(true);
    expect(changes).toEqual([false, true, false]);
  });
});
