/** Whether each refusal that was called definite was true at some moment while its request was under way. */
import { type ErrorCode, errorEntry } from "../../contracts/errors.ts";
import type { OperationError } from "../operations.ts";
import { payloadText } from "./causes.ts";
import { type LogIndex, requestKey } from "./log-index.ts";
import { isEnded } from "./naive-item.ts";
import type { NaiveModel } from "./naive-model.ts";
import { OperatorRefusals } from "./operator-refusals.ts";
import type { RealTime } from "./real-time.ts";
import type { Tally } from "./tally.ts";
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
  type ShardOperation,
  type ShardOperationOf,
  settleEntries,
} from "./timed-operations.ts";

/** The client's own word: the broker has said that nobody got the request. */
const NOBODY_THERE = "no_responders";
const LEASE_CODES: readonly ErrorCode[] = ["permission_denied", "item_not_found", "stale_token", "unavailable"];
const ORDER_CODES: readonly ErrorCode[] = ["item_not_found", "conflict", "unavailable"];
/** What an entry of a batch may be refused with; `unavailable` where it does not fit into the frame. */
const ENTRY_CODES: Readonly<
  Record<"enqueue" | "heartbeat" | SettleOperation["f"] | OrderOperation["f"] | "get", readonly string[]>
> = {
  enqueue: [
    ...(["invalid_argument", "unsupported_version", "payload_too_large", "unavailable"] as const),
    ...(["backpressure", "request_expired", "conflict"] as const),
  ] satisfies ErrorCode[],
  heartbeat: LEASE_CODES,
  complete: [...LEASE_CODES, "conflict"] satisfies ErrorCode[],
  fail: [...LEASE_CODES, "conflict", "unsupported_version"] satisfies ErrorCode[],
  release: LEASE_CODES,
  cancel: ORDER_CODES,
  redrive: ORDER_CODES,
  purge: ORDER_CODES,
  get: ["item_not_found"] satisfies ErrorCode[],
};

export interface RefusalParts {
  /** Behind the whole log. */
  readonly model: NaiveModel;
  readonly index: LogIndex;
  readonly realTime: RealTime;
  readonly tally: Tally;
  /** By sequence: the last one up to it at which the shard was full; -1 for none. */
  readonly fullAt: readonly number[];
}

interface LeaseRef {
  readonly itemId: string;
  readonly token: number;
}

/** Invariant: `contents` holds what was sent under each request id of an enqueue. */
export class Refusals {
  readonly #parts: RefusalParts;
  readonly #operators: OperatorRefusals;
  readonly #contents = new Map<string, Set<string>>();

  constructor(parts: RefusalParts, operations: readonly Operation[]) {
    this.#parts = parts;
    this.#operators = new OperatorRefusals(parts);
    for (const operation of operations) {
      if (operation.f !== "enqueue") continue;
      const { principal, request } = operation;
      const whole = JSON.stringify(request.items.map(payloadText));
      for (const [index, item] of request.items.entries()) {
        const id = entryRequestId(operation, index);
        if (id === undefined) continue;
        const key = requestKey(principal, request.requestId ?? id);
        const contents = this.#contents.get(key) ?? new Set();
        this.#contents.set(key, contents.add(request.requestId === undefined ? payloadText(item) : whole));
      }
    }
  }

  check(operation: ShardOperation): void {
    const { error, id, type } = operation;
    if (type === "fail" && error !== undefined && error.code !== NOBODY_THERE) {
      this.#registered(id, error);
      this.#operators.whole(operation, error);
    }
    if (operation.f === "enqueue") {
      for (const { error: refused, index } of enqueueEntries(operation)) {
        this.#entry(operation, operation.f, refused);
        if (refused?.definite === true) this.#enqueue(operation, index, refused);
      }
    } else if (operation.f === "heartbeat" || isSettle(operation)) {
      const entries = operation.f === "heartbeat" ? beatEntries(operation) : settleEntries(operation);
      for (const { error: refused, asked } of entries) {
        this.#entry(operation, operation.f, refused);
        if (refused?.definite === true) this.#lease(operation, asked, refused);
      }
    } else if (isOrder(operation)) {
      for (const { error: refused, asked, type: ended } of orderEntries(operation)) {
        this.#entry(operation, operation.f, refused);
        if (type === "ok" && ended === "fail" && refused !== undefined) this.#operators.item(operation, asked, refused);
      }
    } else if (operation.f === "get")
      for (const [index, itemId] of operation.request.itemIds.entries()) {
        const { error: refused } = (operation.reply?.results[index] ?? {}) as { readonly error?: OperationError };
        this.#entry(operation, operation.f, refused);
        if (refused !== undefined) this.#operators.item(operation, itemId, refused);
      }
  }

  /** `definite` may be weaker than the registry's; what is never definite there nobody can know for certain. */
  #registered(id: string, { code, definite, retryable }: OperationError): void {
    const { tally } = this.#parts;
    const entry = errorEntry(code);
    if (!tally.check("F7", entry !== undefined, () => `${id}: ${code} is no code of the registry`)) return;
    const isPossible = !definite || entry?.definite === true;
    tally.check("F7", isPossible, () => `${id}: ${code} was called definite`);
    // Of a request's refusal only code and certainty are written down.
    const isRetryable = retryable === undefined || retryable === entry?.retryable;
    tally.check("F7", isRetryable, () => `${id}: ${code} was called ${retryable === true ? "" : "not "}retryable`);
  }

  /** One entry of a batch that was answered. */
  #entry({ id, type }: ShardOperation, f: keyof typeof ENTRY_CODES, error: OperationError | undefined): void {
    if (type !== "ok" || error === undefined) return;
    this.#registered(id, error);
    const isOfVerb = ENTRY_CODES[f].includes(error.code);
    this.#parts.tally.check("F7", isOfVerb, () => `${id}: no entry of ${f} is refused with ${error.code}`);
  }

  #enqueue(operation: ShardOperationOf<"enqueue">, index: number, error: OperationError): void {
    const { tally, realTime, fullAt } = this.#parts;
    const { id, principal, invoked, returned, request } = operation;
    if (error.code === "conflict") {
      const requestId = request.requestId ?? entryRequestId(operation, index) ?? "";
      const contents = this.#contents.get(requestKey(principal, requestId));
      tally.check("R2", (contents?.size ?? 0) > 1, () => `${id}: ${requestId} never had other contents`);
    }
    if (error.code === "invalid_argument") {
      const isBounded = request.items[index]?.notAfter !== undefined;
      tally.check("F7", isBounded, () => `${id}: a good item is called invalid`);
    }
    const details = error["details"] as { pending?: number } | undefined;
    // A log that is nearly full refuses them too.
    if (error.code !== "backpressure" || details?.pending === undefined) return;
    const until = Math.min(realTime.askedAfter(returned), fullAt.length);
    const from = realTime.shownBefore(invoked);
    const isTrue = (fullAt[until - 1] ?? -1) >= Math.min(from, until - 1);
    tally.check("F7", isTrue, () => `${id}: the shard was not full between ${from} and ${until}`);
  }

  #lease(operation: ShardOperation, { itemId, token }: LeaseRef, error: OperationError): void {
    const { tally, model, index, realTime } = this.#parts;
    const { id, principal, returned } = operation;
    const until = realTime.askedAfter(returned);
    const end = model.ends.get(token);
    const wasEnded = end !== undefined && end.sequence < until;
    switch (error.code) {
      case "stale_token": {
        // A token that nobody was granted is as stale as one that has ended.
        const isTrue = wasEnded || !index.leased.has(token);
        tally.check("F7", isTrue, () => `${id}: lease ${token} of ${itemId} lived, its end is ${end?.sequence}`);
        return;
      }
      case "conflict":
        tally.check("F7", wasEnded, () => `${id}: lease ${token} was not settled`);
        return;
      case "item_not_found": {
        const item = model.byId.get(itemId);
        const isTrue = item === undefined || isEnded(item.status);
        tally.check("F7", isTrue, () => `${id}: item ${itemId} is ${item?.status}`);
        return;
      }
      case "permission_denied": {
        const holder = index.leased.get(token)?.actor?.principal;
        tally.check("F7", holder !== principal, () => `${id}: lease ${token} is of ${holder}`);
        return;
      }
    }
  }
}
