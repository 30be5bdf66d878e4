/** The wire as strangers use it: the README's own bytes, and everything that should not be sent. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { connect, headers, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ERROR_CODES } from "../../contracts/errors.ts";
import { REQUEST_BYTES_MAX } from "../../contracts/limits.ts";
import { ErrorReply } from "../../contracts/replies.ts";
import { type TestMesh, testMesh } from "../support/mesh.ts";
import { natsAvailability } from "../support/nats.ts";
import type { RunningProcess } from "../support/process.ts";

const README = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");
/** Subject and body of every `nats req` in the README, as a shell would pass them. */
const README_REQUESTS = [...README.matchAll(/^nats req (\S+) '([^']*)'$/gm)].map(([, subject = "", body = ""]) => ({
  subject,
  body,
}));

const nats = await natsAvailability();
const title = (name: string): string => (nats.available ? name : `${name} (skipped: ${nats.reason})`);

describe.skipIf(!nats.available)(title("the wire"), () => {
  const disposers: (() => Promise<void>)[] = [];
  let mesh: TestMesh;
  let dispatcher: RunningProcess;
  let connection: NatsConnection;
  beforeAll(async () => {
    mesh = await testMesh((dispose) => void disposers.unshift(dispose));
    dispatcher = await mesh.dispatcher("a");
    connection = await connect({ servers: mesh.server.url });
  });
  afterAll(async () => {
    await connection?.close();
    for (const dispose of disposers) await dispose();
  });

  const request = async (subject: string, body: string | Uint8Array): Promise<Record<string, unknown>> =>
    (await connection.request(subject, body, { timeout: 10_000 })).json();
  const sequence = async (): Promise<number> =>
    (await request("resourcelease.default.stats.probe", ""))["sequence"] as number;

  test("the README's requests work as they stand, byte for byte", async () => {
    expect(README_REQUESTS.map(({ subject }) => subject.split(".")[2])).toEqual([
      "enqueue",
      "lease",
      "heartbeat",
      "complete",
      "stats",
    ]);
    let lease: { itemId: string; token: number } | undefined;
    for (const { subject, body } of README_REQUESTS) {
      const filled = body
        .replaceAll("ITEM", lease?.itemId ?? "ITEM")
        .replaceAll("TOKEN", String(lease?.token ?? "TOKEN"));
      const reply = await request(subject, filled);
      expect(reply["error"]).toBeUndefined();
      const results = (reply["results"] ?? []) as { error?: unknown }[];
      expect(results.filter(({ error }) => error !== undefined)).toEqual([]);
      lease = ((reply["leases"] ?? []) as { itemId: string; token: number }[])[0] ?? lease;
    }
    expect(await request("resourcelease.default.stats.me", "")).toMatchObject({ pending: 0, active: 0, completed: 1 });
  });

  test("the nats command line sends the same requests and sees the service", (context) => {
    const cli = natsCli();
    if (cli === undefined) return context.skip("no nats command line on this machine");
    const [enqueue] = README_REQUESTS;
    const run = (...args: string[]): string =>
      execFileSync(cli, ["--server", mesh.server.url, ...args], { encoding: "utf8" });
    expect(run("req", "--raw", enqueue?.subject ?? "", enqueue?.body ?? "")).toContain('"duplicate":true');
    expect(run("micro", "ls")).toContain("resourcelease");
  });

  describe("refuses, without an event in the log", () => {
    const item = '{"resourceType":"t","resourceId":"r"}';
    const rows: Record<string, [verb: string, body: string | Uint8Array, code: string]> = {
      "an empty body where fields are needed": ["enqueue", "", "invalid_argument"],
      "truncated JSON": ["enqueue", '{"items":[', "invalid_argument"],
      "invalid UTF-8": ["enqueue", new Uint8Array([0x7b, 0xff, 0x7d]), "invalid_argument"],
      "a byte order mark": ["stats", new Uint8Array([0xef, 0xbb, 0xbf, 0x7b, 0x7d]), "invalid_argument"],
      "trailing bytes": ["stats", "{} x", "invalid_argument"],
      NaN: ["lease", '{"maxItems":NaN}', "invalid_argument"],
      "nesting 10,000 deep": ["enqueue", `{"items":${"[".repeat(10_000)}${"]".repeat(10_000)}}`, "invalid_argument"],
      "a lone surrogate": ["enqueue", '{"items":[{"resourceType":"t","resourceId":"\\ud800"}]}', "invalid_argument"],
      "a string for a number": ["lease", '{"maxItems":"1"}', "invalid_argument"],
      "1e309": ["lease", '{"maxItems":1e309}', "invalid_argument"],
      "2^53+1": ["complete", '{"leases":[{"itemId":"a","token":9007199254740993}]}', "invalid_argument"],
      "a negative number": ["lease", '{"maxItems":-1}', "invalid_argument"],
      "a lease of no length": ["lease", '{"leaseDurationMs":0}', "invalid_argument"],
      "an unknown field": ["enqueue", `{"items":[${item}],"tiems":[]}`, "invalid_argument"],
      "an unknown field of an item": [
        "enqueue",
        '{"items":[{"resourceType":"t","resourceId":"r","groop":"g"}]}',
        "invalid_argument",
      ],
      "an unknown verb": ["steal", "{}", "invalid_argument"],
      "a drain without an id": ["drain", "{}", "invalid_argument"],
      "too many entries": ["enqueue", `{"items":[${Array(1_001).fill(item).join(",")}]}`, "invalid_argument"],
      "a body over the item limit": [
        "enqueue",
        `{"items":[{"resourceType":"t","resourceId":"r","body":"${"x".repeat(70_000)}"}]}`,
        "payload_too_large",
      ],
      "a request over the request limit": [
        "enqueue",
        `{"items":[${item}],"requestId":"${"x".repeat(REQUEST_BYTES_MAX)}"}`,
        "payload_too_large",
      ],
      "another contract version": ["stats", '{"apiVersion":2}', "unsupported_version"],
      "a __proto__ attribute": [
        "enqueue",
        '{"items":[{"resourceType":"t","resourceId":"r","attributes":{"__proto__":"x"}}]}',
        "invalid_argument",
      ],
      "a __proto__ field": ["enqueue", `{"items":[${item}],"__proto__":{"polluted":1}}`, "invalid_argument"],
      "a constructor attribute": [
        "enqueue",
        '{"items":[{"resourceType":"t","resourceId":"r","attributes":{"constructor":"x"}}]}',
        "invalid_argument",
      ],
      "a foreign peer id": ["lease", '{"peerId":"other--one"}', "permission_denied"],
      "an item that does not exist": ["complete", '{"leases":[{"itemId":"zzz","token":1}]}', "item_not_found"],
      "token 0": ["complete", '{"leases":[{"itemId":"zzz","token":0}]}', "invalid_argument"],
    };
    test.each(Object.keys(rows))("%s", async (name) => {
      const [verb, body, code] = rows[name] as (typeof rows)[string];
      const before = await sequence();
      const reply = await request(`resourcelease.default.${verb}.hostile`, body);
      const entry = ((reply["results"] ?? []) as Record<string, unknown>[])[0];
      const { error } = ErrorReply.parse(reply["error"] === undefined ? entry : reply);
      expect(error.code).toBe(code);
      expect(ERROR_CODES).toContain(error.code);
      expect(await sequence()).toBe(before);
      expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
    });
    test.each([
      "resourcelease.default.stats",
      "resourcelease.default.stats.a.b",
      "resourcelease.default.stats.a--b",
      "resourcelease.default.stats.ä",
      `resourcelease.default.stats.${"x".repeat(300)}`,
    ])("the subject %s", async (subject) => {
      expect(await request(subject, "{}")).toMatchObject({ error: { code: "invalid_argument" } });
    });
    test("stale, foreign and future tokens, each by its own code", async () => {
      await request("resourcelease.default.enqueue.one", `{"items":[${item}],"requestId":"tokens"}`);
      const { leases } = (await request("resourcelease.default.lease.one", "{}")) as {
        leases: { itemId: string; token: number }[];
      };
      const [lease] = leases;
      const settle = async (principal: string, token: number): Promise<unknown> => {
        const body = JSON.stringify({ leases: [{ itemId: lease?.itemId, token }] });
        const reply = (await request(`resourcelease.default.complete.${principal}`, body)) as {
          results: { error?: { code: string } }[];
        };
        return reply.results[0]?.error?.code ?? "ok";
      };
      const token = lease?.token ?? 0;
      const before = await sequence();
      expect(await settle("one", token - 1)).toBe("stale_token");
      expect(await settle("one", token + 1)).toBe("stale_token");
      expect(await settle("two", token)).toBe("permission_denied");
      expect(await settle("two", token + 1)).toBe("permission_denied");
      expect(await sequence()).toBe(before);
      expect(await settle("one", token)).toBe("ok");
    });
  });

  test("an error carries the two micro-service headers", async () => {
    const reply = await connection.request("resourcelease.default.lease.me", "[]");
    expect(reply.headers?.get("Nats-Service-Error-Code")).toBe("invalid_argument");
    expect(reply.headers?.get("Nats-Service-Error")).not.toBe("");
  });

  test("a reply subject outside the inbox prefixes never becomes a publish of ours", async () => {
    const heard: string[] = [];
    const subscription = connection.subscribe(">", { callback: (_error, message) => void heard.push(message.subject) });
    for (const reply of [
      "omnirelay.log.local.default",
      "$JS.API.STREAM.DELETE.LEASE_LOG_local_default",
      "resourcelease.default.pause.admin",
      "_INBOX",
    ])
      connection.publish("resourcelease.default.stats.hostile", "{}", { reply });
    // Requests of one connection are handled in order: when this one is answered, those before it were handled.
    expect(await request("resourcelease.default.stats.me", "{}")).toMatchObject({ paused: false });
    subscription.unsubscribe();
    const allowed = /^(resourcelease\.|_INBOX\.|omnirelay\.(ready|ping)\.)/;
    expect(heard.filter((subject) => !allowed.test(subject))).toEqual([]);
    expect(heard.filter((subject) => subject === "resourcelease.default.pause.admin")).toEqual([]);
  });

  test("headers of a request never reach the log", async () => {
    const hostile = headers();
    hostile.set("Nats-Expected-Last-Sequence", "1");
    hostile.set("Nats-Rollup", "all");
    hostile.set("Nats-TTL", "1s");
    hostile.set("Nats-Msg-Id", "x");
    const body = '{"items":[{"resourceType":"t","resourceId":"headers"}]}';
    const before = await sequence();
    const reply = await connection.request("resourcelease.default.enqueue.hostile", body, {
      timeout: 5_000,
      headers: hostile,
    });
    expect(reply.json()).toMatchObject({ results: [{ duplicate: false }] });
    expect(await sequence()).toBe(before + 1);
  });

  test("bytes that are no protocol at all harm nobody", async () => {
    const { port } = new URL(mesh.server.url);
    const socket = connectTcp(Number(port), "127.0.0.1");
    socket.on("error", () => undefined);
    socket.resume();
    socket.end("GET / HTTP/1.1\r\n\r\n");
    await new Promise((resolve) => socket.once("close", resolve));
    expect(await request("resourcelease.default.stats.me", "{}")).toMatchObject({ leader: "a" });
    expect(dispatcher.child.exitCode).toBeNull();
  });
});

function natsCli(): string | undefined {
  for (const path of [process.env["OMNIRELAY_NATS_CLI"], "nats", join(process.env["HOME"] ?? "", "go/bin/nats")]) {
    if (path === undefined) continue;
    try {
      execFileSync(path, ["--version"], { stdio: "ignore" });
      return path;
    } catch {
      // not here: the next place
    }
  }
  return undefined;
}
