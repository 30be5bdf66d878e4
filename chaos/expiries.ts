/** Judges from the log alone whether a lease was ended before its time: the leader that ended it may be the one at fault. */
import type { EventType } from "../contracts/events.ts";
import type { History } from "./history.ts";

/** Log time is slewed to the server's: so much of it may be short of real time. ms. */
const TOLERANCE_MS = 50;
/** Events that end a lease. */
const ENDS: ReadonlySet<EventType> = new Set(["expired", "completed", "failed", "released"]);

export interface Expiries {
  readonly expired: number;
  /** Of them those whose time, counted from the last renewal or the takeover, had not passed. */
  readonly expiredEarly: number;
}

/** For a log without a raised token epoch, in which the token of a lease is the sequence of its grant. */
export function judgeExpiries({ events }: Pick<History, "events">): Expiries {
  const live = new Map<number, { sinceMs: number; durationMs: number }>();
  let expired = 0;
  let expiredEarly = 0;
  for (const { event, sequence, at } of events) {
    if (event.type === "leased") live.set(sequence, { sinceMs: at, durationMs: event.durationMs });
    else if (event.type === "renewed")
      for (const { token, durationMs } of event.leases) live.set(token, { sinceMs: at, durationMs });
    else if (event.type === "termStarted") for (const lease of live.values()) lease.sinceMs = at;
    else if (event.type === "expired") {
      const lease = live.get(event.token);
      expired += 1;
      if (lease === undefined || at - lease.sinceMs < lease.durationMs - TOLERANCE_MS) expiredEarly += 1;
    }
    if (ENDS.has(event.type) && "token" in event) live.delete(event.token);
  }
  return { expired, expiredEarly };
}
