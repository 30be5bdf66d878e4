/** Counts what each request made in the log: acknowledged once, refused never, unknown once or never, and nothing that nobody asked for. */
import type { Cause, CauseKind, Causes } from "./causes.ts";
import type { LogIndex } from "./log-index.ts";
import type { LogTruth } from "./log-truth.ts";
import type { RealTime } from "./real-time.ts";
import type { Invariant, Tally } from "./tally.ts";
import type { Operation } from "./timed-operations.ts";

/** By what a refused request shows that had an effect. */
const REFUSED: Readonly<Record<CauseKind, Invariant>> = {
  ...{ enqueue: "Q7", lease: "F7", settle: "F2", heartbeat: "F2", order: "F7", setting: "F7" },
};

export function checkEffects(causes: Causes, { isOnMajority }: LogTruth, tally: Tally): void {
  for (const cause of causes.all) {
    const { kind, name, ok, info, events, allowed } = cause;
    const count = events.length;
    if (ok + info === 0) {
      tally.check(REFUSED[kind], count === 0, () => `${name} was refused and had ${count} effects`);
      continue;
    }
    // A beat may write every time or never.
    if (kind === "heartbeat") continue;
    const isOnce = count <= allowed;
    tally.check(ok > 0 ? "R1" : "R3", isOnce, () => `${name} had ${count} effects, at most ${allowed} were asked for`);
    if (ok === 0) continue;
    if (kind !== "lease" && kind !== "setting")
      tally.check("L3", count > 0, () => `${name} was acknowledged and is not in the log`);
    for (const { sequence, streamSequence } of events)
      tally.check("L3", isOnMajority(streamSequence), () => `${sequence} of ${name} is on a minority of the replicas`);
  }
  tally.checked("Q2", causes.effects.length + causes.orphans.length);
  for (const { event, sequence } of causes.orphans)
    tally.violated("Q2", `sequence ${sequence}: nobody asked for this ${event.type}`);
}

/** L7 and F7: no answer from before what was known, none from behind what was yet to be asked for. */
export function checkRealTime(
  operations: readonly Operation[],
  causes: Causes,
  realTime: RealTime,
  tally: Tally,
): void {
  for (const { sequence, invoked, name } of causes.effects) {
    const shown = realTime.shownBefore(invoked);
    tally.check("F7", sequence > shown, () => `${name} is at ${sequence}, and ${shown} was shown before it was sent`);
  }
  for (const operation of operations) {
    if (operation.f === "fenced_write" || operation.reply === undefined) continue;
    const { id, reply, request, invoked, returned } = operation;
    const asked = realTime.askedAfter(returned);
    tally.check("L7", reply.sequence < asked, () => `${id} told ${reply.sequence}; ${asked} was asked for after that`);
    if (request.consistent !== true) continue;
    const shown = realTime.shownBefore(invoked);
    tally.check("F7", reply.sequence >= shown, () => `${id} is consistent as of ${reply.sequence}; ${shown} was shown`);
  }
}

/** How often operators had their way, by the event. */
export function countOrdered({ ordered }: LogIndex): Readonly<Record<string, number>> {
  const byType = Map.groupBy(ordered, ({ event }) => (event.type === "released" ? "evicted" : event.type));
  return Object.fromEntries([...byType].map(([type, { length }]) => [type, length]));
}

/** The queue in the words of Jepsen's total-queue checker, and what became of unknown outcomes. */
export function countQueue(causes: Causes): Readonly<Record<string, number>> {
  const enqueues = causes.all.filter(({ kind, ok, info }) => kind === "enqueue" && ok + info > 0);
  const count = (isSuch: (cause: Cause) => boolean): number => enqueues.filter(isSuch).length;
  const open = causes.all.filter(({ kind, ok, info }) => kind !== "heartbeat" && ok === 0 && info > 0);
  return {
    attempts: enqueues.length,
    acknowledged: count(({ ok }) => ok > 0),
    lost: count(({ ok, events }) => ok > 0 && events.length === 0),
    unexpected: causes.orphans.filter(({ event }) => event.type === "enqueued").length,
    duplicated: count(({ events, allowed }) => events.length > allowed),
    recovered: count(({ ok, events }) => ok === 0 && events.length > 0),
    ambiguous: open.length,
    ambiguousCommitted: open.filter(({ events }) => events.length > 0).length,
  };
}
