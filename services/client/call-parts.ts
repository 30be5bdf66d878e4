/** What of the options of a call goes into its request, and what is wrong with a request id that names many items. */
import type { ClientCore } from "./client-core.ts";
import type { EnqueueInput } from "./entries.ts";
import type { Envelope } from "./lane.ts";
import type { HeartbeatOptions, IdempotentOptions } from "./lease-client.ts";

export function afterOnly({ after, attemptTimeoutMs }: IdempotentOptions): Envelope | undefined {
  return after === undefined ? undefined : { after, attemptTimeoutMs };
}

export function extension({ extendMs, attemptTimeoutMs }: HeartbeatOptions): Envelope | undefined {
  return extendMs === undefined ? undefined : { extendMs, attemptTimeoutMs };
}

/** Whether items name each other by their places in the request. */
export const isFlow = (items: readonly EnqueueInput[]): boolean =>
  items.some(({ dependsOn }) => dependsOn?.some((named) => "index" in named));

/** What is wrong with items that name each other; undefined where they may be sent. */
export function flowProblem(core: ClientCore, encoded: Parameters<ClientCore["requestCount"]>[0]): string | undefined {
  if (encoded.some((one) => one.kind === "refused"))
    return "items: one of them is not valid, and dependsOn names others by their places";
  if (core.requestCount(encoded) > 1)
    return "dependsOn: an index names an item of the same request, but the items need several; name them by their itemIds";
  return undefined;
}

export function requestIdProblem(
  core: ClientCore,
  requestId: string,
  items: readonly EnqueueInput[],
  encoded: Parameters<ClientCore["requestCount"]>[0],
): string | undefined {
  if (requestId.length < 1 || requestId.length > 128) return "requestId: must have 1 to 128 characters";
  if (items.some((item) => item.requestId !== undefined))
    return "requestId: a request-level requestId and a requestId of an item exclude each other";
  // The index in the request is part of what is remembered, so leaving one out would shift the others.
  if (encoded.some((one) => one.kind === "refused"))
    return "items: one of them is not valid, and a requestId names all of them";
  if (core.requestCount(encoded) > 1)
    return "requestId: names one request, but the items need several; give each item its own requestId";
  return undefined;
}
