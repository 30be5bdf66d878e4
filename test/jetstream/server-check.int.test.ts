/** The server check: what it finds on real servers, and what it says about versions that we cannot start here. */
import type { NatsConnection } from "@nats-io/transport-node";
import { afterEach, describe, expect, test } from "vitest";
import { pickFreePort } from "../../infra/nats-server/free-port.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { checkServer } from "../../services/jetstream/server-check.ts";
import { failOnLeakedServers, natsAvailability, natsServer, type TestServerOptions } from "../support/nats.ts";
import { skipNote } from "./skip-note.ts";

const nats = await natsAvailability();
const note = skipNote(nats);
afterEach(failOnLeakedServers);

type Cleanup = NonNullable<TestServerOptions["cleanup"]>;

async function setup(cleanup: Cleanup, options: TestServerOptions = {}, login = {}) {
  const server = await natsServer({ cleanup, ...options });
  const connect = async (as: object): Promise<NatsConnection> => {
    const connection = await connectNats({ servers: server.url, name: "check", ...as });
    cleanup(() => connection.close());
    return connection;
  };
  return { server, connection: await connect(login), connect };
}

/** The same connection as a server of another version would greet it. */
function asVersion(connection: NatsConnection, version: string): NatsConnection {
  return new Proxy(connection, {
    get: (target, property) => {
      if (property === "info") return { ...target.info, version, cluster: "c" };
      const value: unknown = Reflect.get(target, property);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

const codes = (report: { readonly findings: readonly { code: string; severity: string }[] }): readonly string[] =>
  report.findings.map(({ code, severity }) => `${severity} ${code}`);

describe.skipIf(!nats.available)(`checkServer${note}`, () => {
  test("finds nothing on a server that writes before it acknowledges", async ({ onTestFinished }) => {
    const httpPort = await pickFreePort("127.0.0.1");
    const { server, connection } = await setup(onTestFinished, { httpPort });
    const report = await checkServer(connection, { replicas: 1, monitorUrl: server.httpUrl });
    expect(report).toMatchObject({ level: "ok", findings: [], maxPayload: 1_048_576, version: server.version });
    expect(report.apiLevel).toBeGreaterThanOrEqual(4);
    expect(report.sync).toMatchObject([{ isAlways: true }]);
  });

  test("warns of a lazy server and of one that nobody can ask", async ({ onTestFinished }) => {
    const httpPort = await pickFreePort("127.0.0.1");
    const { server, connection } = await setup(onTestFinished, { httpPort, syncInterval: "2m" });
    const lazy = await checkServer(connection, { replicas: 1, monitorUrl: server.httpUrl });
    expect(lazy.level).toBe("unsafe");
    expect(codes(lazy)).toEqual(["warn sync_interval"]);
    expect(lazy.findings[0]?.message).toContain("120000 ms");
    const unknown = await checkServer(connection, { replicas: 1, monitorUrl: "http://127.0.0.1:1" });
    expect(unknown.level).toBe("unknown");
    expect(codes(unknown)).toEqual(["warn sync_interval_unknown"]);
  });

  test("asks the system account where it may", async ({ onTestFinished }) => {
    const extraConfig =
      "accounts { A { jetstream: enabled, users: [{ user: a, password: a }] }, SYS { users: [{ user: s, password: s }] } }\nsystem_account: SYS";
    const { connection, connect } = await setup(onTestFinished, { extraConfig }, { user: "a", pass: "a" });
    const system = await connect({ user: "s", pass: "s" });
    expect((await checkServer(connection, { replicas: 1, system })).level).toBe("ok");
    expect((await checkServer(connection, { replicas: 1, system: connection })).level).toBe("unknown");
  });

  test("refuses small payloads, replicas without a cluster, and an account without JetStream, refusals first", async ({
    onTestFinished,
  }) => {
    const small = await setup(onTestFinished, { maxPayloadBytes: 65_536 });
    expect(codes(await checkServer(small.connection, { replicas: 3 }))).toEqual([
      "refuse max_payload",
      "refuse replicas",
      "warn sync_interval_unknown",
    ]);
    const extraConfig = "accounts { A { users: [{ user: a, password: a }] } }";
    const { connection } = await setup(onTestFinished, { extraConfig }, { user: "a", pass: "a" });
    expect(codes(await checkServer(connection, { replicas: 1 }))).toContain("refuse jetstream_disabled");
  });

  test.each([
    ["2.11.9", 1, ["refuse server_version"]],
    ["2.12.0", 1, ["warn server_version"]],
    ["2.14.3", 3, ["refuse server_version"]],
    ["2.14.4", 3, ["warn server_version"]],
    ["2.15.0-RC.1", 3, []],
    ["3.0.0", 3, []],
    ["nonsense", 1, ["refuse server_version"]],
  ])("judges version %s with %i replicas", async (version, replicas, expected) => {
    await using server = await natsServer();
    const connection = await connectNats({ servers: server.url, name: "check" });
    const report = await checkServer(asVersion(connection, version), { replicas });
    expect(codes(report).filter((code) => code.endsWith("server_version"))).toEqual(expected);
    await connection.close();
  });

  test("accepts an old replicated server only when that is allowed", async ({ onTestFinished }) => {
    const { connection } = await setup(onTestFinished);
    const report = await checkServer(asVersion(connection, "2.14.0"), { replicas: 3, allowOldServers: true });
    expect(codes(report)).toContain("warn server_version");
  });

  test("throws when JetStream cannot answer now", async ({ onTestFinished }) => {
    const { server, connection } = await setup(onTestFinished);
    await server.kill();
    await expect(checkServer(connection, { replicas: 1 })).rejects.toMatchObject({
      code: "nats_disconnected",
      definite: true,
    });
  });
});
