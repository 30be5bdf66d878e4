/** Who may have made which event: operations grouped by what they would make, beside the events that the log has of it. */
import type { EnqueueItem, ItemPayload } from "../../contracts/commands.ts";
import { type LogIndex, requestKey } from "./log-index.ts";
import type { LoggedEvent } from "./log-truth.ts";
import { nameOfOrdered, ordersOf } from "./orders.ts";
import {
  beatEntries,
  type EnqueueEntry,
  enqueueEntries,
  entryRequestId,
  isSettle,
  type Operation,
  type ShardOperation,
  type ShardOperationOf,
  settleEntries,
} from "./timed-operations.ts";

type Type = ShardOperation["type"];
/** What is asked for: grants are counted by the request, a renewal is no effect to be counted, a setting may be there before. */
export type CauseKind = "enqueue" | "lease" | "settle" | "heartbeat" | "order" | "setting";

/** Operations that ask for one and the same thing. */
export interface Cause {
  readonly kind: CauseKind;
  /** For reports. */
  readonly name: string;
  /** Earliest invocation of those that may have an effect. ns. */
  invoked: number;
  ok: number;
  info: number;
  fail: number;
  /** Events that they may have made together; grown by each that is not `fail`, or fixed by an id. */
  allowed: number;
  readonly events: LoggedEvent[];
}

/** An event with the earliest moment at which it may have been asked for. */
export interface Effect {
  readonly sequence: number;
  readonly invoked: number;
  readonly name: string;
}

/** Every group of operations, and the events that belong to none. */
export class Causes {
  readonly all: readonly Cause[];
  readonly effects: readonly Effect[];
  readonly orphans: readonly LoggedEvent[];
  readonly #causes = new Map<string, Cause>();
  /** Principals of lease requests without an id whose outcome is unknown, by their earliest invocation. */
  readonly #openLeases = new Map<string, number>();

  constructor(operations: readonly Operation[], index: LogIndex) {
    for (const operation of operations) this.#operation(operation, index);
    const effects: Effect[] = [];
    const orphans: LoggedEvent[] = [];
    for (const [key, event] of clientEvents(index)) {
      const cause = this.#causes.get(key);
      const open = event.event.type === "leased" ? this.#openLeases.get(event.actor?.principal ?? "") : undefined;
      cause?.events.push(event);
      const invoked = cause?.invoked ?? open;
      if (invoked === undefined) orphans.push(event);
      // What was refused for certain was never asked for in this sense; that it had an effect is told elsewhere.
      else if (invoked < Number.POSITIVE_INFINITY)
        effects.push({ sequence: event.sequence, invoked, name: cause?.name ?? "lease" });
    }
    this.all = [...this.#causes.values()];
    this.effects = effects;
    this.orphans = orphans;
  }

  #operation(operation: Operation, index: LogIndex): void {
    const { principal } = operation;
    if (operation.f === "enqueue")
      for (const entry of enqueueEntries(operation)) {
        const requestId = entryRequestId(operation, entry.index);
        const key = requestId === undefined ? unnamedKey(principal, entry.asked) : namedKey(principal, requestId);
        // What was answered with the item that has its unique key made nothing.
        const type = hasMetKey(entry, requestId, index) ? "fail" : entry.type;
        this.#add("enqueue", key, operation, type, requestId === undefined ? 1 : "once");
      }
    else if (operation.f === "lease") this.#lease(operation, index);
    else if (operation.f === "heartbeat")
      for (const { asked, type } of beatEntries(operation))
        this.#add("heartbeat", tokenKey("heartbeat", principal, asked.token), operation, type, 1);
    else if (isSettle(operation))
      for (const { asked, type } of settleEntries(operation))
        this.#add("settle", tokenKey(operation.f, principal, asked.token), operation, type, "once");
    else if (operation.f !== "fenced_write")
      for (const { kind, name, type, allowed } of ordersOf(operation)) this.#add(kind, name, operation, type, allowed);
  }

  #lease(operation: ShardOperationOf<"lease">, { leased }: LogIndex): void {
    const { principal, request, type, invoked } = operation;
    if (request.requestId !== undefined)
      this.#add("lease", leaseKey(principal, request.requestId), operation, type, request.maxItems);
    else if (type === "info") {
      if (!this.#openLeases.has(principal)) this.#openLeases.set(principal, invoked);
    } else
      for (const { token } of operation.reply?.leases ?? [])
        if (leased.has(token)) this.#add("lease", tokenKey("lease", principal, token), operation, type, 1);
  }

  #add(kind: CauseKind, key: string, operation: ShardOperation, type: Type, allowed: number | "once"): void {
    let cause = this.#causes.get(key);
    if (cause === undefined) {
      const name = `${operation.f} ${operation.id}`;
      cause = { kind, name, invoked: Number.POSITIVE_INFINITY, ok: 0, info: 0, fail: 0, allowed: 0, events: [] };
      this.#causes.set(key, cause);
    }
    cause[type] += 1;
    if (type === "fail") return;
    cause.invoked = Math.min(cause.invoked, operation.invoked);
    cause.allowed = allowed === "once" ? 1 : cause.allowed + allowed;
  }
}

const VERBS = { completed: "complete", failed: "fail", released: "release" } as const;

/** Everything that a client must have asked for, with the key of its cause. */
function* clientEvents(index: LogIndex): Generator<readonly [string, LoggedEvent]> {
  for (const event of index.enqueued.values()) {
    const { requestId, item, schedule } = event.event;
    // The leader makes it by itself.
    if (schedule !== undefined) continue;
    const principal = event.actor?.principal ?? "";
    yield [requestId === undefined ? unnamedKey(principal, item) : namedKey(principal, requestId), event];
  }
  for (const event of index.leased.values()) {
    const { principal = "", requestId } = event.actor ?? {};
    yield [requestId === undefined ? tokenKey("lease", principal, event.token) : leaseKey(principal, requestId), event];
  }
  for (const event of index.ordered) yield [nameOfOrdered(event, index), event];
  for (const event of index.renewed)
    for (const { token } of event.event.leases)
      yield [tokenKey("heartbeat", event.actor?.principal ?? "", token), event];
  for (const ends of index.ended.values())
    for (const event of ends) {
      const { type, token } = event.event;
      const isOfHolder = type !== "expired" && (type !== "released" || event.event.reason === undefined);
      if (isOfHolder) yield [tokenKey(VERBS[type], event.actor?.principal ?? "", token), event];
    }
}

/** Whether an enqueue was answered with an item of another request: the one that has its unique key. */
export function hasMetKey(
  { asked, answered, operation }: EnqueueEntry,
  requestId: string | undefined,
  index: LogIndex,
): boolean {
  if (answered?.duplicate !== true || asked.uniqueKey === undefined) return false;
  const made = index.enqueued.get(answered.itemId);
  return (
    requestId === undefined || made?.event.requestId !== requestId || made.actor?.principal !== operation.principal
  );
}

const namedKey = (principal: string, requestId: string) => `enqueue ${requestKey(principal, requestId)}`;
const leaseKey = (principal: string, requestId: string) => `lease ${requestKey(principal, requestId)}`;
const tokenKey = (verb: string, principal: string, token: number) => `${verb} ${token} ${principal}`;
/** An item as it was sent, or as it stands in the log. */
type AskedItem = Omit<ItemPayload, "dependsOn"> & {
  readonly dependsOn?: readonly object[] | undefined;
  readonly requestId?: string | undefined;
};

/** Without an id an item is known by what it holds; its delay stands in the log as a time. */
const unnamedKey = (
  principal: string,
  { delayMs: _delayMs, notBefore: _notBefore, ...item }: AskedItem & Pick<EnqueueItem, "delayMs">,
) => `enqueue ${principal} ${payloadText(item)}`;

/** An item as the log holds it, where it was enqueued at this log time. ms. */
export function loggedPayload({ delayMs = 0, ...item }: EnqueueItem, at: number): Omit<EnqueueItem, "delayMs"> {
  return delayMs === 0 ? item : { ...item, notBefore: at + delayMs };
}

/** What an item holds, in one order of its fields. */
export function payloadText(item: AskedItem): string {
  const { requestId: _requestId, attributes = {}, ...rest } = item;
  const sorted = (fields: object) => Object.entries(fields).sort(([left], [right]) => (left < right ? -1 : 1));
  return JSON.stringify([sorted(rest), sorted(attributes)]);
}
