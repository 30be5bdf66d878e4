/** Header blocks, acknowledgement subjects and answers of the message API, read by hand. */
import { describe, expect, test } from "vitest";
import { headerBlock, headerValue, statusCode } from "../../services/jetstream/header-block.ts";
import { deliveryOf, logMessageOf, storedMessage } from "../../services/jetstream/stored-message.ts";

const decoder = new TextDecoder();

describe("header blocks", () => {
  test("are encoded as the protocol wants them", () => {
    const block = headerBlock([
      { name: "A-One", value: "1" },
      { name: "B", value: "two" },
    ]);
    expect(decoder.decode(block.encode())).toBe("NATS/1.0\r\nA-One: 1\r\nB: two\r\n\r\n");
  });

  test("cannot be broken out of by a value", () => {
    const block = headerBlock([{ name: "A", value: "x\r\nNats-Rollup: all\r\n\u0000" }]);
    expect(decoder.decode(block.encode())).toBe("NATS/1.0\r\nA: x Nats-Rollup: all \r\n\r\n");
  });

  test("are read by exact name, first value, trimmed", () => {
    const block =
      "NATS/1.0\r\nomnirelay-chain: no\r\nX-Omnirelay-Chain: no\r\nOmnirelay-Chain:  yes \r\nOmnirelay-Chain: later\r\n\r\n";
    expect(headerValue(block, "Omnirelay-Chain")).toBe("yes");
    expect(headerValue(block, "Missing")).toBe("");
    expect(headerValue("", "Missing")).toBe("");
  });

  test("tell a status", () => {
    expect(statusCode("NATS/1.0 503\r\n\r\n")).toBe(503);
    expect(statusCode("NATS/1.0 100 Idle Heartbeat\r\n\r\n")).toBe(100);
    expect(statusCode("NATS/1.0\r\nA: 503\r\n\r\n")).toBe(0);
  });
});

describe("acknowledgement subjects", () => {
  test.each([
    ["$JS.ACK.S.c.1.42.7.1700000000000000000.3", { streamSequence: 42, consumerSequence: 7, pending: 3 }],
    ["$JS.ACK.hub.HASH.S.c.1.42.7.1700000000000000000.3", { streamSequence: 42, consumerSequence: 7, pending: 3 }],
    ["$JS.ACK._.HASH.S.c.1.42.7.1700000000000000000.3.token", { streamSequence: 42, consumerSequence: 7, pending: 3 }],
  ])("%s", (subject, delivery) => {
    expect(deliveryOf(subject)).toEqual(delivery);
  });

  test.each(["", "_INBOX.a", "$JS.FC.S.c.x", "$JS.ACK.S.c.1.2", "$JS.ACK.S.c.1.x.7.1.3"])("%s is none", (subject) => {
    expect(deliveryOf(subject)).toBeUndefined();
  });
});

describe("answers of the message API", () => {
  test("become messages", () => {
    const value = {
      message: {
        subject: "s",
        seq: 5,
        hdrs: Buffer.from("NATS/1.0\r\nOmnirelay-Chain: abc\r\n\r\n").toString("base64"),
        data: Buffer.from([0, 255]).toString("base64"),
      },
    };
    const message = storedMessage(value);
    expect(message && logMessageOf(message)).toEqual({
      streamSequence: 5,
      subject: "s",
      payload: Buffer.from([0, 255]),
      chainHeader: "abc",
      pending: -1,
    });
  });

  test("without payload and headers are empty messages, of another shape none", () => {
    expect(storedMessage({ message: { subject: "s", seq: 5 } })?.payload).toHaveLength(0);
    expect(storedMessage({ message: { subject: "s" } })).toBeUndefined();
    expect(storedMessage({})).toBeUndefined();
  });
});
