/** The leases of one item as callers see them: a lease model that knows no log and no sequences, only tokens that somebody was given. */
import { push } from "./log-index.ts";
import { validUntil } from "./promises.ts";
import type { Interval, Model } from "./search.ts";
import {
  beatEntries,
  enqueueEntries,
  entryRequestId,
  isSettle,
  type Operation,
  type SettleOperation,
  type ShardOperationOf,
  settleEntries,
} from "./timed-operations.ts";

/**
 * `retold`: a repeated lease request was told a lease that it had got before. `repeated`: a settlement was answered as a duplicate.
 * `stale`: the token was refused for certain. `shortened`: an unknown beat may have made the lease shorter.
 */
export type LeaseStep = Interval &
  (
    | { readonly kind: "enqueue" }
    | { readonly kind: "grant"; readonly token: number; readonly attempt: number; readonly until: number }
    | { readonly kind: "retold"; readonly token: number; readonly until: number }
    | { readonly kind: "beat"; readonly token: number; readonly until: number; readonly isExact: boolean }
    | { readonly kind: "shortened" | "stale"; readonly token: number }
    | { readonly kind: "settle" | "repeated"; readonly token: number; readonly end: "completed" | "dead" | "pending" }
  );

interface LeaseState {
  readonly status: "absent" | "pending" | "leased" | "completed" | "dead";
  /** Of the last grant. */
  readonly token: number;
  readonly attempt: number;
  /** Before this moment the lease cannot have run out. ns. */
  readonly until: number;
  /** The last settlement: token and end. */
  readonly settled: string;
}

/** A lease may run out unseen, once the time for which its holder knows it valid is over: then it is as if it had not been. */
export const leaseModel: Model<LeaseState, LeaseStep> = {
  start: { status: "absent", token: 0, attempt: 0, until: 0, settled: "" },
  keyOf: ({ status, token, until, settled }) => `${status} ${token} ${until} ${settled}`,
  step(state, step) {
    const { status, token, until } = state;
    const hasRunOut = status === "leased" && step.returned >= until;
    const isHeld = status === "leased" && step.kind !== "enqueue" && token === step.token;
    switch (step.kind) {
      case "enqueue":
        return status === "absent" ? { ...state, status: "pending" } : undefined;
      case "grant":
        if (status !== "pending" && !hasRunOut) return undefined;
        if (step.token <= token || step.attempt <= state.attempt) return undefined;
        return { ...state, status: "leased", token: step.token, attempt: step.attempt, until: step.until };
      case "stale":
        if (!isHeld) return state;
        return hasRunOut ? { ...state, status: "pending", settled: "" } : undefined;
      case "repeated":
        return state.settled === settledText(step) ? state : undefined;
      case "retold":
        return isHeld ? { ...state, until: Math.max(until, step.until) } : undefined;
      case "beat":
        return isHeld ? { ...state, until: step.isExact ? step.until : Math.max(until, step.until) } : undefined;
      case "shortened":
        return isHeld ? { ...state, until: 0 } : undefined;
      case "settle":
        return isHeld ? { ...state, status: step.end, settled: settledText(step) } : undefined;
    }
  },
};

const settledText = ({ token, end }: { readonly token: number; readonly end: string }) => `${token} ${end}`;

/** What callers did to each item, by item id. */
export function leaseSteps(operations: readonly Operation[]): ReadonlyMap<string, readonly LeaseStep[]> {
  const steps = new LeaseSteps();
  for (const operation of operations) if (operation.f === "enqueue") steps.enqueue(operation);
  const grants = new Grants();
  for (const operation of operations) if (operation.f === "lease") grants.add(operation);
  grants.give(steps);
  for (const operation of operations) {
    if (operation.f === "heartbeat") steps.beat(operation);
    else if (isSettle(operation)) steps.settle(operation);
  }
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
      for (const end of endsOf(operation.f, answered?.outcome, asked.requeue))
        this.add(itemId, { kind, invoked, returned, token, end });
    }
  }
}

/** How an item stands behind a settlement; an unanswered failure may have gone either way. */
function endsOf(f: SettleOperation["f"], outcome: string | undefined, requeue: boolean | undefined) {
  if (f === "complete") return ["completed"] as const;
  if (f === "release") return ["pending"] as const;
  if (outcome === undefined && requeue !== false) return ["pending", "dead"] as const;
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
    const name = JSON.stringify(request.requestId === undefined ? [id] : [principal, request.requestId]);
    if (type !== "fail") this.#invoked.set(name, Math.min(invoked, this.#invoked.get(name) ?? invoked));
    for (const { itemId, token, attempt, validMs, item } of reply?.leases ?? []) {
      // One token told to two requests is two grants: the model refuses the second.
      const key = `${token} ${itemId} ${name}`;
      const grant = this.#grants.get(key) ?? { token, name, itemId, item, attempt, tells: [] };
      grant.tells.push({ invoked, returned, until: validUntil(invoked, validMs) });
      this.#grants.set(key, grant);
    }
  }

  give(steps: LeaseSteps): void {
    for (const { token, name, itemId, item, attempt, tells } of this.#grants.values()) {
      const [first, ...others] = tells.sort((a, b) => a.returned - b.returned);
      if (first === undefined) continue;
      // Whichever of the requests was answered first, any of them may have been what the lease was granted to.
      const invoked = this.#invoked.get(name) ?? first.invoked;
      steps.add(itemId, { ...first, kind: "grant", token, attempt, invoked }, item);
      for (const tell of others) steps.add(itemId, { ...tell, kind: "retold", token }, item);
    }
  }
}
