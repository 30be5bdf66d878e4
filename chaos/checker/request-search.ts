/** A request id as callers see it: a register that is written once, with the item that the request made. */
import { push, requestKey } from "./log-index.ts";
import type { Interval, Model } from "./search.ts";
import { enqueueEntries, entryRequestId, type Operation } from "./timed-operations.ts";

/** `made`: answered as new. `known`: answered as a duplicate. `perhaps`: never answered. */
export type RequestStep = Interval & { readonly kind: "made" | "known" | "perhaps"; readonly itemId: string };

/** Empty before the effect; `?` behind one that nobody has told the item of. */
export const requestModel: Model<string, RequestStep> = {
  start: "",
  keyOf: (state) => state,
  step(state, { kind, itemId }) {
    if (kind === "perhaps") return state === "" ? "?" : undefined;
    if (kind === "made") return state === "" ? itemId : undefined;
    return state === itemId || state === "?" ? itemId : undefined;
  },
};

/** What callers heard of each request id. A run keeps the records of all its items: nothing is forgotten. */
export function requestSteps(operations: readonly Operation[]): ReadonlyMap<string, readonly RequestStep[]> {
  const steps = new Map<string, RequestStep[]>();
  for (const operation of operations) {
    if (operation.f !== "enqueue") continue;
    const { principal, invoked, returned } = operation;
    for (const { answered, type, asked, index } of enqueueEntries(operation)) {
      const requestId = entryRequestId(operation, index);
      if (requestId === undefined || type === "fail") continue;
      // It may be the item of another request, which has its unique key.
      if (asked.uniqueKey !== undefined && answered?.duplicate === true) continue;
      const kind = answered === undefined ? "perhaps" : answered.duplicate ? "known" : "made";
      const end = answered === undefined ? Number.POSITIVE_INFINITY : returned;
      push(steps, requestKey(principal, requestId), { kind, itemId: answered?.itemId ?? "", invoked, returned: end });
    }
  }
  return steps;
}
