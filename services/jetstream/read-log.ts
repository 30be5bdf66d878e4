/** A shard's log as an async iterable, for tools: history by reads of the stream's leader, then, if wanted, what comes. */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import type { LogInfo, LogMessage } from "../../contracts/ports.ts";
import { logStream } from "../../contracts/subjects.ts";
import { API_CODES, apiFailure, askApiAsync } from "./api.ts";
import { Follower } from "./follower.ts";
import { Inbox } from "./inbox.ts";
import { streamState } from "./log-origin.ts";
import { patiently } from "./patience.ts";
import { logMessageOf, storedMessage } from "./stored-message.ts";
import { unreadableAnswer } from "./stream-info.ts";

/** Reads under way at once. Each may carry a whole frame. */
const READS_MAX = 32;
/** Messages that may wait for the reader of a live log before the server is asked to pause. */
const WAITING_MAX = 1_000;

export interface ReadLogRequest {
  readonly region: string;
  readonly shard: string;
  /** First stream sequence; the first that the stream holds when absent. */
  readonly from?: number;
  /** Last stream sequence; the log's end at the start of the reading when absent. */
  readonly to?: number;
  /** Go on with what comes, until `to`, the signal or for ever. */
  readonly live?: boolean;
  /** Ends the reading without an error. */
  readonly signal?: AbortSignal;
}

/**
 * Yields messages in stream order, each once. A hole shows as a jump of `streamSequence`.
 * Throws: `stream_missing`; `log_trimmed` (definite, `details.first`) when what was to be read next has been trimmed away: begin again at
 * `first`; and what JetStream answers when 30 s do not heal it.
 */
export async function* readLogMessages(
  connection: NatsConnection,
  request: ReadLogRequest,
): AsyncGenerator<LogMessage> {
  const { region, shard, to = Number.MAX_SAFE_INTEGER, live = false, signal } = request;
  const stream = logStream(region, shard);
  const inbox = new Inbox(connection);
  const bounds = async (): Promise<LogInfo> => {
    const state = await patiently(() => streamState(inbox, region, shard));
    if (state !== undefined) return state.info;
    throw new OperatingError("stream_missing", `there is no stream ${stream}; check region and shard`, {
      definite: true,
    });
  };
  try {
    const { firstSequence, lastSequence } = await bounds();
    const from = request.from ?? Math.max(firstSequence, 1);
    const history = { inbox, stream, signal, bounds, from, to: Math.min(to, lastSequence) };
    yield* readRange(history);
    if (!live || to <= lastSequence) return;
    yield* followRange(connection, { ...history, from: Math.max(from, lastSequence + 1), to });
  } finally {
    inbox.close();
  }
}

interface Range {
  readonly inbox: Inbox;
  readonly stream: string;
  readonly from: number;
  readonly to: number;
  readonly signal: AbortSignal | undefined;
  /** Asks how far the stream reaches now. */
  readonly bounds: () => Promise<LogInfo>;
}

/** Tells what was trimmed away from a hole, which is the reader's to judge. */
async function checkTrimmed({ stream, bounds }: Range, missing: number): Promise<void> {
  const { firstSequence: first } = await bounds();
  if (first <= missing) return;
  const message = `${stream} begins at ${first} now, and ${missing} was to be read: it was trimmed meanwhile`;
  throw new OperatingError("log_trimmed", message, { definite: true, details: { first } });
}

/** Several reads under way, handed out in order. */
async function* readRange(range: Range): AsyncGenerator<LogMessage> {
  const { inbox, stream, from, to, signal } = range;
  const reads: Promise<LogMessage | undefined>[] = [];
  let next = from;
  let isInHole = false;
  for (let sequence = from; sequence <= to && signal?.aborted !== true; sequence += 1) {
    while (next <= to && reads.length < READS_MAX) {
      const wanted = next;
      const read = patiently(() => readOne(inbox, stream, wanted));
      // A read that fails is met when its turn comes; until then its rejection is not an unhandled one.
      read.catch(() => undefined);
      reads.push(read);
      next += 1;
    }
    const message = await reads.shift();
    if (message !== undefined) yield message;
    else if (!isInHole) await checkTrimmed(range, sequence);
    isInHole = message === undefined;
  }
}

/** One message from the stream's leader; undefined when the server says that there is none. */
async function readOne(inbox: Inbox, stream: string, sequence: number): Promise<LogMessage | undefined> {
  const answer = await askApiAsync(inbox, `STREAM.MSG.GET.${stream}`, { seq: sequence });
  if (answer.kind === "api_error" && answer.error.errCode === API_CODES.noMessage) return undefined;
  if (answer.kind !== "ok") throw apiFailure(answer, `reading ${stream} at ${sequence}`, true);
  const message = storedMessage(answer.value);
  if (message === undefined) throw unreadableAnswer(`reading ${stream} at ${sequence}`);
  return logMessageOf(message);
}

async function* followRange(connection: NatsConnection, range: Range): AsyncGenerator<LogMessage> {
  const { inbox, stream, from, to, signal } = range;
  const waiting: LogMessage[] = [];
  let next = from;
  let failure: OperatingError | undefined;
  let wake: () => void = () => undefined;
  const onAbort = (): void => wake();
  signal?.addEventListener("abort", onAbort);
  const follower = new Follower({
    connection,
    inbox,
    stream,
    fromSequence: from,
    handler: {
      message: (message) => {
        waiting.push(message);
        if (waiting.length > WAITING_MAX) follower.hold();
        wake();
      },
      failed: (error) => {
        failure = error;
        wake();
      },
    },
  });
  try {
    while (signal?.aborted !== true) {
      const message = waiting.shift();
      if (message !== undefined) {
        if (message.streamSequence > next) await checkTrimmed(range, next);
        next = message.streamSequence + 1;
        if (message.streamSequence <= to) yield message;
        if (message.streamSequence >= to) return;
        continue;
      }
      if (failure !== undefined) throw failure;
      follower.resume();
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    follower.close();
  }
}
