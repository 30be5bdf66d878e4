/** Whether a lease ran out within the time for which its holder had been told that it is valid. */
import type { LogIndex } from "./log-index.ts";
import type { Tally } from "./tally.ts";
import { beatEntries, type Operation } from "./timed-operations.ts";

const NS_PER_MS = 1_000_000;
/** What clocks of one host may differ by, and what rounding takes. */
const SLACK_SHARE = 0.01;
const SLACK_MS = 2;

/** Counted from the moment of sending the request, as a worker does. ns on the run's time line. */
export const validUntil = (invoked: number, validMs: number): number =>
  invoked + (validMs * (1 - SLACK_SHARE) - SLACK_MS) * NS_PER_MS;

interface Told {
  /** As of this sequence. */
  readonly sequence: number;
  readonly until: number;
}

/** F6. An expiry was surely in the log when somebody was answered from behind it. */
export function checkPromises(operations: readonly Operation[], index: LogIndex, length: number, tally: Tally): void {
  const told = new Map<number, Told>();
  const shortened = new Set<number>();
  const seen = new Float64Array(length + 2).fill(Number.POSITIVE_INFINITY);
  const tell = (token: number, sequence: number, until: number): void => {
    const end = index.ended.get(token)?.[0];
    const known = told.get(token);
    // The youngest word before the end counts: a renewal may also shorten.
    if (end !== undefined && sequence < end.sequence && sequence >= (known?.sequence ?? 0))
      told.set(token, { sequence, until });
  };
  for (const operation of operations) {
    if (operation.f === "fenced_write") continue;
    const { invoked, returned, reply } = operation;
    const cited = Math.min(reply?.sequence ?? 0, length);
    seen[cited] = Math.min(seen[cited] ?? 0, returned);
    if (operation.f === "heartbeat")
      for (const { asked, answered } of beatEntries(operation)) {
        if (answered !== undefined) tell(asked.token, cited, validUntil(invoked, answered.validMs));
        else if (operation.request.extendMs !== undefined) shortened.add(asked.token);
      }
    if (operation.f === "lease")
      for (const { token, validMs } of operation.reply?.leases ?? []) tell(token, cited, validUntil(invoked, validMs));
  }
  for (let sequence = length; sequence >= 0; sequence -= 1)
    seen[sequence] = Math.min(seen[sequence] ?? 0, seen[sequence + 1] ?? 0);
  for (const [token, ends] of index.ended) {
    const end = ends[0];
    const known = told.get(token);
    if (end?.event.type !== "expired" || known === undefined || shortened.has(token)) continue;
    const seenAt = seen[end.sequence] ?? 0;
    const isKept = seenAt >= known.until;
    tally.check("F6", isKept, () => `lease ${token} ran out before ${seenAt}, its holder was told ${known.until}`);
  }
}
