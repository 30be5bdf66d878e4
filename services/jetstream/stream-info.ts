/** The bounds of a stream as its leader tells them. */
import { OperatingError } from "../../contracts/errors.ts";
import type { InfoOutcome, LogInfo } from "../../contracts/ports.ts";
import { API_CODES, API_READ_TIMEOUT_MS, type ApiOutcome, apiFailure, asNumber, asRecord } from "./api.ts";
import type { Inbox } from "./inbox.ts";
import { askRepeatedly } from "./repeated-question.ts";
import { configOf, type StreamConfig } from "./stream-config.ts";

export interface StreamState {
  readonly info: LogInfo;
  readonly config: StreamConfig;
  /** When the stream was made, as the server writes it: a stream that was deleted and made anew has another. */
  readonly created: string;
}

/**
 * Bounds and configuration of a stream; undefined when there is no such stream.
 * Throws: what JetStream answers, or that it does not answer within `timeoutMs`.
 */
export async function stateOfStream(
  inbox: Inbox,
  stream: string,
  timeoutMs: number = API_READ_TIMEOUT_MS,
): Promise<StreamState | undefined> {
  const answer = await new Promise<ApiOutcome>((resolve) =>
    askRepeatedly(inbox, `STREAM.INFO.${stream}`, undefined, timeoutMs, resolve),
  );
  const outcome = infoOutcome(answer, stream);
  if (outcome.kind === "missing") return undefined;
  if (outcome.kind === "failed") throw outcome.error;
  const value = answer.kind === "ok" ? answer.value : {};
  return { info: outcome.info, config: configOf(value), created: String(value["created"] ?? "") };
}

/** Reads an answer of `STREAM.INFO`. */
export function infoOutcome(outcome: ApiOutcome, stream: string): InfoOutcome {
  const what = `asking for the state of ${stream}`;
  if (outcome.kind !== "ok") {
    const isMissing = outcome.kind === "api_error" && outcome.error.errCode === API_CODES.streamMissing;
    return isMissing ? { kind: "missing" } : { kind: "failed", error: apiFailure(outcome, what, true) };
  }
  const info = streamBounds(outcome.value);
  return info === undefined ? { kind: "failed", error: unreadableAnswer(what) } : { kind: "info", info };
}

function streamBounds(value: Readonly<Record<string, unknown>>): LogInfo | undefined {
  const state = asRecord(value["state"]);
  const config = asRecord(value["config"]);
  const serverTimeMs = Date.parse(String(value["ts"]));
  const lastSequence = asNumber(state["last_seq"], -1);
  if (lastSequence < 0 || !Number.isFinite(serverTimeMs)) return undefined;
  return {
    firstSequence: asNumber(state["first_seq"]),
    lastSequence,
    messages: asNumber(state["messages"]),
    bytes: asNumber(state["bytes"]),
    bytesMax: asNumber(config["max_bytes"], -1),
    replicas: asNumber(config["num_replicas"], 1),
    serverTimeMs,
  };
}

/** An answer that no server of the versions that we accept gives. */
export function unreadableAnswer(what: string): OperatingError {
  return new OperatingError("jetstream_error", `${what}: the answer has not the expected shape`, { definite: true });
}
