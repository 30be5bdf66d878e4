/**
 * Questions to a stream's leader that are asked again while nobody answers. A server that does not lead drops them silently, so one that was
 * asked during an election would be answered by nobody: its whole time would be lost although a leader is there long before.
 */
import { type ApiOutcome, askApi } from "./api.ts";
import type { Inbox } from "./inbox.ts";

/** What an answer takes at most on a sound network, several times over. ms. */
const ASK_AGAIN_MS = 150;

/** Like `askApi`; only for what changes nothing. The first answer counts, to whichever of the questions it came. */
export function askRepeatedly(
  inbox: Inbox,
  subject: string,
  body: unknown,
  timeoutMs: number,
  callback: (outcome: ApiOutcome) => void,
): void {
  const dueMs = performance.now() + timeoutMs;
  let isOver = false;
  let timer: NodeJS.Timeout | undefined;
  const end = (outcome: ApiOutcome): void => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    callback(outcome);
  };
  const ask = (leftMs: number): void => {
    askApi(inbox, subject, body, leftMs, end);
    if (leftMs > ASK_AGAIN_MS) timer = setTimeout(() => ask(Math.max(1, dueMs - performance.now())), ASK_AGAIN_MS);
  };
  ask(timeoutMs);
}
