/** Stored messages as JetStream hands them out: by the message API (JSON) and by a consumer (headers and an acknowledgement subject). */
import type { Msg } from "@nats-io/transport-node";
import type { LogMessage } from "../../contracts/ports.ts";
import { CHAIN_HEADER } from "../../contracts/subjects.ts";
import { asNumber, asRecord } from "./api.ts";
import { headerValue, rawHeaders } from "./header-block.ts";

/** An answer of `STREAM.MSG.GET`, its headers undecoded. */
export interface StoredMessage {
  readonly streamSequence: number;
  readonly subject: string;
  readonly payload: Uint8Array;
  readonly headers: string;
}

/** Reads an answer of `STREAM.MSG.GET`; undefined when it has not the shape of one. */
export function storedMessage(value: Readonly<Record<string, unknown>>): StoredMessage | undefined {
  const message = asRecord(value["message"]);
  const streamSequence = asNumber(message["seq"]);
  const subject = message["subject"];
  if (streamSequence < 1 || typeof subject !== "string") return undefined;
  const { data, hdrs } = message;
  return {
    streamSequence,
    subject,
    payload: typeof data === "string" ? Buffer.from(data, "base64") : new Uint8Array(0),
    headers: typeof hdrs === "string" ? Buffer.from(hdrs, "base64").toString("latin1") : "",
  };
}

/** The same as a message of a log. How much stands behind it is not known here. */
export function logMessageOf(message: StoredMessage): LogMessage {
  const { streamSequence, subject, payload, headers } = message;
  return { streamSequence, subject, payload, chainHeader: headerValue(headers, CHAIN_HEADER), pending: -1 };
}

/** Where a delivered message stands, read from its acknowledgement subject. */
export interface Delivery {
  readonly streamSequence: number;
  readonly consumerSequence: number;
  readonly pending: number;
}

const ACK_PREFIX = "$JS.ACK.";
/** Tokens of `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`. */
const ACK_TOKENS = 9;
/** The newer form puts a domain and an account in front of the stream, and may end in one more token. */
const ACK_TOKENS_LONG = 11;

/** Reads the acknowledgement subject of a delivered message; undefined when it is none, as for a status message. */
export function deliveryOf(reply: string): Delivery | undefined {
  if (!reply.startsWith(ACK_PREFIX)) return undefined;
  const tokens = reply.split(".");
  const shift = tokens.length >= ACK_TOKENS_LONG ? 2 : 0;
  if (tokens.length < ACK_TOKENS) return undefined;
  const streamSequence = Number(tokens[5 + shift]);
  const consumerSequence = Number(tokens[6 + shift]);
  const pending = Number(tokens[8 + shift]);
  if (!Number.isSafeInteger(streamSequence) || !Number.isSafeInteger(consumerSequence)) return undefined;
  return { streamSequence, consumerSequence, pending: Number.isSafeInteger(pending) ? pending : -1 };
}

/** A message that a consumer delivered, as a message of the log. The payload is a view of what came over the socket. */
export function deliveredMessage(message: Msg, delivery: Delivery): LogMessage {
  return {
    streamSequence: delivery.streamSequence,
    subject: message.subject,
    payload: message.data,
    chainHeader: headerValue(rawHeaders(message), CHAIN_HEADER),
    pending: delivery.pending,
  };
}
