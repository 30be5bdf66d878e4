/** The subjects of a stream under a filter, page by page: for buckets of any size, in bounded memory. */
import { API_CODES, API_READ_TIMEOUT_MS, askApiAsync, asNumber, asRecord } from "./api.ts";
import type { Inbox } from "./inbox.ts";
import { patiently } from "./patience.ts";
import { failure, isError } from "./store-failure.ts";

export interface SubjectPage {
  /** Each with its number of messages, in no order. The server tells at most 100,000 at once. */
  readonly subjects: readonly (readonly [string, unknown])[];
  /** ms of the server's clock when it answered. */
  readonly serverTimeMs: number;
}

/** `what` names the stream for people. None where there is no stream. Throws: OperatingError, as `failure` tells it. */
export async function* subjectPages(
  inbox: Inbox,
  { stream, what, filter }: { readonly stream: string; readonly what: string; readonly filter: string },
  patienceMs: number,
): AsyncGenerator<SubjectPage> {
  for (let count = 0; ; ) {
    const body = { subjects_filter: filter, offset: count };
    const value = await patiently(async () => {
      const info = await askApiAsync(inbox, `STREAM.INFO.${stream}`, body, API_READ_TIMEOUT_MS);
      if (info.kind === "ok") return info.value;
      if (isError(info, API_CODES.streamMissing)) return undefined;
      throw failure(info, `listing the ${what}`, true);
    }, patienceMs);
    const subjects = Object.entries(asRecord(asRecord(value?.["state"])["subjects"]));
    count += subjects.length;
    yield { subjects, serverTimeMs: Date.parse(String(value?.["ts"])) };
    if (subjects.length === 0 || count >= asNumber(value?.["total"])) return;
  }
}
