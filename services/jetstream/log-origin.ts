/** Where a log begins: its first frame, which says what log it is. Found by reading the stream's leader from the first message on. */
import { OperatingError } from "../../contracts/errors.ts";
import type { EventOf } from "../../contracts/events.ts";
import type { Frame } from "../../contracts/frame.ts";
import type { LogInfo } from "../../contracts/ports.ts";
import { logStream } from "../../contracts/subjects.ts";
import { chainOf, decodeFrame } from "../runtime/frame-codec.ts";
import { API_CODES, API_READ_TIMEOUT_MS, apiFailure, askApiAsync } from "./api.ts";
import type { Inbox } from "./inbox.ts";
import { storedMessage } from "./stored-message.ts";
import { type StreamState, stateOfStream } from "./stream-info.ts";

/** Void messages before the first frame that are stepped over; more than these are no accident. */
const VOID_MESSAGES_MAX = 1_000;

export interface LogOrigin {
  readonly logId: string;
  readonly streamSequence: number;
  readonly chain: string;
  readonly at: number;
  /** The event that created the log; undefined once the log has been trimmed above it. */
  readonly created: EventOf<"logCreated"> | undefined;
}

/** Bounds and configuration of the shard's stream; undefined when there is no such stream. */
export function streamState(inbox: Inbox, region: string, shard: string): Promise<StreamState | undefined> {
  return stateOfStream(inbox, logStream(region, shard));
}

/**
 * The first frame of the shard's log; undefined when the stream holds none.
 * Throws `log_identity` when the log does not begin as a log begins, and what the stream's leader answers.
 */
export async function findOrigin(
  inbox: Inbox,
  region: string,
  shard: string,
  info: LogInfo,
): Promise<LogOrigin | undefined> {
  const first = Math.max(1, info.firstSequence);
  for (let sequence = first; sequence <= info.lastSequence; sequence += 1) {
    if (sequence - first >= VOID_MESSAGES_MAX)
      throw identityError(region, shard, `none of its first ${VOID_MESSAGES_MAX} messages is a frame of this shard`);
    const payload = await readPayload(inbox, region, shard, sequence);
    const decoded = decodeFrame(payload);
    if (decoded.kind === "void" || decoded.frame.region !== region || decoded.frame.shard !== shard) continue;
    return originOf(decoded.frame, payload, sequence, info);
  }
  return undefined;
}

async function readPayload(inbox: Inbox, region: string, shard: string, sequence: number): Promise<Uint8Array> {
  const stream = logStream(region, shard);
  const answer = await askApiAsync(inbox, `STREAM.MSG.GET.${stream}`, { seq: sequence }, API_READ_TIMEOUT_MS);
  if (answer.kind === "api_error" && answer.error.errCode === API_CODES.noMessage)
    throw identityError(region, shard, `message ${sequence} is missing before the first frame`);
  if (answer.kind !== "ok") throw apiFailure(answer, `reading ${stream} at ${sequence}`, true);
  const message = storedMessage(answer.value);
  if (message === undefined)
    throw new OperatingError("jetstream_error", `reading ${stream} at ${sequence}: unreadable answer`, {
      definite: true,
    });
  return message.payload;
}

function originOf(frame: Frame, payload: Uint8Array, streamSequence: number, info: LogInfo): LogOrigin {
  const [event] = frame.events;
  const created = event?.type === "logCreated" ? event : undefined;
  if (created === undefined && info.firstSequence <= 1)
    throw identityError(frame.region, frame.shard, "its first frame does not create a log");
  return { logId: frame.logId, streamSequence, chain: chainOf(payload), at: frame.at, created };
}

/** The log is not what it must be: nobody may lead until a person has decided. */
export function identityError(region: string, shard: string, what: string): OperatingError {
  return new OperatingError(
    "log_identity",
    `the log of shard ${shard} in region ${region} (stream ${logStream(region, shard)}): ${what}. Nobody leads it until this is ` +
      "settled: restore the stream from a backup, or, if its history may go, give the work to a shard of a new name",
    { definite: true, details: { region, shard } },
  );
}
