/** How answers to an append are judged, one row per answer. */
import type { Msg } from "@nats-io/transport-node";
import { expect, test } from "vitest";
import type { AppendOutcome } from "../../contracts/ports.ts";
import { appendOutcome } from "../../services/jetstream/append-ack.ts";
import type { InboxOutcome } from "../../services/jetstream/inbox.ts";

const STREAM = "LEASE_LOG_eu_a";

const reply = (text: string): InboxOutcome => ({
  kind: "reply",
  message: { data: new TextEncoder().encode(text) } as unknown as Msg,
});
const error = (code: number, errCode: number, description: string): InboxOutcome =>
  reply(JSON.stringify({ error: { code, err_code: errCode, description }, stream: STREAM, seq: 0 }));

const rows: readonly (readonly [claim: string, answer: InboxOutcome, outcome: AppendOutcome])[] = [
  ["an acknowledgement of the place", reply(`{"stream":"${STREAM}","seq":8}`), { kind: "acked", streamSequence: 8 }],
  [
    "an acknowledgement with a domain",
    reply(`{"stream":"${STREAM}","domain":"hub","seq":8}`),
    { kind: "acked", streamSequence: 8 },
  ],
  [
    "an acknowledgement of another place is not believed",
    reply(`{"stream":"${STREAM}","seq":9}`),
    { kind: "unavailable", code: 0, message: `an acknowledgement of ${STREAM} at 9 came for ${STREAM} at 8` },
  ],
  [
    "an acknowledgement of another stream is not believed",
    reply('{"stream":"OTHER","seq":8}'),
    { kind: "unavailable", code: 0, message: `an acknowledgement of OTHER at 8 came for ${STREAM} at 8` },
  ],
  ["10071 with its number", error(400, 10071, "wrong last sequence: 12"), { kind: "wrong_last", lastSequence: 12 }],
  ["10071 without a number", error(400, 10071, "wrong last sequence"), { kind: "wrong_last", lastSequence: undefined }],
  ["10164", error(400, 10164, "wrong last sequence"), { kind: "wrong_last", lastSequence: undefined }],
  [
    "a full stream",
    error(503, 10077, "maximum bytes exceeded"),
    { kind: "unavailable", code: 10077, message: "maximum bytes exceeded" },
  ],
  ["no JSON", reply("+OK"), { kind: "unavailable", code: 0, message: "the answer is no JSON" }],
  ["an empty answer", reply(""), { kind: "unavailable", code: 0, message: "the answer is no JSON" }],
  ["no object", reply("[1]"), { kind: "unavailable", code: 0, message: "the answer is no object" }],
  [
    "no responders",
    { kind: "no_responders" },
    { kind: "unavailable", code: 503, message: "no responders: the stream is missing or electing its leader" },
  ],
  [
    "a refusal by permission",
    { kind: "denied", reason: "Permissions Violation" },
    { kind: "unavailable", code: 403, message: "Permissions Violation" },
  ],
  [
    "a message that is too large",
    { kind: "oversized", reason: "too large" },
    { kind: "unavailable", code: 10054, message: "too large" },
  ],
  ["a timeout", { kind: "timeout" }, { kind: "timeout" }],
  ["a disconnect", { kind: "disconnected" }, { kind: "disconnected" }],
];

test.each(rows)("%s", (_claim, answer, outcome) => {
  expect(appendOutcome(answer, STREAM, 7)).toEqual(outcome);
});
