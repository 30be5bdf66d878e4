/** Exclusion where it counts: what the fenced resource has taken, in its order, against the grants of the log. */
import type { FencedRecord } from "../operations.ts";
import type { LogIndex } from "./log-index.ts";
import type { Tally } from "./tally.ts";
import type { FencedOperation, Operation } from "./timed-operations.ts";

export function checkResource(
  journal: readonly FencedRecord[],
  operations: readonly Operation[],
  index: LogIndex,
  tally: Tally,
): void {
  const writes = operations.filter((operation): operation is FencedOperation => operation.f === "fenced_write");
  const asked = new Map(writes.map((write) => [write.id, write]));
  const highest = new Map<string, number>();
  const taken = new Set<string>();
  for (const record of journal) {
    const { resource, itemId, token, operation } = record;
    const last = highest.get(resource) ?? 0;
    tally.check("F4", token >= last, () => `${resource} took ${operation} under ${token} after ${last}`);
    highest.set(resource, Math.max(last, token));
    const write = asked.get(operation);
    const { request } = write ?? {};
    const isAsked = request?.resource === resource && request.token === token && request.itemId === itemId;
    tally.check("F4", isAsked, () => `${resource} took ${operation}, which nobody sent so`);
    tally.check("F4", !taken.has(operation), () => `${resource} took ${operation} twice`);
    taken.add(operation);
    const grant = index.leased.get(token);
    const isHolder = grant?.event.itemId === itemId && grant.actor?.principal === write?.principal;
    tally.check("F4", isHolder, () => `${operation} wrote ${itemId} under ${token}, which is not its lease`);
  }
  for (const { id, type, error, request } of writes) {
    if (type === "ok") tally.check("F4", taken.has(id), () => `${id} was acknowledged and the resource lacks it`);
    if (type !== "fail") continue;
    tally.check("F4", !taken.has(id), () => `${id} was refused and the resource has it`);
    if (error?.code !== "stale_token") continue;
    const newest = highest.get(request.resource) ?? 0;
    tally.check(
      "F4",
      newest > request.token,
      () => `${id} was refused under ${request.token}, the newest is ${newest}`,
    );
  }
}
