/** Core messaging over a real server: outcomes of requests, error headers, traces, and what happens while disconnected. */
import { headers } from "@nats-io/transport-node";
import { afterEach, describe, expect, test } from "vitest";
import type { NetMessage, RequestOutcome } from "../../contracts/ports.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { NatsNet } from "../../services/jetstream/nats-net.ts";
import { failOnLeakedServers, natsAvailability, natsServer, type TestServerOptions } from "../support/nats.ts";
import { skipNote } from "./skip-note.ts";

const nats = await natsAvailability();
const note = skipNote(nats);
afterEach(failOnLeakedServers);

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const TIMEOUT_MS = 5_000;

async function setup(cleanup: TestServerOptions["cleanup"], options: TestServerOptions = {}, login = {}) {
  const server = await natsServer({ ...(cleanup === undefined ? {} : { cleanup }), ...options });
  const connection = await connectNats({ servers: server.url, name: "net", ...login });
  const net = new NatsNet(connection);
  cleanup?.(async () => {
    net.close();
    await connection.close();
  });
  return { server, connection, net };
}

const request = (net: NatsNet, subject: string, timeoutMs = TIMEOUT_MS): Promise<RequestOutcome> =>
  new Promise((resolve) => net.request(subject, encoder.encode("question"), timeoutMs, resolve));

describe.skipIf(!nats.available)(`NatsNet${note}`, () => {
  test("answers requests, many at once, each with its own reply", async ({ onTestFinished }) => {
    const { net } = await setup(onTestFinished);
    net.subscribe("echo.*", ({ subject, reply, payload }) => {
      net.publish(reply, encoder.encode(`${subject} ${decoder.decode(payload)}`));
    });
    const outcomes = await Promise.all(Array.from({ length: 100 }, (_, index) => request(net, `echo.${index}`)));
    const texts = outcomes.map((outcome) =>
      outcome.kind === "reply" ? decoder.decode(outcome.payload) : outcome.kind,
    );
    expect(texts).toEqual(Array.from({ length: 100 }, (_, index) => `echo.${index} question`));
  });

  test("says no_responders at once, timeout in time, disconnected when the server dies", async ({ onTestFinished }) => {
    const { server, net } = await setup(onTestFinished);
    expect(await request(net, "nobody")).toEqual({ kind: "no_responders" });
    net.subscribe("silent", () => undefined);
    expect(await request(net, "silent", 50)).toEqual({ kind: "timeout" });
    const underWay = request(net, "silent");
    await server.kill();
    expect(await underWay).toEqual({ kind: "disconnected" });
    expect(net.isConnected()).toBe(false);
    expect(await request(net, "silent")).toEqual({ kind: "disconnected" });
  });

  test("never calls back within the call, disconnected or not", async ({ onTestFinished }) => {
    const { server, net } = await setup(onTestFinished);
    const isEarly = (): Promise<boolean> =>
      new Promise((resolve) => {
        let isInside = true;
        net.request("nobody", encoder.encode(""), TIMEOUT_MS, () => resolve(isInside));
        isInside = false;
      });
    expect(await isEarly()).toBe(false);
    await server.kill();
    expect(await isEarly()).toBe(false);
  });

  test("carries the two error headers, which cannot be broken out of, and reads traceparent", async ({
    onTestFinished,
  }) => {
    const { net, connection } = await setup(onTestFinished);
    const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    net.subscribe("asked", (message) => {
      net.publish(message.reply, encoder.encode(message.trace), { code: "not_leader", message: "no\r\nX: y" });
    });
    const withTrace = headers();
    withTrace.set("traceparent", trace);
    const answer = await connection.request("asked", "", { headers: withTrace, timeout: TIMEOUT_MS });
    expect(answer.string()).toBe(trace);
    expect(answer.headers?.get("Nats-Service-Error-Code")).toBe("not_leader");
    expect(answer.headers?.get("Nats-Service-Error")).toBe("no X: y");
    expect(answer.headers?.has("X")).toBe(false);
    const plain = await connection.request("asked", "", { timeout: TIMEOUT_MS });
    expect(plain.string()).toBe("");
  });

  test("resubscribes by itself after a restart and drops what was published while it was down", async ({
    onTestFinished,
  }) => {
    const { server, net } = await setup(onTestFinished);
    const heard: string[] = [];
    let wake: () => void = () => undefined;
    net.subscribe("topic", ({ payload }: NetMessage) => {
      heard.push(decoder.decode(payload));
      wake();
    });
    const changes: boolean[] = [];
    const change = (): Promise<void> =>
      new Promise((resolve) => {
        const hook = net.onConnection((connected) => {
          changes.push(connected);
          hook.close();
          resolve();
        });
      });
    const down = change();
    await server.kill();
    await down;
    net.publish("topic", encoder.encode("lost"));
    const up = change();
    await server.restart();
    await up;
    const delivered = new Promise<void>((resolve) => {
      wake = resolve;
    });
    net.publish("topic", encoder.encode("kept"));
    await delivered;
    expect(heard).toEqual(["kept"]);
    expect(changes).toEqual([false, true]);
  });

  test("hears nothing more on a closed subscription", async ({ onTestFinished }) => {
    const { net } = await setup(onTestFinished);
    const subscription = net.subscribe("topic", () => expect.unreachable("the subscription is closed"));
    subscription.close();
    subscription.close();
    expect(await request(net, "topic")).toEqual({ kind: "no_responders" });
  });

  test("tells a request without rights as denied, at once", async ({ onTestFinished }) => {
    const extraConfig =
      'accounts { A { users: [{ user: a, password: a, permissions: { publish: ["ok"], subscribe: [">"] } }] } }';
    const { net } = await setup(onTestFinished, { extraConfig }, { user: "a", pass: "a" });
    expect(await request(net, "forbidden")).toEqual({ kind: "denied" });
  });

  test("ends what is under way when it is closed", async ({ onTestFinished }) => {
    const { net } = await setup(onTestFinished);
    net.subscribe("silent", () => undefined);
    const underWay = request(net, "silent");
    net.close();
    expect(await underWay).toEqual({ kind: "disconnected" });
  });
});
