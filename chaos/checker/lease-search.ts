/** What callers did to each item and what they were told of it: the steps that the search puts in an order. */
import type { LeaseStep } from "./lease-model.ts";
import { push } from "./log-index.ts";
import { validUntil } from "./promises.ts";
import type { Interval } from "./search.ts";
import {
  beatEntries,
  enqueueEntries,
  entryRequestId,
  isOrder,
  isSettle,
  type Operation,
  type OrderOperation,
  orderEntries,
  type SettleOperation,
  type ShardOperationOf,
  settleEntries,
} from "./timed-operations.ts";

/** What callers did to each item, by item id. */
export function leaseSteps(operations: readonly Operation[]): ReadonlyMap<string, readonly LeaseStep[]> {
  const steps = new LeaseSteps();
  for (const operation of operations)
    if (operation.f === "enqueue") steps.enqueue(operation);
    else if (operation.f === "schedule-put") steps.schedule(operation);
  const grants = new Grants();
  for (const operation of operations) if (operation.f === "lease") grants.add(operation);
  grants.give(steps);
  for (const operation of operations) {
    if (operation.f === "heartbeat") steps.beat(operation);
    else if (isSettle(operation)) steps.settle(operation);
    else if (isOrder(operation)) steps.order(operation);
  }
  for (const operation of operations)
    if (operation.f === "evict") steps.evict(operation);
    else if (operation.f === "drain") steps.drain(operation, operations);
  return steps.all;
}

class LeaseSteps {
  readonly all = new Map<string, LeaseStep[]>();
  /** Enqueues without a known item, by what a lease of theirs would show. */
  readonly #open = new Map<string, Interval>();

  enqueue(operation: ShardOperationOf<"enqueue">): void {
    const { invoked, returned } = operation;
    for (const { answered, type, asked, index } of enqueueEntries(operation)) {
      const name = itemName({ ...asked, requestId: entryRequestId(operation, index) });
      const before = this.#open.get(name);
      if (type === "info") this.#open.set(name, before ?? { invoked, returned: Number.POSITIVE_INFINITY });
      // It may be the item of another request, which has its unique key.
      if (answered === undefined || (asked.uniqueKey !== undefined && answered.duplicate)) continue;
      const known = this.all.get(answered.itemId)?.[0];
      const from = Math.min(invoked, before?.invoked ?? invoked, known?.invoked ?? invoked);
      const until = Math.min(returned, known?.returned ?? returned);
      this.all.set(answered.itemId, [{ kind: "enqueue", invoked: from, returned: until }]);
    }
  }

  /** Its items come from no request; what their leases show is what it was put with. */
  schedule({ invoked, type, request }: ShardOperationOf<"schedule-put">): void {
    const name = itemName(request.item);
    if (type !== "fail" && !this.#open.has(name)) this.#open.set(name, { invoked, returned: Number.POSITIVE_INFINITY });
  }

  /** The item of a lease whose enqueue was never answered has come from one of unknown outcome. */
  add(itemId: string, step: LeaseStep, item?: NamedItem): void {
    const open = item === undefined || this.all.has(itemId) ? undefined : this.#open.get(itemName(item));
    if (open !== undefined) push(this.all, itemId, { ...open, kind: "enqueue" });
    push(this.all, itemId, step);
  }

  beat(operation: ShardOperationOf<"heartbeat">): void {
    const { invoked, returned, request } = operation;
    const isExact = request.extendMs !== undefined;
    for (const { asked, answered, type, error } of beatEntries(operation)) {
      const { itemId, token } = asked;
      if (answered !== undefined) {
        const until = validUntil(invoked, answered.validMs);
        this.add(itemId, { kind: "beat", invoked, returned, token, until, isExact });
      } else if (type === "info" && isExact) {
        this.add(itemId, { kind: "shortened", invoked, returned: Number.POSITIVE_INFINITY, token });
      } else if (error?.code === "stale_token") this.add(itemId, { kind: "stale", invoked, returned, token });
    }
  }

  settle(operation: SettleOperation): void {
    const { invoked } = operation;
    for (const { asked, answered, type, error } of settleEntries(operation)) {
      const { itemId, token } = asked;
      if (type === "fail") {
        if (error?.code === "stale_token")
          this.add(itemId, { kind: "stale", invoked, returned: operation.returned, token });
        continue;
      }
      const returned = type === "info" ? Number.POSITIVE_INFINITY : operation.returned;
      const kind = answered?.duplicate === true ? "repeated" : "settle";
      const isOpen = answered?.outcome === undefined;
      for (const end of endsOf(operation.f, answered?.outcome, asked.requeue))
        this.add(itemId, { kind, invoked, returned, token, end, isOpen });
    }
  }

  order(operation: OrderOperation): void {
    const { invoked, f } = operation;
    for (const { asked, answered, type } of orderEntries(operation)) {
      // Of others nobody knows since when they are there.
      if (type === "fail" || this.all.get(asked)?.[0]?.kind !== "enqueue") continue;
      const times = { invoked, returned: answered === undefined ? Number.POSITIVE_INFINITY : operation.returned };
      const isRepeat = answered?.duplicate === true;
      if (f === "cancel")
        for (const outcome of ["ended", "requested"] as const) {
          if ((answered?.outcome ?? outcome) === outcome) this.add(asked, { ...times, kind: f, outcome, isRepeat });
        }
      else if (!isRepeat) this.add(asked, { ...times, kind: f });
    }
  }

  /** Ends whatever lease the peer has at that moment. */
  evict({ invoked, returned, type, request: { peerId }, reply }: ShardOperationOf<"evict">): void {
    if (type === "fail") return;
    // One that was not told to be all of them may be about others.
    const until = reply?.left === 0 ? returned : Number.POSITIVE_INFINITY;
    const isHeld = (step: LeaseStep) => step.kind === "grant" && step.peerId === peerId && step.invoked <= until;
    for (const steps of this.all.values())
      if (steps.some(isHeld)) steps.push({ kind: "evict", peerId, invoked, returned: until });
  }

  /** Ends leases as long as it is on, if it was asked to. */
  drain({ invoked, type, request }: ShardOperationOf<"drain">, operations: readonly Operation[]): void {
    if (type === "fail" || request.leases !== "expire") return;
    const ends = operations.filter(
      ({ f, type: ended, request: other }) =>
        f === "restore" && ended === "ok" && (other as typeof request).drainId === request.drainId,
    );
    const latest = Math.min(...ends.map(({ returned }) => returned));
    for (const steps of this.all.values()) {
      const isGranted = steps.some((step) => step.kind === "grant" && step.invoked <= latest);
      const isThere = steps.some(({ returned }) => returned >= invoked);
      if (isGranted && isThere) steps.push({ kind: "drain", latest, invoked, returned: Number.POSITIVE_INFINITY });
    }
  }
}

/** How an item stands behind a settlement; an unanswered failure may have gone either way. */
function endsOf(f: SettleOperation["f"], outcome: string | undefined, requeue: boolean | undefined) {
  if (f === "complete") return ["completed"] as const;
  if (f === "release") return ["pending"] as const;
  if (outcome === undefined)
    return requeue === false ? (["dead", "gone"] as const) : (["pending", "dead", "gone"] as const);
  if (outcome === "cancelled") return ["gone"] as const;
  return outcome === "requeued" ? (["pending"] as const) : (["dead"] as const);
}

interface NamedItem {
  readonly resourceType: string;
  readonly resourceId: string;
  readonly requestId?: string | undefined;
}

/** By its request id, which the leases of an item tell; else by its resource. */
const itemName = ({ requestId, resourceType, resourceId }: NamedItem): string =>
  JSON.stringify(requestId === undefined ? [resourceType, resourceId] : [requestId]);

interface Grant {
  readonly itemId: string;
  readonly item: NamedItem;
  readonly token: number;
  readonly attempt: number;
  readonly peerId: string;
  /** Of the lease request. */
  readonly name: string;
  readonly tells: { readonly invoked: number; readonly returned: number; readonly until: number }[];
}

/** Grants by token: told for the first time, and again by repeats of the same request. */
class Grants {
  readonly #grants = new Map<string, Grant>();
  /** Earliest invocation of each lease request. */
  readonly #invoked = new Map<string, number>();

  add(operation: ShardOperationOf<"lease">): void {
    const { principal, request, invoked, returned, reply, id, type } = operation;
    const { peerId = principal } = request;
    const name = JSON.stringify(request.requestId === undefined ? [id] : [principal, request.requestId]);
    if (type !== "fail") this.#invoked.set(name, Math.min(invoked, this.#invoked.get(name) ?? invoked));
    for (const { itemId, token, attempt, validMs, item } of reply?.leases ?? []) {
      // One token told to two requests is two grants: the model refuses the second.
      const key = `${token} ${itemId} ${name}`;
      const grant = this.#grants.get(key) ?? { token, name, itemId, item, attempt, peerId, tells: [] };
      grant.tells.push({ invoked, returned, until: validUntil(invoked, validMs) });
      this.#grants.set(key, grant);
    }
  }

  give(steps: LeaseSteps): void {
    for (const { token, name, itemId, item, attempt, peerId, tells } of this.#grants.values()) {
      const [first, ...others] = tells.sort((a, b) => a.returned - b.returned);
      if (first === undefined) continue;
      // Whichever of the requests was answered first, any of them may have been what the lease was granted to.
      const invoked = this.#invoked.get(name) ?? first.invoked;
      steps.add(itemId, { ...first, kind: "grant", token, attempt, peerId, invoked }, item);
      for (const tell of others) steps.add(itemId, { ...tell, kind: "retold", token }, item);
    }
  }
}
