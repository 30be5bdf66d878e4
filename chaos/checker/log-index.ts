/** Finds in the log what a request made: by item, by token, by request id. */
import type { EventOf } from "../../contracts/events.ts";
import type { LoggedEvent } from "./log-truth.ts";

export type Enqueued = LoggedEvent<EventOf<"enqueued">>;
export type Leased = LoggedEvent<EventOf<"leased">>;
export type Renewed = LoggedEvent<EventOf<"renewed">>;
/** What operators ask for. */
export type Ordered = LoggedEvent<
  EventOf<
    | ("cancelled" | "redriven" | "purged" | "drained" | "restored" | "discarded" | "released")
    | ("paused" | "resumed" | "configured" | "scheduled" | "unscheduled")
  >
>;
export type Ended = LoggedEvent<EventOf<"completed" | "failed" | "released" | "expired">>;

/** The name of a request of a principal; ids of different principals never meet. */
export const requestKey = (principal: string, requestId: string): string => JSON.stringify([principal, requestId]);

/** Invariant: an event without a request id is in no list of a request. */
export class LogIndex {
  readonly enqueued = new Map<string, Enqueued>();
  readonly enqueuedBy = new Map<string, Enqueued[]>();
  /** Without a request id. */
  readonly enqueuedUnnamed: Enqueued[] = [];
  readonly leased = new Map<number, Leased>();
  readonly leasedBy = new Map<string, Leased[]>();
  readonly leasedUnnamed: Leased[] = [];
  readonly renewed: Renewed[] = [];
  readonly ordered: Ordered[] = [];
  /** By token: more than one is a defect of the log. */
  readonly ended = new Map<number, Ended[]>();

  constructor(events: readonly LoggedEvent[]) {
    for (const logged of events) this.#add(logged);
  }

  #add(logged: LoggedEvent): void {
    const { event, actor } = logged;
    switch (event.type) {
      case "enqueued":
        this.enqueued.set(event.itemId, logged as Enqueued);
        if (event.schedule !== undefined) return;
        if (event.requestId === undefined) this.enqueuedUnnamed.push(logged as Enqueued);
        else push(this.enqueuedBy, requestKey(actor?.principal ?? "", event.requestId), logged as Enqueued);
        return;
      case "leased":
        this.leased.set(logged.token, logged as Leased);
        if (actor?.requestId === undefined) this.leasedUnnamed.push(logged as Leased);
        else push(this.leasedBy, requestKey(actor.principal, actor.requestId), logged as Leased);
        return;
      case "renewed":
        this.renewed.push(logged as Renewed);
        return;
      case "completed":
      case "failed":
      case "released":
      case "expired":
        // What is ended for a drain is ended by the leader.
        if (event.type === "released" && event.reason === "evicted") this.ordered.push(logged as Ordered);
        push(this.ended, event.token, logged as Ended);
        return;
      case "cancelled":
      case "redriven":
      case "purged":
      case "drained":
      case "restored":
      case "discarded":
      case "configured":
      case "paused":
      case "resumed":
      case "scheduled":
      case "unscheduled":
        this.ordered.push(logged as Ordered);
        return;
      case "deadLettered":
      case "logCreated":
      case "termStarted":
      case "termReleased":
      case "tickSkipped":
      case "stateHash":
        return;
    }
  }
}

export function push<Key, Value>(lists: Map<Key, Value[]>, key: Key, value: Value): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
