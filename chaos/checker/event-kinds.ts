/** Which events are about the queue, and which of them a log of state version 1 does not hold. */
import type { LogEvent } from "../../contracts/events.ts";

/** What is about the log itself. */
export type OtherEvent = Extract<LogEvent, { type: "logCreated" | "termStarted" | "termReleased" | "stateHash" }>;
export type QueueEvent = Exclude<LogEvent, OtherEvent>;

const OTHER: ReadonlySet<string> = new Set<OtherEvent["type"]>([
  ...(["logCreated", "termStarted", "termReleased", "stateHash"] as const),
]);
export const isOfQueue = (event: LogEvent): event is QueueEvent => !OTHER.has(event.type);

export const OF_VERSION_2: ReadonlySet<string> = new Set<QueueEvent["type"]>([
  ...(["cancelled", "redriven", "purged", "scheduled", "unscheduled", "tickSkipped"] as const),
  ...(["drained", "restored", "discarded"] as const),
]);
