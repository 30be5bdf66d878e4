/** Restored items and where they come from: the origin stands as the item's request id, so that whatever remembers requests remembers it too. */
import type { ItemOrigin } from "../../contracts/drain.ts";

/**
 * No caller can choose an id with this end: one of a request has a plain index behind its last slash, and a slash before digits at the end of an item's own
 * id is not left as it is.
 */
const END = "/00";

/** Log ids have no slash, so that the first one ends the log id. */
export const originRequestId = ({ logId, itemId }: ItemOrigin): string => `${logId}/${itemId}${END}`;

/** undefined for an item that was enqueued. */
export function originOf({ requestId }: { readonly requestId: string | undefined }): ItemOrigin | undefined {
  if (requestId?.endsWith(END) !== true) return undefined;
  const slash = requestId.indexOf("/");
  return { logId: requestId.slice(0, slash), itemId: requestId.slice(slash + 1, -END.length) };
}
