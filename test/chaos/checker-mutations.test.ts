/** Every way in which a valid history is spoiled is caught, and by the invariant that it breaks. */
import { expect, test } from "vitest";
import { judge } from "../../chaos/checker.ts";
import { buildHistory } from "./history-builder.ts";
import {
  appendEvent,
  askedOf,
  type EditedEvent,
  type EditedFrame,
  type EditedOperation,
  type EditedRun,
  editedCopy,
  editLog,
  eventsOf,
  first,
  isNew,
  lastOf,
  leasesOf,
  loneEnqueues,
  okOf,
  type Placed,
  resultsOf,
} from "./history-edits.ts";
import { type Mutation, mutation, ofRuns } from "./run-mutations.ts";
import { ofSinks } from "./sink-mutations.ts";

const STALE = { code: "stale_token", message: "", retryable: false, definite: true };
const eventOf = (run: EditedRun, type: string, isSuch: (placed: Placed) => boolean = () => true): Placed =>
  first(eventsOf(run), (placed) => placed.event.type === type && isSuch(placed));
const frameWith = (frames: readonly EditedFrame[], isSuch: (event: EditedEvent) => boolean): EditedFrame =>
  first(frames, ({ events }) => events.some(isSuch));
const eventIn = (frames: readonly EditedFrame[], isSuch: (event: EditedEvent) => boolean): EditedEvent =>
  first(frameWith(frames, isSuch).events, isSuch);
const nextItemId = (run: EditedRun): string => (eventsOf(run).length + 1).toString(36);
const sequenceOf = (operation: EditedOperation): number => Number(operation.result?.["sequence"]);
const tokensOf = (operation: EditedOperation) => leasesOf(operation).map(({ token }) => token);
const early = (ns: string | undefined, byNs: number): string => String(BigInt(ns ?? "0") - BigInt(byNs));
const edge = (run: EditedRun, edit: (reply: Record<string, unknown>) => void, f: EditedOperation["f"]): void =>
  edit(first(okOf(run, f)).result ?? {});

/** An item whose last event is of this type, with its last grant. */
function itemThat(run: EditedRun, ...types: readonly string[]) {
  const events = eventsOf(run).filter(({ event }) => event.itemId !== undefined);
  const last = new Map(events.map((placed) => [placed.event.itemId, placed]));
  const end = first(
    [...last.values()],
    ({ event }) => types.includes(event.type) && event["outcome"] !== "deadLettered",
  );
  const grant = lastOf(events.filter(({ event }) => event.type === "leased" && event.itemId === end.event.itemId));
  return { end, grant };
}

/** The grant once more, at the end of the log; `attempt` is the next one. */
function grantAgain(run: EditedRun, { event, actor }: Placed, counts: { pending: number; active: number }): void {
  const again = { ...event, attempt: Number(event["attempt"]) + 1 };
  if (actor !== undefined) appendEvent(run, again, actor, counts);
}

const ofLog: readonly Mutation[] = [
  mutation("an acknowledged event is dropped", ["L3", "Q3"], (run) => {
    const { itemId } = first(loneEnqueues(run));
    editLog(run, (frames) => {
      const frame = frameWith(frames, (event) => event.itemId === itemId);
      frame.events = frame.events.filter((event) => event.itemId !== itemId);
    });
  }),
  mutation("all replicas lose their tail", "L3", (run) => editLog(run, (frames) => void frames.splice(-20))),
  mutation("an acknowledged tail is on one replica only", "L3", (run) => {
    for (const replica of ["n2", "n3"]) run.logs[replica]?.splice(-20);
  }),
  mutation("a replica loses its middle", "L1", (run) => void run.logs["n2"]?.splice(50, 3)),
  mutation("a replica loses its beginning", "L1", (run) => void run.logs["n3"]?.splice(0, 3)),
  mutation("a replica is empty in the end", "L2", (run) => void run.logs["n3"]?.splice(0)),
  mutation("a replica ends at half", "L2", (run) => {
    const dump = run.logs["n2"] ?? [];
    dump.splice(dump.length >> 1);
  }),
  mutation("a replica lacks the last message", "L2", (run) => void run.logs["n2"]?.pop()),
  mutation("a replica holds another byte", "L2", ({ logs }) => {
    const record = first(logs["n2"] ?? []);
    (logs["n2"] ?? [])[0] = { ...record, payload: `${record.payload} ` };
  }),
  mutation("a frame is changed in all replicas", "L4", ({ logs }) => {
    for (const dump of Object.values(logs)) {
      const record = first(dump, ({ streamSequence }) => streamSequence === 40);
      dump[39] = { ...record, payload: record.payload.replace('"shard":"default"', '"shard":"default" ') };
    }
  }),
  mutation("a frame is appended without its expectation", "L5", ({ logs }) => {
    for (const dump of Object.values(logs)) {
      const { headers, ...record } = first(dump, ({ streamSequence }) => streamSequence === 40);
      const { "Nats-Expected-Last-Sequence": _expected, ...others } = headers;
      dump[39] = { ...record, headers: others };
    }
  }),
  mutation("a frame has a lower term", "L6", (run) =>
    editLog(run, (frames) => {
      for (const frame of frames.slice(-5)) frame.term -= 1;
    }),
  ),
  mutation("a deposed leader writes under the new term", "L6", (run) =>
    editLog(run, (frames) => {
      lastOf(frames)["writer"] = "d9";
    }),
  ),
  mutation("the log of another shard goes on", "L9", (run) =>
    editLog(run, (frames) => {
      lastOf(frames)["shard"] = "other";
    }),
  ),
  mutation("a frame counts one item more", "Q1", (run) =>
    editLog(run, (frames) => {
      lastOf(frames).pending += 1;
    }),
  ),
  mutation("the state's hash in the log is another", "S1", (run) =>
    editLog(run, (frames) => {
      eventIn(frames, ({ type }) => type === "stateHash")["hash"] = "0000000000000000";
    }),
  ),
  mutation("an event cannot have happened", "S2", (run) =>
    editLog(run, (frames) => {
      eventIn(frames, ({ type }) => type === "completed").itemId = "zz";
    }),
  ),
  mutation("tokens go back with the token epoch", "F1", (run) =>
    editLog(run, (frames) => {
      eventIn(frames, ({ type }) => type === "logCreated")["tokenEpoch"] = 1;
    }),
  ),
];

const ofEffects: readonly Mutation[] = [
  mutation("two grants are swapped", "Q5", (run) =>
    editLog(run, (frames) => {
      const isPair = ({ events }: EditedFrame) => events[0]?.type === "leased" && events[1]?.type === "leased";
      const { events } = first(frames, isPair);
      [events[0], events[1]] = [events[1] as EditedEvent, events[0] as EditedEvent];
    }),
  ),
  mutation("the effect of a request is there twice", "R1", (run) => {
    const { event, actor } = eventOf(run, "enqueued", (placed) => placed.event.requestId !== undefined);
    const isOk = okOf(run, "enqueue").some((operation) =>
      resultsOf(operation).some(({ itemId }) => itemId === event.itemId),
    );
    if (isOk && actor !== undefined)
      appendEvent(run, { ...event, itemId: nextItemId(run) }, actor, { pending: 1, active: 0 });
  }),
  mutation("a request of unknown outcome had two effects", "R3", (run) => {
    const told = new Set(okOf(run, "enqueue").flatMap((operation) => resultsOf(operation).map(({ itemId }) => itemId)));
    const { event, actor } = eventOf(run, "enqueued", (placed) => !told.has(placed.event.itemId));
    if (actor !== undefined) appendEvent(run, { ...event, itemId: nextItemId(run) }, actor, { pending: 1, active: 0 });
  }),
  mutation("an item is there that nobody enqueued", "Q2", (run) => {
    const { event, actor } = eventOf(run, "enqueued");
    const foreign = { ...event, itemId: nextItemId(run), requestId: "nobody" };
    if (actor !== undefined) appendEvent(run, foreign, actor, { pending: 1, active: 0 });
  }),
  mutation("a stale completion is accepted", "F2", (run) => {
    const { end, grant } = itemThat(run, "released", "failed", "expired");
    const { resourceType, resourceId, itemId, token } = end.event;
    const completed = {
      type: "completed",
      itemId: itemId ?? "",
      resourceType,
      resourceId,
      token: token ?? 0,
      digest: "0000000000000000",
    };
    if (grant.actor !== undefined) appendEvent(run, completed, grant.actor);
  }),
  mutation("a completion was refused and took place", "F2", (run) => {
    const operation = first(okOf(run, "complete"), (one) => isNew(resultsOf(one)[0]));
    const { token } = first(askedOf(operation, "leases"));
    run.operations = run.operations.filter(
      (one) => one === operation || askedOf(one, "leases")[0]?.["token"] !== token || one.f !== "complete",
    );
    Object.assign(operation, { type: "fail", result: undefined, error: STALE });
  }),
  mutation("an enqueue was refused and left an event", "Q7", (run) => {
    const { operation } = first(loneEnqueues(run));
    const error = { code: "backpressure", definite: true };
    Object.assign(operation, { type: "fail", result: undefined, error });
  }),
  mutation("an item is granted while its lease lives", "F3", (run) => {
    const { end } = itemThat(run, "leased");
    grantAgain(run, end, { pending: 0, active: 0 });
  }),
  mutation("an item is granted after its end", "Q4", (run) => {
    const { grant } = itemThat(run, "completed");
    grantAgain(run, grant, { pending: 0, active: 1 });
  }),
  mutation("an attempt is not counted", "Q6", (run) =>
    editLog(run, (frames) => {
      eventIn(frames, (event) => event.type === "leased" && event["attempt"] === 2)["attempt"] = 1;
    }),
  ),
  mutation("a grant answers a request of nobody", "R5", (run) => {
    const { requestId } = eventOf(run, "leased", ({ actor }) => actor?.requestId !== undefined).actor ?? {};
    run.operations = run.operations.filter(({ args }) => args["requestId"] !== requestId);
  }),
];

const ofAnswers: readonly Mutation[] = [
  mutation("a reply comes before its event is in the log", "L7", (run) => {
    const fresh = okOf(run, "enqueue").filter((operation) => resultsOf(operation).every(isNew));
    const pairs = fresh.flatMap((told) => fresh.map((other) => ({ told, other })));
    const { told, other } = first(
      pairs,
      (pair) =>
        BigInt(pair.told.invokedNs) < BigInt(pair.other.invokedNs) && sequenceOf(pair.told) > sequenceOf(pair.other),
    );
    told.returnedNs = early(other.invokedNs, 1);
  }),
  mutation("real time is reordered", "F7", (run) => {
    const fresh = okOf(run, "enqueue").filter((operation) => resultsOf(operation).every(isNew));
    const [one, other] = [first(fresh), lastOf(fresh)];
    const { invokedNs, returnedNs } = one;
    Object.assign(one, { invokedNs: other.invokedNs, returnedNs: other.returnedNs });
    Object.assign(other, { invokedNs, returnedNs });
  }),
  mutation("an answer cites the next sequence", "F7", (run) => {
    const { result = {} } = first(okOf(run, "complete"), (one) => isNew(resultsOf(one)[0]));
    result["sequence"] = Number(result["sequence"]) + 1;
  }),
  mutation("an answer cites another term", "F7", (run) =>
    edge(
      run,
      (reply) => {
        reply["term"] = 7;
      },
      "stats",
    ),
  ),
  mutation("an answer cites more than the log has", "L3", (run) => {
    const { result = {} } = lastOf(okOf(run, "complete"));
    result["sequence"] = 1_000_000;
  }),
  mutation("a consistent read is old", "F7", (run) => {
    const reads = okOf(run, "stats").filter(({ args }) => args["consistent"] === true);
    Object.assign(lastOf(reads), { args: { consistent: true }, result: first(reads).result });
  }),
  mutation("a read is answered from an older state than was asked for", "S6", (run) => {
    const reads = okOf(run, "stats");
    const isPlain = ({ args }: EditedOperation): boolean =>
      args["consistent"] !== true && Number(args["minSequence"]) > 0;
    const read = lastOf(reads.filter(isPlain));
    Object.assign(read, { result: first(reads).result });
  }),
  mutation("a count that is told is wrong", "O1", (run) =>
    edge(
      run,
      (reply) => {
        reply["deadLettered"] = 999;
      },
      "stats",
    ),
  ),
  mutation("a read shows another state", "S1", (run) =>
    edge(
      run,
      (reply) => {
        reply["stateHash"] = "0000000000000000";
      },
      "stats",
    ),
  ),
  mutation("a live lease is called stale", ["F7", "F3.search"], (run) => {
    const beat = first(okOf(run, "heartbeat"), (one) => {
      const { token } = first(askedOf(one, "leases"));
      const end = eventsOf(run).find(({ event }) => event.token === token && event.type === "completed");
      return resultsOf(one)[0]?.["error"] === undefined && end !== undefined;
    });
    resultsOf(beat)[0] = { error: STALE };
  }),
  mutation("who does not lead refuses for certain", "F7", (run) => {
    const operation = first(run.operations, ({ type, f }) => type === "info" && f === "lease");
    const returnedNs = String(BigInt(operation.invokedNs) + 1n);
    Object.assign(operation, { type: "fail", returnedNs, error: { code: "not_leader", definite: true } });
  }),
  mutation("a repeat gets another answer", ["R2", "R1.search"], (run) => {
    const repeat = first(okOf(run, "enqueue"), (one) => resultsOf(one)[0]?.["duplicate"] === true);
    const other = first(loneEnqueues(run)).operation;
    Object.assign(first(resultsOf(repeat)), resultsOf(other)[0], { duplicate: true });
  }),
  mutation("a request is answered as new twice", "R1.search", (run) => {
    const repeat = first(okOf(run, "enqueue"), (one) => resultsOf(one)[0]?.["duplicate"] === true);
    Object.assign(first(resultsOf(repeat)), { duplicate: false });
  }),
  mutation("one lease is told to two requests", ["F3", "F3.search"], (run) => {
    const leases = okOf(run, "lease").filter((one) => leasesOf(one).length > 0);
    const [one, other] = [first(leases), lastOf(leases)];
    leasesOf(other).push(first(leasesOf(one)));
  }),
  mutation("a lease runs out within the time that was told", "F6", (run) => {
    const { token } = eventOf(run, "expired").event;
    const lease = first(okOf(run, "lease"), (one) => tokensOf(one).includes(token));
    first(leasesOf(lease), (one) => one["token"] === token)["validMs"] = 1_000_000;
    run.operations = run.operations.filter(
      ({ f, args }) => f !== "heartbeat" || !JSON.stringify(args).includes(`${token}`),
    );
  }),
];

const told = (run: EditedRun) => okOf(run, "lease").flatMap(leasesOf);
const refusedIn = (run: EditedRun, ...verbs: readonly EditedOperation["f"][]): readonly Record<string, unknown>[] =>
  verbs
    .flatMap((f) => okOf(run, f).flatMap(resultsOf))
    .flatMap(({ error }) => (error === undefined ? [] : [error as Record<string, unknown>]));
const SETTLES = ["complete", "fail", "release"] as const;

/** What stands in an answer beside what it is asked for. */
const ofParts: readonly Mutation[] = [
  mutation("a lease is told with the fence of another resource", "F7", (run) => {
    first(told(run))["fenceKey"] = "resource/table/other";
  }),
  mutation("a worker is told to beat once a day", "F7", (run) => {
    first(told(run))["heartbeatMs"] = 86_400_000;
  }),
  mutation("a lease is told with another type of resource", "F7", (run) => {
    (first(told(run))["item"] as Record<string, unknown>)["resourceType"] = "other";
  }),
  mutation("a lease is told with an attribute that nobody gave", "F7", (run) => {
    (first(told(run))["item"] as Record<string, unknown>)["attributes"] = { colour: "red" };
  }),
  mutation("the last error of an item is kept from its next worker", "F7", (run) => {
    delete first(told(run), ({ lastError }) => lastError !== undefined)["lastError"];
  }),
  mutation("the last error of an item is told of another attempt", "F7", (run) => {
    const { lastError } = first(told(run), (lease) => lease["lastError"] !== undefined);
    (lastError as Record<string, unknown>)["attempt"] = 77;
  }),
  mutation("an entry is refused with a code of nobody", "F7", (run) => {
    Object.assign(first(refusedIn(run, "enqueue", ...SETTLES)), { code: "internal_nonsense", definite: false });
  }),
  mutation("a refusal calls itself retryable against the registry", "F7", (run) => {
    first(refusedIn(run, ...SETTLES), ({ code }) => code === "stale_token")["retryable"] = true;
  }),
  mutation("a refusal of an entry is called definite against the registry", "F7", (run) => {
    Object.assign(first(refusedIn(run, ...SETTLES)), { code: "unavailable", retryable: true });
  }),
  ...(["heartbeat", ...SETTLES] as const).map((f) =>
    mutation(`a stale ${f} is told of backpressure`, "F7", (run) => {
      Object.assign(first(refusedIn(run, f)), { code: "backpressure", retryable: true });
    }),
  ),
  mutation("a request is refused with a code of nobody", "F7", (run) => {
    const operation = first(run.operations, ({ type, f }) => type === "info" && f === "lease");
    const returnedNs = String(BigInt(operation.invokedNs) + 1n);
    Object.assign(operation, { type: "fail", returnedNs, error: { code: "internal_nonsense", definite: true } });
  }),
];

const mutations = [...ofLog, ...ofEffects, ...ofAnswers, ...ofParts, ...ofRuns, ...ofSinks];
const history = buildHistory(3, 200);

test("the history is valid before it is changed, also with the ends alone", () => {
  expect(judge(history)).toMatchObject({ status: "valid", reasons: [] });
  expect(judge(editedCopy(history))).toMatchObject({ status: "valid", reasons: [] });
});

test("writing the log anew changes nothing", () => {
  const run = editedCopy(history);
  editLog(run, () => undefined);
  expect(judge(run)).toMatchObject({ status: "valid", reasons: [] });
});

test.each(mutations)("$what: caught by $caughtBy", ({ caughtBy, spoil }) => {
  const run = editedCopy(history);
  spoil(run);
  const { status, invariants } = judge(run);
  const violated = Object.keys(invariants).filter((name) => (invariants[name]?.violated ?? 0) > 0);
  expect(violated).toEqual(expect.arrayContaining([...caughtBy]));
  expect(status).toBe(violated.every((name) => name.startsWith("run.")) ? "invalid" : "failed");
});

test("every invariant but the search's own budget has a change that it catches", () => {
  const names = Object.keys(judge(history).invariants);
  const caught = new Set<string>(mutations.flatMap(({ caughtBy }) => caughtBy));
  expect(names.filter((name) => !caught.has(name))).toEqual(["run.searched"]);
});
