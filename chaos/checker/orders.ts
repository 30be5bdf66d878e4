/** What operators asked for, by the names under which the log tells of it. */
import type { OperationType } from "../operations.ts";
import type { LogIndex, Ordered } from "./log-index.ts";
import { isOrder, orderEntries, type ShardOperation } from "./timed-operations.ts";

export interface Order {
  /** `order`: the log has it once it is acknowledged. `setting`: that may have been so before. */
  readonly kind: "order" | "setting";
  readonly name: string;
  readonly type: OperationType;
  /** Events that it may make; by an id it is made once, however often it is asked for. */
  readonly allowed: number | "once";
}

const VERBS = { cancel: "cancelled", redrive: "redriven", purge: "purged" } as const;
const SETTINGS = {
  ...{ pause: "paused", resume: "resumed", configure: "configured" },
  ...{ "schedule-put": "scheduled", "schedule-delete": "unscheduled" },
} as const;

/** What an operation asked for; reads ask for nothing. */
export function ordersOf(operation: ShardOperation): readonly Order[] {
  const { type } = operation;
  if (isOrder(operation)) {
    const event = VERBS[operation.f];
    const allowed = operation.f === "redrive" ? 1 : "once";
    return orderEntries(operation).map((entry) => {
      return { kind: "order", name: `${event} ${entry.asked}`, type: entry.type, allowed };
    });
  }
  switch (operation.f) {
    case "drain":
      return [{ kind: "order", name: `drained ${operation.request.drainId}`, type, allowed: "once" }];
    case "restore":
      return [{ kind: "order", name: `restored ${operation.request.drainId}`, type, allowed: "once" }];
    case "evict": {
      const allowed = operation.reply?.evicted ?? Number.POSITIVE_INFINITY;
      return [{ kind: "setting", name: `released ${operation.request.peerId}`, type, allowed }];
    }
    case "pause":
    case "resume":
    case "configure":
      return [{ kind: "setting", name: SETTINGS[operation.f], type, allowed: 1 }];
    case "schedule-put":
    case "schedule-delete":
      return [{ kind: "setting", name: `${SETTINGS[operation.f]} ${operation.request.name}`, type, allowed: 1 }];
    case "enqueue":
    case "lease":
    case "heartbeat":
    case "complete":
    case "fail":
    case "release":
    case "stats":
    case "get":
    case "list":
    case "schedule-list":
      return [];
  }
}

/** The name of the order that an event follows. */
export function nameOfOrdered({ event }: Ordered, index: LogIndex): string {
  switch (event.type) {
    case "released":
      return `released ${index.leased.get(event.token)?.actor?.peerId}`;
    case "cancelled":
    case "redriven":
    case "purged":
      return `${event.type} ${event.itemId}`;
    case "drained":
    case "restored":
    case "discarded":
      return `${event.type} ${event.drainId}`;
    case "scheduled":
    case "unscheduled":
      return `${event.type} ${event.name}`;
    case "paused":
    case "resumed":
    case "configured":
      return event.type;
  }
}
