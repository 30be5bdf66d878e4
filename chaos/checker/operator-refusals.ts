/** Whether what operators were refused for certain was true at some moment while their request was under way. */
import type { ErrorCode } from "../../contracts/errors.ts";
import type { OperationError } from "../operations.ts";
import { isEnded, isUnfinished, type NaiveItem, type NaiveStatus, statusAt } from "./naive-item.ts";
import type { RefusalParts } from "./refusals.ts";
import type { OrderOperation, ShardOperation, ShardOperationOf } from "./timed-operations.ts";

/** Sequences between which a request was decided. */
interface Span {
  readonly since: number;
  readonly until: number;
}
type DrainOperation = ShardOperationOf<"drain"> | ShardOperationOf<"restore"> | ShardOperationOf<"list">;

/** What a whole request may be refused with for what it asks; without an effect it is refused by whoever does not lead. */
const CODES: Readonly<Partial<Record<ShardOperation["f"], readonly ErrorCode[]>>> = {
  ...{ cancel: [], redrive: ["backpressure"], purge: [], pause: [], resume: [], configure: [], get: [], evict: [] },
  ...{ drain: ["conflict"], restore: ["conflict", "drain_not_found"], list: ["drain_not_found"] },
  ...{ "schedule-put": ["backpressure"], "schedule-list": [], "schedule-delete": [] },
};

export class OperatorRefusals {
  readonly #parts: RefusalParts;

  constructor(parts: RefusalParts) {
    this.#parts = parts;
  }

  /** A request was refused as a whole. */
  whole(operation: ShardOperation, { code }: OperationError): void {
    const codes = CODES[operation.f];
    if (codes === undefined) return;
    const { id, f } = operation;
    const isOfVerb = (codes as readonly string[]).includes(code);
    this.#parts.tally.check("F7", isOfVerb, () => `${id}: no good ${f} is refused with ${code}`);
    if (f === "drain" || f === "restore" || f === "list") this.#drain(operation as DrainOperation, code);
  }

  /** An item of a request was refused. */
  item(operation: OrderOperation | ShardOperationOf<"get">, itemId: string, error: OperationError): void {
    const { model, tally } = this.#parts;
    const { id, f } = operation;
    const item = model.byId.get(itemId);
    const statuses = this.#statuses(item, this.#span(operation));
    let isTrue: boolean;
    if (error.code === "item_not_found") isTrue = item === undefined || statuses.some(isUnknown);
    else if (f === "cancel") isTrue = statuses.some((status) => isEnded(status) && status !== "cancelled");
    else isTrue = statuses.some((status) => status !== "deadLettered") || this.#isKeyTaken(operation, item, error);
    tally.check("F7", isTrue, () => `${id}: ${error.code}, and item ${itemId} was ${statuses.join()}`);
  }

  #drain(operation: DrainOperation, code: string): void {
    const { tally, model } = this.#parts;
    const { id, f, request } = operation;
    const { since, until } = this.#span(operation);
    const { on, ended } = model.drains;
    const drains = on === undefined ? ended : [...ended, { ...on, outcome: "", endedAt: Number.POSITIVE_INFINITY }];
    const begun = drains.filter(({ sequence }) => sequence < until);
    const own = begun.filter(({ drainId }) => drainId === request.drainId);
    let isTrue: boolean;
    // Pages are told only of the one that is on.
    if (code === "drain_not_found")
      isTrue = !own.some(({ sequence, endedAt }) => sequence <= since && (f !== "list" || endedAt >= until));
    else if (f === "drain") isTrue = own.length > 0 || begun.some(({ endedAt }) => endedAt > since);
    else isTrue = own.some(({ outcome }) => outcome === "discarded");
    tally.check("F7", isTrue, () => `${id}: ${code} for drain ${request.drainId} between ${since} and ${until}`);
  }

  /** A dead letter stays one while another item has its unique key. */
  #isKeyTaken(operation: ShardOperation, item: NaiveItem | undefined, { details }: OperationError): boolean {
    const { itemId } = (details ?? {}) as { readonly itemId?: string };
    const holder = this.#parts.model.byId.get(itemId ?? "");
    if (operation.f !== "redrive" || holder === undefined || holder === item) return false;
    const isOfKey = holder.uniqueKey !== undefined && holder.uniqueKey === item?.uniqueKey;
    return isOfKey && this.#statuses(holder, this.#span(operation)).some(isUnfinished);
  }

  #span({ invoked, returned }: ShardOperation): Span {
    const { realTime } = this.#parts;
    return { since: realTime.shownBefore(invoked), until: realTime.askedAfter(returned) };
  }

  /** Every status that an item had. */
  #statuses(item: NaiveItem | undefined, { since, until }: Span): readonly (NaiveStatus | undefined)[] {
    if (item === undefined) return [];
    const later = item.history.filter(({ sequence }) => sequence > since && sequence < until);
    return [statusAt(item, since), ...later.map(({ status }) => status)];
  }
}

/** Not there yet, or ended and perhaps forgotten. */
const isUnknown = (status: NaiveStatus | undefined): boolean => status === undefined || isEnded(status);
