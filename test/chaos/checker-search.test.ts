/** The independent search judges by what callers saw alone: no log, no cited sequences. */
import { expect, test } from "vitest";
import { type LeaseStep, leaseModel } from "../../chaos/checker/lease-model.ts";
import { leaseSteps } from "../../chaos/checker/lease-search.ts";
import { type RequestStep, requestModel, requestSteps } from "../../chaos/checker/request-search.ts";
import { search } from "../../chaos/checker/search.ts";
import { Tally } from "../../chaos/checker/tally.ts";
import { timedOperations } from "../../chaos/checker/timed-operations.ts";
import { buildHistory } from "./history-builder.ts";
import { type EditedOperation, editedCopy, first, leasesOf, okOf } from "./history-edits.ts";

const STEPS_MAX = 100_000;
const NEVER = Number.POSITIVE_INFINITY;
const history = buildHistory(3, 200);

function stepsOf(operations: readonly EditedOperation[]) {
  return leaseSteps(timedOperations(operations, new Tally()));
}

const judgeLeases = (steps: readonly LeaseStep[]) => search(leaseModel, steps, STEPS_MAX).verdict;
const judgeRequest = (steps: readonly RequestStep[]) => search(requestModel, steps, STEPS_MAX).verdict;

test("a valid history is possible item by item and request by request, in a few steps for each operation", () => {
  const { operations } = editedCopy(history);
  const leases = [...stepsOf(operations).values()];
  const requests = [...requestSteps(timedOperations(operations, new Tally())).values()];
  const results = [
    ...leases.map((steps) => search(leaseModel, steps, STEPS_MAX)),
    ...requests.map((steps) => search(requestModel, steps, STEPS_MAX)),
  ];
  expect(results.length).toBeGreaterThan(200);
  expect(results.filter(({ verdict }) => verdict !== "possible")).toEqual([]);
  const count = [...leases, ...requests].reduce((sum, steps) => sum + steps.length, 0);
  expect(results.reduce((sum, { steps }) => sum + steps, 0)).toBeLessThan(4 * count);
});

test("an item that is granted to a second worker while the first may rely on it is impossible", () => {
  const run = editedCopy(history);
  const lease = first(okOf(run, "lease"), (one) => leasesOf(one).length > 0);
  const [granted = {}] = leasesOf(lease);
  const [token, attempt] = [Number(granted["token"]) + 1, Number(granted["attempt"]) + 1];
  const returnedNs = String(BigInt(lease.returnedNs ?? 0) + 2n);
  const second: EditedOperation = {
    ...{ ...lease, id: "second", process: "second.0", principal: "second", args: { requestId: "second" } },
    ...{ invokedNs: String(BigInt(returnedNs) - 1n), returnedNs },
    result: { ...lease.result, leases: [{ ...granted, token, attempt }] },
  };
  const steps = stepsOf([...run.operations, second]).get(String(granted["itemId"])) ?? [];
  expect(judgeLeases(steps)).toBe("impossible");
  expect(judgeLeases(steps.filter((step) => step.kind !== "grant" || step.token !== token))).toBe("possible");
});

const enqueue: LeaseStep = { kind: "enqueue", invoked: 0, returned: 1 };
const grant = (token: number, invoked: number, until: number): LeaseStep => ({
  ...{ kind: "grant", token, attempt: token, peerId: "w", until, invoked, returned: invoked + 1 },
});
const complete = (token: number, invoked: number, returned = invoked + 1): LeaseStep => ({
  ...{ kind: "settle", end: "completed", isOpen: true, token, invoked, returned },
});
const stale = (token: number, invoked: number): LeaseStep => ({ kind: "stale", token, invoked, returned: invoked + 1 });

test.each<readonly [string, readonly LeaseStep[]]>([
  ["a grant behind a lease that has run out", [enqueue, grant(1, 10, 50), grant(2, 60, 90)]],
  ["a completion that nobody heard of", [enqueue, grant(1, 10, 50), complete(1, 20, NEVER)]],
  [
    "a stale token behind a completion that nobody heard of",
    [enqueue, grant(1, 10, 50), complete(1, 20, NEVER), stale(1, 30)],
  ],
  ["a grant that is told only behind the next one", [enqueue, grant(2, 60, 90), { ...grant(1, 10, 50), returned: 70 }]],
  ["an enqueue that nobody heard of", [{ ...enqueue, returned: NEVER }, grant(1, 10, 50)]],
])("%s is possible", (_what, steps) => expect(judgeLeases(steps)).toBe("possible"));

test.each<readonly [string, readonly LeaseStep[]]>([
  ["a grant within the time of another", [enqueue, grant(1, 10, 50), grant(2, 20, 90)]],
  ["a completion by the holder before", [enqueue, grant(1, 10, 50), grant(2, 60, 90), complete(1, 70)]],
  ["a grant behind the completion", [enqueue, grant(1, 10, 50), complete(1, 20), grant(2, 60, 90)]],
  ["a token that goes back", [enqueue, grant(2, 10, 50), grant(1, 60, 90)]],
  ["a live lease that is called stale", [enqueue, grant(1, 10, 50), stale(1, 20)]],
  ["a grant of what was never enqueued", [grant(1, 10, 50)]],
])("%s is impossible", (_what, steps) => expect(judgeLeases(steps)).toBe("impossible"));

const request = (kind: RequestStep["kind"], itemId: string, invoked: number, returned: number): RequestStep => ({
  ...{ kind, itemId, invoked, returned },
});

test("a request is made once: a duplicate may be answered before the answer to what made it, never before that was sent", () => {
  expect(judgeRequest([request("known", "a", 2, 3), request("made", "a", 0, 9)])).toBe("possible");
  expect(judgeRequest([request("perhaps", "", 0, NEVER), request("known", "a", 2, 3)])).toBe("possible");
  expect(judgeRequest([request("known", "a", 2, 3), request("made", "a", 4, 9)])).toBe("impossible");
  expect(judgeRequest([request("made", "a", 0, 1), request("made", "b", 2, 3)])).toBe("impossible");
  expect(judgeRequest([request("made", "a", 0, 1), request("known", "b", 2, 3)])).toBe("impossible");
});

test("the search ends at its budget, however many orders there are", () => {
  const beats = Array.from({ length: 20 }, (_, index): LeaseStep => {
    return { kind: "beat", token: 1, until: 50 + index, isExact: true, invoked: 20, returned: 30 };
  });
  const impossible = [enqueue, grant(1, 10, 50), ...beats, grant(1, 40, 90)];
  expect(search(leaseModel, impossible, 5_000)).toEqual({ verdict: "unknown", steps: 5_001 });
});

const cancel = (outcome: "ended" | "requested", invoked: number, returned = invoked + 1): LeaseStep => ({
  ...{ kind: "cancel", outcome, isRepeat: false, invoked, returned },
});
const release = (token: number, invoked: number): LeaseStep =>
  ({ ...complete(token, invoked), end: "pending" }) as LeaseStep;
const fail = (token: number, invoked: number, end: "pending" | "dead" | "gone"): LeaseStep =>
  ({ ...complete(token, invoked), end, isOpen: false }) as LeaseStep;
const taken = (kind: "redrive" | "purge", invoked: number): LeaseStep => ({ kind, invoked, returned: invoked + 1 });
const evict = (peerId: string, invoked: number): LeaseStep => ({
  kind: "evict",
  peerId,
  invoked,
  returned: invoked + 1,
});
const drain = (invoked: number, latest: number): LeaseStep => ({ kind: "drain", latest, invoked, returned: NEVER });

test.each<readonly [string, readonly LeaseStep[]]>([
  ["a completion behind a request to stop", [enqueue, grant(1, 10, 50), cancel("requested", 20), complete(1, 30)]],
  ["a failure that ends as it was asked", [enqueue, grant(1, 10, 50), cancel("requested", 20), fail(1, 30, "gone")]],
  ["a request to stop to somebody whom nobody told of its lease", [enqueue, cancel("requested", 20)]],
  [
    "a cancellation that nobody heard of",
    [enqueue, grant(1, 10, 50), cancel("requested", 20, NEVER), release(1, 30), grant(2, 60, 90)],
  ],
  [
    "a grant behind an eviction, within the time of the lease",
    [enqueue, grant(1, 10, 50), evict("w", 20), grant(2, 30, 90)],
  ],
  ["a grant behind a drain that ends leases", [enqueue, grant(1, 10, 50), drain(15, 25), grant(2, 30, 90)]],
  [
    "a dead letter that comes back",
    [enqueue, grant(1, 10, 50), fail(1, 20, "dead"), taken("redrive", 30), grant(2, 40, 90)],
  ],
  ["an item that died unseen and comes back", [enqueue, taken("redrive", 30), grant(2, 40, 90)]],
])("with operators %s is possible", (_what, steps) => expect(judgeLeases(steps)).toBe("possible"));

test.each<readonly [string, readonly LeaseStep[]]>([
  [
    "a grant behind the release of an item that was cancelled",
    [enqueue, grant(1, 10, 50), cancel("requested", 20), release(1, 30), grant(2, 60, 90)],
  ],
  [
    "a grant behind the expiry of an item that was cancelled",
    [enqueue, grant(1, 10, 50), cancel("requested", 20), grant(2, 60, 90)],
  ],
  [
    "a failure that is told otherwise than it was asked",
    [enqueue, grant(1, 10, 50), cancel("requested", 20), fail(1, 30, "pending")],
  ],
  ["a failure that ends as nobody asked", [enqueue, grant(1, 10, 50), fail(1, 30, "gone")]],
  ["a grant behind a cancellation", [enqueue, cancel("ended", 20), grant(1, 30, 50)]],
  ["a cancellation of an item that somebody has", [enqueue, grant(1, 10, 50), cancel("ended", 20)]],
  ["a grant behind a purge", [enqueue, grant(1, 10, 50), fail(1, 20, "dead"), taken("purge", 30), grant(2, 40, 90)]],
  [
    "a grant of a dead letter that nobody brought back",
    [enqueue, grant(1, 10, 50), fail(1, 20, "dead"), grant(2, 40, 90)],
  ],
  [
    "an item that comes back although it is completed",
    [enqueue, grant(1, 10, 50), complete(1, 20), taken("redrive", 30)],
  ],
  ["a completion behind an eviction", [enqueue, grant(1, 10, 50), evict("w", 20), complete(1, 30)]],
  ["a grant behind the eviction of another peer", [enqueue, grant(1, 10, 50), evict("v", 20), grant(2, 30, 90)]],
  [
    "a grant behind a drain that had ended before the lease",
    [enqueue, drain(2, 8), grant(1, 10, 50), grant(2, 30, 90)],
  ],
])("with operators %s is impossible", (_what, steps) => expect(judgeLeases(steps)).toBe("impossible"));
