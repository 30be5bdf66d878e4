/** What the drills judge a log by: made-up logs with the faults that a drill must find. */
import { expect, test } from "vitest";
import { judgeExpiries } from "../../chaos/expiries.ts";
import { History, type PlacedEvent } from "../../chaos/history.ts";
import type { LogEvent } from "../../contracts/events.ts";

type Written = readonly [at: number, event: object & { readonly type: LogEvent["type"] }];

/** A log of one term per `termStarted`; events are numbered from 1. */
function logOf(...written: readonly Written[]): History {
  let term = 0;
  const events = written.map(([at, event], index): PlacedEvent => {
    if (event.type === "termStarted") term += 1;
    return { event: event as unknown as LogEvent, sequence: index + 1, term, at };
  });
  return new History(events);
}

const TERM = { type: "termStarted" } as const;
const leased = { type: "leased", itemId: "i", durationMs: 15_000 } as const;
const expired = (token: number) => ({ type: "expired", token, reason: "duration" }) as const;
const renewed = (token: number) => ({ type: "renewed", leases: [{ token, durationMs: 15_000 }] }) as const;
const enqueued = (itemId: string, resourceId: string) => ({ type: "enqueued", itemId, item: { resourceId } }) as const;

test("a lease that ran its time was not ended early", () => {
  const log = logOf([0, TERM], [100, leased], [15_100, expired(2)]);
  expect(judgeExpiries(log)).toEqual({ expired: 1, expiredEarly: 0 });
});

test.each([
  ["before its time", logOf([0, TERM], [100, leased], [14_000, expired(2)])],
  ["counted from before its renewal", logOf([0, TERM], [100, leased], [9_000, renewed(2)], [15_100, expired(2)])],
  ["counted from before the takeover", logOf([0, TERM], [100, leased], [9_000, TERM], [15_100, expired(2)])],
  [
    "after it was settled",
    logOf([0, TERM], [100, leased], [200, { type: "completed", token: 2 } as never], [90_000, expired(2)]),
  ],
])("a lease that ended %s is found", (_how, log) => {
  expect(judgeExpiries(log)).toEqual({ expired: 1, expiredEarly: 1 });
});

test("an acknowledged item that the log has under another name or not at all is lost, a call with two items is doubled", () => {
  const log = logOf(
    [0, TERM],
    [1, enqueued("i1", "call-1")],
    [2, enqueued("i2", "call-2")],
    [3, enqueued("i3", "call-2")],
  );
  expect(log.compareEnqueued(new Map([["call-1", "i1"]]))).toEqual({ lost: 0, doubled: 1 });
  expect(
    log.compareEnqueued(
      new Map([
        ["call-1", "i2"],
        ["call-4", "i4"],
      ]),
    ),
  ).toEqual({ lost: 2, doubled: 1 });
});

test("a completion that was acknowledged but is not there is lost, one that is there twice is doubled", () => {
  const completed = (itemId: string) => ({ type: "completed", itemId }) as const;
  const log = logOf([0, TERM], [1, completed("i1")], [2, completed("i1")]);
  expect(log.compareCompleted(new Set(["i1", "i2"]))).toEqual({ lost: 1, doubled: 1 });
});

test("the term at a sequence is that of its event", () => {
  const log = logOf([0, TERM], [1, leased], [2, TERM]);
  expect([1, 2, 3, 4].map((sequence) => log.termAt(sequence))).toEqual([1, 1, 2, undefined]);
});
