/** Judges the answer to an append: only the acknowledgement of exactly this place in exactly this stream counts as stored. */
import type { AppendOutcome } from "../../contracts/ports.ts";
import { API_CODES, type ApiError, apiOutcome, asNumber } from "./api.ts";
import type { InboxOutcome } from "./inbox.ts";

/** `503` as the server means it: nobody takes the message now. */
const NO_RESPONDERS = 503;
const DENIED = 403;

/** The outcome of an append that expected `expectedLast` in `stream`. */
export function appendOutcome(outcome: InboxOutcome, stream: string, expectedLast: number): AppendOutcome {
  const answer = apiOutcome(outcome);
  switch (answer.kind) {
    case "ok":
      return acknowledged(answer.value, stream, expectedLast);
    case "api_error":
      return refused(answer.error);
    case "no_responders":
      return {
        kind: "unavailable",
        code: NO_RESPONDERS,
        message: "no responders: the stream is missing or electing its leader",
      };
    case "denied":
      return { kind: "unavailable", code: DENIED, message: answer.reason };
    case "oversized":
      return { kind: "unavailable", code: API_CODES.exceedsMaximum, message: answer.reason };
    case "timeout":
    case "disconnected":
      return { kind: answer.kind };
  }
}

/**
 * An acknowledgement of another stream or place cannot come from a sound server. It is not believed: anybody who may
 * subscribe to the log's subject could send one.
 */
function acknowledged(value: Readonly<Record<string, unknown>>, stream: string, expectedLast: number): AppendOutcome {
  const streamSequence = asNumber(value["seq"]);
  if (value["stream"] === stream && streamSequence === expectedLast + 1) return { kind: "acked", streamSequence };
  return {
    kind: "unavailable",
    code: 0,
    message: `an acknowledgement of ${String(value["stream"])} at ${streamSequence} came for ${stream} at ${expectedLast + 1}`,
  };
}

function refused(error: ApiError): AppendOutcome {
  const { errCode, description } = error;
  if (errCode === API_CODES.wrongLastSequence) return { kind: "wrong_last", lastSequence: numberAtEnd(description) };
  if (errCode === API_CODES.wrongLastSequenceUnknown) return { kind: "wrong_last", lastSequence: undefined };
  return { kind: "unavailable", code: errCode, message: description };
}

/** `wrong last sequence: 7` names the sequence; other versions may not. */
function numberAtEnd(text: string): number | undefined {
  const match = /(\d+)\s*$/.exec(text);
  return match === null ? undefined : Number(match[1]);
}
