/** The JetStream API over requests of ours: subjects, answers, error codes, and how a failure is told. */
import { OperatingError } from "../../contracts/errors.ts";
import type { HeaderBlock } from "./header-block.ts";
import type { Inbox, InboxOutcome } from "./inbox.ts";

/** Codes of the server that mean something to us (nats-server, server/errors.json). */
export const API_CODES = {
  /** Too few servers for the replicas; also said by a cluster that has just formed and does not trust all its peers yet. */
  noSuitablePeers: 10005,
  clusterNotAvailable: 10008,
  clusterNotLeader: 10009,
  noMessage: 10037,
  exceedsMaximum: 10054,
  streamNameInUse: 10058,
  streamMissing: 10059,
  wrongLastSequence: 10071,
  wrongLastSequenceUnknown: 10164,
} as const;

/** How long one question to the JetStream API may take unless the caller says otherwise. ms. */
export const API_TIMEOUT_MS = 5_000;

/** The same for reads that are asked again anyway: a replicated stream that is just being made answers nothing at all for a moment. ms. */
export const API_READ_TIMEOUT_MS = 1_000;

export const API_PREFIX = "$JS.API";

export interface ApiError {
  readonly code: number;
  readonly errCode: number;
  readonly description: string;
}

export type ApiOutcome =
  | { readonly kind: "ok"; readonly value: Readonly<Record<string, unknown>> }
  | { readonly kind: "api_error"; readonly error: ApiError }
  | Exclude<InboxOutcome, { kind: "reply" }>;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Asks the JetStream API. `body` is sent as JSON; undefined sends nothing. */
export function askApi(
  inbox: Inbox,
  subject: string,
  body: unknown,
  timeoutMs: number,
  callback: (outcome: ApiOutcome) => void,
): void {
  const payload = encoder.encode(body === undefined ? "" : JSON.stringify(body));
  inbox.request(`${API_PREFIX}.${subject}`, payload, timeoutMs, (outcome) => callback(apiOutcome(outcome)));
}

/** The same as a promise, for what is not on the hot path. */
export function askApiAsync(
  inbox: Inbox,
  subject: string,
  body: unknown,
  timeoutMs: number = API_TIMEOUT_MS,
): Promise<ApiOutcome> {
  return new Promise((resolve) => askApi(inbox, subject, body, timeoutMs, resolve));
}

/** Publishes into a stream and waits for its acknowledgement. */
export function publishAsync(
  inbox: Inbox,
  subject: string,
  payload: Uint8Array,
  headers: HeaderBlock,
  timeoutMs: number = API_TIMEOUT_MS,
): Promise<ApiOutcome> {
  return new Promise((resolve) =>
    inbox.request(subject, payload, timeoutMs, (outcome) => resolve(apiOutcome(outcome)), headers),
  );
}

/** Reads a reply of JetStream: an object, or its error. Bytes that are neither count as an error with code 0. */
export function apiOutcome(outcome: InboxOutcome): ApiOutcome {
  if (outcome.kind !== "reply") return outcome;
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(outcome.message.data));
  } catch {
    return unreadable("the answer is no JSON");
  }
  if (!isRecord(value)) return unreadable("the answer is no object");
  const error = value["error"];
  if (error === undefined || error === null) return { kind: "ok", value };
  if (!isRecord(error)) return unreadable("the error is no object");
  const { code, err_code: errCode, description } = error;
  return {
    kind: "api_error",
    error: {
      code: asNumber(code),
      errCode: asNumber(errCode),
      description: typeof description === "string" ? description : "",
    },
  };
}

function unreadable(description: string): ApiOutcome {
  return { kind: "api_error", error: { code: 0, errCode: 0, description } };
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function asNumber(value: unknown, otherwise = 0): number {
  return typeof value === "number" && Number.isFinite(value) ? value : otherwise;
}

export function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {};
}

/** Whether an error of the API can go away by itself: an election, a restart, a shortage. */
export function isPassing(error: ApiError): boolean {
  return error.code === 503 || error.code === 0 || error.code === 408 || error.code === 429;
}

type Failure = Exclude<ApiOutcome, { kind: "ok" }>;

/** What a failed call is told as. `definite` is the caller's word: a read that failed has certainly done nothing. */
export function apiFailure(outcome: Failure, what: string, definite: boolean): OperatingError {
  switch (outcome.kind) {
    case "api_error": {
      const { code, errCode, description } = outcome.error;
      const name = errCode === API_CODES.streamMissing ? "stream_missing" : "jetstream_error";
      return new OperatingError(name, `${what}: ${description} (${errCode})`, {
        definite: true,
        details: { code, errCode },
      });
    }
    case "no_responders":
      return new OperatingError(
        "jetstream_unavailable",
        `${what}: nobody answers; JetStream is off for this account, or the stream is electing its leader`,
        { definite: true },
      );
    case "denied":
      return new OperatingError("nats_denied", `${what}: ${outcome.reason}`, { definite: true });
    case "oversized":
      return new OperatingError("payload_too_large", `${what}: ${outcome.reason}`, { definite: true });
    case "timeout":
      return new OperatingError("jetstream_timeout", `${what}: no answer in time`, { definite });
    case "disconnected":
      return new OperatingError("nats_disconnected", `${what}: the connection to NATS is down`, { definite });
  }
}
