/** One atomic batch of a changefeed on the wire: all its messages are stored, one behind the other, or none. */
import assert from "node:assert/strict";
import type { NatsConnection } from "@nats-io/transport-node";
import { EXPECTED_SEQUENCE_HEADER } from "../../../contracts/subjects.ts";
import { API_CODES, type ApiOutcome, apiOutcome } from "../../jetstream/api.ts";
import { type Header, headerBlock } from "../../jetstream/header-block.ts";
import type { Inbox } from "../../jetstream/inbox.ts";

/** Most messages that a server takes in one batch. */
export const BATCH_MESSAGES_MAX = 1_000;
/** Size at which a batch is closed: what one turn puts into the socket's buffer. Bytes. */
export const BATCH_BYTES_AIM: number = 4 * 1024 * 1024;

export interface BatchMessage {
  readonly subject: string;
  readonly payload: Uint8Array;
  readonly headers: readonly Header[];
}

export interface BatchRequest {
  readonly stream: string;
  /** Unique for each attempt: the remains of one that was cut off must not mix with the next. */
  readonly id: string;
  readonly messages: readonly BatchMessage[];
  readonly expectedLast: number;
  readonly timeoutMs: number;
}

/** `moved`: something else stands behind the expected last sequence. `failed` with anything but an error of the API says nothing certain. */
export type BatchOutcome =
  | { readonly kind: "stored"; readonly last: number }
  | { readonly kind: "moved" }
  | { readonly kind: "failed"; readonly outcome: Exclude<ApiOutcome, { kind: "ok" }> };

/** Puts the whole batch on the wire in this turn, so that a lost connection cannot take a part of it. */
export function publishBatch(
  connection: NatsConnection,
  inbox: Inbox,
  request: BatchRequest,
  callback: (outcome: BatchOutcome) => void,
): void {
  const { id, messages, expectedLast, timeoutMs } = request;
  assert(messages.length >= 1 && messages.length <= BATCH_MESSAGES_MAX, `a batch of ${messages.length} messages`);
  const first: Header = { name: EXPECTED_SEQUENCE_HEADER, value: String(expectedLast) };
  for (let index = 0; index < messages.length; index += 1) {
    const { subject, payload, headers } = messages[index] as BatchMessage;
    const all: Header[] = [
      { name: "Nats-Batch-Id", value: id },
      { name: "Nats-Batch-Sequence", value: String(index + 1) },
    ];
    // Only here: on a later message the server refuses it.
    if (index === 0) all.push(first);
    all.push(...headers);
    if (index < messages.length - 1) {
      if (inbox.connected) connection.publish(subject, payload, { headers: headerBlock(all) });
      continue;
    }
    all.push({ name: "Nats-Batch-Commit", value: "1" });
    const judge = (outcome: ApiOutcome): void => callback(batchOutcome(outcome, request));
    inbox.request(subject, payload, timeoutMs, (outcome) => judge(apiOutcome(outcome)), headerBlock(all));
  }
}

function batchOutcome(outcome: ApiOutcome, { stream, messages, expectedLast }: BatchRequest): BatchOutcome {
  if (outcome.kind === "ok") {
    const { value } = outcome;
    const last = expectedLast + messages.length;
    if (value["stream"] === stream && value["seq"] === last && value["count"] === messages.length)
      return { kind: "stored", last };
    const description = `an acknowledgement of ${String(value["stream"])} at ${String(value["seq"])} came for ${stream} at ${last}`;
    return { kind: "failed", outcome: { kind: "api_error", error: { code: 0, errCode: 0, description } } };
  }
  if (outcome.kind === "api_error") {
    const { errCode } = outcome.error;
    if (errCode === API_CODES.wrongLastSequence || errCode === API_CODES.wrongLastSequenceUnknown)
      return { kind: "moved" };
  }
  return { kind: "failed", outcome };
}
