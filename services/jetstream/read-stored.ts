/** One stored message from the stream's leader, with its headers: for streams that are read here and there instead of followed. */
import { API_CODES, API_READ_TIMEOUT_MS, type ApiOutcome, apiFailure } from "./api.ts";
import type { Inbox } from "./inbox.ts";
import { askRepeatedly } from "./repeated-question.ts";
import { type StoredMessage, storedMessage } from "./stored-message.ts";
import { unreadableAnswer } from "./stream-info.ts";

/** `seq` alone: the message there. With `next_by_subj`: the first from there on whose subject matches. */
export interface StoredQuestion {
  readonly seq: number;
  readonly next_by_subj?: string;
}

/**
 * Undefined when the server says that there is no such message.
 * Throws: `stream_missing`, and what JetStream answers, or that it does not answer within `timeoutMs`.
 */
export async function readStored(
  inbox: Inbox,
  stream: string,
  question: StoredQuestion,
  timeoutMs: number = API_READ_TIMEOUT_MS,
): Promise<StoredMessage | undefined> {
  const what = `reading ${stream} at ${question.seq}`;
  const answer = await new Promise<ApiOutcome>((resolve) =>
    askRepeatedly(inbox, `STREAM.MSG.GET.${stream}`, question, timeoutMs, resolve),
  );
  if (answer.kind === "api_error" && answer.error.errCode === API_CODES.noMessage) return undefined;
  if (answer.kind !== "ok") throw apiFailure(answer, what, true);
  const message = storedMessage(answer.value);
  if (message === undefined) throw unreadableAnswer(what);
  return message;
}
