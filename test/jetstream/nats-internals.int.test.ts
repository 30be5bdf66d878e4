/** What we take from inside nats.js 3.4.0 and from nats-server: a new version that changes it must fail here, not in production. */
import { connect, headers, type Msg } from "@nats-io/transport-node";
import { afterEach, describe, expect, test } from "vitest";
import { headerBlock, headerValue, rawHeaders, statusCode } from "../../services/jetstream/header-block.ts";
import { freshInbox } from "../../services/jetstream/inbox.ts";
import { failOnLeakedServers, natsAvailability, natsServer } from "../support/nats.ts";
import { skipNote } from "./skip-note.ts";

const nats = await natsAvailability();
const note = skipNote(nats);
afterEach(failOnLeakedServers);

describe.skipIf(!nats.available)(`nats.js${note}`, () => {
  test("calls only encode() of what it is given as headers, and keeps undecoded header bytes in its messages", async ({
    onTestFinished,
  }) => {
    const server = await natsServer({ cleanup: onTestFinished });
    const connection = await connect({ servers: server.url });
    const received: Msg[] = [];
    const done = new Promise<void>((resolve) => {
      connection.subscribe("a", {
        callback: (_error, message) => {
          received.push(message);
          if (received.length === 3) resolve();
        },
      });
    });
    const payload = new TextEncoder().encode("body");
    connection.publish("a", payload, { headers: headerBlock([{ name: "Omnirelay-Chain", value: "abc" }]) });
    const theirs = headers();
    theirs.set("Omnirelay-Chain", "def");
    connection.publish("a", payload, { headers: theirs });
    connection.publish("a", payload);
    await done;
    expect(received.map((message) => headerValue(rawHeaders(message), "Omnirelay-Chain"))).toEqual(["abc", "def", ""]);
    expect(received.map((message) => message.headers?.get("Omnirelay-Chain"))).toEqual(["abc", "def", undefined]);
    expect(received.map((message) => message.string())).toEqual(["body", "body", "body"]);
    await connection.close();
  });

  test("delivers no-responders as an empty message with status 503 on the reply subject", async ({
    onTestFinished,
  }) => {
    const server = await natsServer({ cleanup: onTestFinished });
    const connection = await connect({ servers: server.url });
    const answer = new Promise<Msg>((resolve) => {
      connection.subscribe("answers.*", { callback: (_error, message) => resolve(message) });
    });
    connection.publish("nobody.listens", new Uint8Array(0), { reply: "answers.1" });
    const message = await answer;
    expect(message.subject).toBe("answers.1");
    expect(message.data).toHaveLength(0);
    expect(statusCode(rawHeaders(message))).toBe(503);
    await connection.close();
  });

  test("keeps the inbox prefix in its options", async ({ onTestFinished }) => {
    const server = await natsServer({ cleanup: onTestFinished });
    const plain = await connect({ servers: server.url });
    const prefixed = await connect({ servers: server.url, inboxPrefix: "_INBOX.alice" });
    expect(freshInbox(plain)).toMatch(/^_INBOX\.[^.]+$/);
    expect(freshInbox(prefixed)).toMatch(/^_INBOX\.alice\.[^.]+$/);
    await Promise.all([plain.close(), prefixed.close()]);
  });
});
