/** Ways in which a history of the whole queue is spoiled: what operators are told, what was done without them, and what holds items back. */
import {
  appendEvent,
  askedOf,
  type EditedEvent,
  type EditedOperation,
  type EditedRun,
  editLog,
  eventsOf,
  first,
  isNew,
  leasesOf,
  okOf,
  type Placed,
  resultsOf,
} from "./history-edits.ts";
import { type Mutation, mutation } from "./run-mutations.ts";

type Fields = Record<string, unknown>;

const CONFLICT = { code: "conflict", message: "", retryable: false, definite: true };
/** What a page tells. */
const listIn = ({ result }: EditedOperation, name: "items" | "drained" | "schedules"): Fields[] =>
  (result?.[name] ?? []) as Fields[];
const idsOf = ({ args }: EditedOperation): string[] => (args["itemIds"] ?? []) as string[];
const eventOf = (run: EditedRun, type: string, isSuch: (placed: Placed) => boolean = () => true): Placed =>
  first(eventsOf(run), (placed) => placed.event.type === type && isSuch(placed));
/** An item that ended as completed, and that nobody has cancelled, redriven or purged. */
function plainItem(run: EditedRun): string {
  const events = eventsOf(run).map(({ event }) => event);
  const touched = new Set(
    events.filter(({ type }) => /cancelled|redriven|purged/.test(type)).map(({ itemId }) => itemId),
  );
  return String(first(events, ({ type, itemId }) => type === "completed" && !touched.has(itemId)).itemId);
}
/** An ok request with an answer that is told as new, and where that stands. */
function newIn(run: EditedRun, f: EditedOperation["f"], isSuch: (entry: Fields) => boolean = () => true) {
  const isFresh = (entry: Fields): boolean => isNew(entry) && isSuch(entry);
  const operation = first(okOf(run, f), (one) => resultsOf(one).some(isFresh));
  return { operation, index: resultsOf(operation).findIndex(isFresh) };
}
/** Somebody asks for a dead letter right behind a list that showed it, and is refused. */
function askLater(run: EditedRun, f: "purge" | "get", error: Fields): void {
  const list = first(
    okOf(run, "list"),
    (one) => one.args["status"] === "deadLettered" && listIn(one, "items").length > 0,
  );
  const { term, sequence } = list.result ?? {};
  const afterNs = (ns: bigint): string => String(BigInt(list.returnedNs ?? 0) + ns);
  const times = { invokedNs: afterNs(1n), returnedNs: afterNs(2n) };
  const args = { itemIds: [first(listIn(list, "items"))["itemId"]] };
  run.operations.push({
    ...list,
    ...times,
    id: "later",
    process: "o9.0",
    f,
    args,
    result: { term, sequence, results: [{ error }] },
  });
}
const without = (run: EditedRun, f: EditedOperation["f"]): void => {
  run.operations = run.operations.filter((operation) => operation.f !== f);
};
const editEvent = (run: EditedRun, isSuch: (event: EditedEvent) => boolean, edit: (event: EditedEvent) => void): void =>
  editLog(run, (frames) =>
    edit(
      first(
        frames.flatMap(({ events }) => events),
        isSuch,
      ),
    ),
  );

const ofItems: readonly Mutation[] = [
  mutation("a cancellation is acknowledged that never was", ["L3", "L7"], (run) => {
    const { operation, index } = newIn(run, "cancel");
    idsOf(operation)[index] = plainItem(run);
  }),
  mutation("the cancellation of one is told to another as its own", "R2", (run) => {
    newIn(run, "cancel").operation.principal = "somebody";
  }),
  mutation("a cancellation was refused and took place", "F7", (run) => {
    const { operation, index } = newIn(run, "cancel");
    const itemId = String(idsOf(operation)[index]);
    run.operations = run.operations.filter((one) => one === operation || !idsOf(one).includes(itemId));
    Object.assign(operation, { type: "fail", result: undefined, error: { code: "backpressure", definite: true } });
  }),
  mutation("a pending item is said to have ended before its cancellation", "F7", (run) => {
    const { operation, index } = newIn(run, "cancel", ({ outcome }) => outcome === "ended");
    resultsOf(operation)[index] = { error: CONFLICT };
  }),
  mutation("an item that has ended otherwise is called cancelled", "L7", (run) => {
    const isConflict = ({ error }: Fields): boolean => (error as Fields | undefined)?.["code"] === "conflict";
    const operation = first(okOf(run, "cancel"), (one) => resultsOf(one).some(isConflict));
    const index = resultsOf(operation).findIndex(isConflict);
    resultsOf(operation)[index] = { outcome: "ended", duplicate: true };
  }),
  mutation("a holder is not told that its item was cancelled", "F7", (run) => {
    const beats = okOf(run, "heartbeat").flatMap(resultsOf);
    delete first(beats, ({ cancelRequested }) => cancelRequested === true)["cancelRequested"];
  }),
  mutation("a cancelled item goes on behind its release", "Q4", (run) =>
    editEvent(
      run,
      ({ type, outcome }) => type === "released" && outcome === "cancelled",
      (event) => delete event["outcome"],
    ),
  ),
  mutation("progress is acknowledged that is not in the log", "L3", (run) => {
    const beat = first(okOf(run, "heartbeat"), (one) => resultsOf(one)[0]?.["error"] === undefined);
    first(askedOf(beat, "leases"))["progress"] = "never said";
  }),
  mutation("a completion leaves another result than was sent", "R2", (run) => {
    first(askedOf(newIn(run, "complete").operation, "leases"))["result"] = "never sent";
  }),
  mutation("a dead letter is told as redriven that was not", ["L3", "L7"], (run) => {
    const { operation, index } = newIn(run, "redrive");
    idsOf(operation)[index] = plainItem(run);
  }),
  mutation("an item is redriven once more than was asked", "R1", (run) => {
    const { operation, index } = newIn(run, "redrive");
    const itemId = String(idsOf(operation)[index]);
    const { event, actor } = eventOf(run, "redriven", (placed) => placed.event.itemId === itemId);
    if (actor !== undefined)
      for (let count = 0; count < 9; count += 1) appendEvent(run, event, actor, { pending: 1, active: 0 });
  }),
  mutation("dead letters come back at once that were to be spread", "Q6", (run) => {
    const isSpread = (one: EditedOperation): boolean => resultsOf(one).filter(isNew).length > 1;
    first(okOf(run, "redrive"), isSpread).args = { ...first(okOf(run, "redrive"), isSpread).args, everyMs: 7_777 };
  }),
  mutation("a dead letter is called none when it is to be purged", "F7", (run) => {
    askLater(run, "purge", CONFLICT);
  }),
  mutation("a dead letter is called unknown when it is looked at", "F7", (run) => {
    askLater(run, "get", { ...CONFLICT, code: "item_not_found" });
  }),
  mutation("a purge is acknowledged that nobody has made", ["L3", "L7"], (run) => {
    const { operation, index } = newIn(run, "purge");
    idsOf(operation)[index] = plainItem(run);
  }),
  mutation("a list lacks a dead letter", "O1", (run) => {
    const isOfLetters = (one: EditedOperation): boolean =>
      one.args["status"] === "deadLettered" && listIn(one, "items").length > 0;
    listIn(first(okOf(run, "list"), isOfLetters), "items").pop();
  }),
  mutation("a list tells another number of attempts", "F7", (run) => {
    first(okOf(run, "list").flatMap((one) => listIn(one, "items")))["attempt"] = 77;
  }),
  mutation("an item is shown with the result of another", "F7", (run) => {
    first(okOf(run, "get").flatMap(resultsOf), ({ status }) => status === "completed")["result"] = "of another";
  }),
  mutation("an item is granted before its time", "Q5", (run) =>
    editEvent(
      run,
      ({ type, item }) => type === "enqueued" && (item as Fields)["notBefore"] !== undefined,
      ({ item }) => Object.assign(item as Fields, { notBefore: 1_900_000_000_000 }),
    ),
  ),
];

const ofShards: readonly Mutation[] = [
  mutation("a drain is acknowledged that never began", ["L3", "L7"], (run) => {
    const operation = first(okOf(run, "drain"));
    operation.args = { ...operation.args, drainId: "another" };
  }),
  mutation("a drain counts an item that it does not mark", "O1", (run) => {
    const { result = {} } = first(okOf(run, "drain"));
    result["marked"] = Number(result["marked"]) + 1;
  }),
  mutation("a drain is told as new where it had been on", "F7", (run) => {
    const { result = {} } = first(okOf(run, "drain"), (one) => one.result?.["duplicate"] === true);
    result["duplicate"] = false;
  }),
  mutation("a page of a drain lacks an item", "F7", (run) => {
    listIn(
      first(okOf(run, "list"), (one) => listIn(one, "drained").length > 0),
      "drained",
    ).pop();
  }),
  mutation("a drain is told as restored before it was", "L7", (run) => {
    const { result = {} } = first(okOf(run, "restore"), (one) => one.result?.["duplicate"] === false);
    result["sequence"] = Number(result["sequence"]) - 1;
  }),
  mutation("a drain that is known is not found", "F7", (run) => {
    const operation = first(okOf(run, "restore"), (one) => one.result?.["duplicate"] === true);
    Object.assign(operation, { type: "fail", result: undefined, error: { code: "drain_not_found", definite: true } });
  }),
  mutation("a drain is refused that nothing was in the way of", "F7", (run) => {
    const { event } = eventOf(run, "drained");
    const own = okOf(run, "drain").filter(({ args }) => args["drainId"] === event["drainId"]);
    Object.assign(first(own), { type: "fail", result: undefined, error: { code: "conflict", definite: true } });
    run.operations = run.operations.filter(
      (one) => one === own[0] || one.f !== "drain" || one.args["drainId"] !== event["drainId"],
    );
  }),
  mutation("a worker is told of a drain that is not on", "F7", (run) => {
    first(okOf(run, "lease"), ({ result }) => result?.["reason"] === "none").result = {
      ...first(okOf(run, "lease"), ({ result }) => result?.["reason"] === "none").result,
      reason: "draining",
    };
  }),
  mutation("a worker is not told of the drain that holds it up", "F7", (run) => {
    const { result = {} } = first(okOf(run, "lease"), (one) => one.result?.["reason"] === "draining");
    result["reason"] = "none";
  }),
  mutation("leases end for a drain that lets them be", "F2", (run) => {
    const { sequence } = eventOf(run, "released", ({ event }) => event["reason"] === "drained");
    const began = eventsOf(run).findLast((placed) => placed.event.type === "drained" && placed.sequence < sequence);
    editEvent(
      run,
      ({ type, drainId }) => type === "drained" && drainId === began?.event["drainId"],
      (event) => Object.assign(event, { leases: "wait" }),
    );
  }),
  mutation("more leases are told as evicted than were", "L3", (run) => {
    const { result = {} } = first(okOf(run, "evict"), (one) => Number(one.result?.["evicted"]) > 0);
    result["evicted"] = Number(result["evicted"]) + 1;
  }),
  mutation("an evicted peer is said to hold a lease still", "L7", (run) => {
    const { result = {} } = first(okOf(run, "evict"));
    result["left"] = 3;
  }),
  mutation("a pause is told before it was", "F7", (run) => {
    const { sequence } = eventOf(run, "paused");
    const { result = {} } = first(okOf(run, "pause"), (one) => one.result?.["sequence"] === sequence);
    result["sequence"] = sequence - 1;
  }),
  mutation("an option is acknowledged that was never set", "L7", (run) => {
    const operation = first(okOf(run, "configure"));
    operation.args = { options: { ageingMs: 777 } };
  }),
  mutation("a quota is acknowledged that was never set", "L7", (run) => {
    const operation = first(okOf(run, "configure"));
    operation.args = { quotas: { "key/x": { leasesMax: 777 } } };
  }),
  mutation("leases are granted above a quota", "Q7", (run) =>
    editEvent(
      run,
      ({ type, quotas }) =>
        type === "configured" && Object.values((quotas ?? {}) as Fields).some((quota) => quota !== null),
      ({ quotas }) => {
        for (const name of Object.keys(quotas as Fields)) Object.assign(quotas as Fields, { [name]: { leasesMax: 0 } });
      },
    ),
  ),
  ...(["evict", "pause", "configure", "drain", "restore", "schedule-put", "schedule-delete"] as const).map((f) =>
    mutation(`the log tells of a ${f} that nobody asked for`, "Q2", (run) => without(run, f)),
  ),
  mutation("a schedule is acknowledged with another item", "L7", (run) => {
    const operation = first(okOf(run, "schedule-put"));
    operation.args = { ...operation.args, item: { resourceType: "tick", resourceId: "another" } };
  }),
  mutation("a schedule is told with another tick", "F7", (run) => {
    const { result = {} } = first(okOf(run, "schedule-put"));
    result["next"] = Number(result["next"]) + 1_000;
  }),
  mutation("a schedule is told as deleted that is there", "L7", (run) => {
    const { sequence } = eventOf(run, "unscheduled");
    const { result = {} } = first(okOf(run, "schedule-delete"), (one) => one.result?.["sequence"] === sequence);
    result["sequence"] = sequence - 1;
  }),
  mutation("a list lacks a schedule", "F7", (run) => {
    listIn(
      first(okOf(run, "schedule-list"), (one) => listIn(one, "schedules").length > 0),
      "schedules",
    ).pop();
  }),
  mutation("a tick makes two items", "R1", (run) => {
    const { event, actor } = eventOf(run, "enqueued", ({ event: { schedule }, sequence }) => {
      const name = (schedule as Fields | undefined)?.["name"];
      const isLater = (other: Placed): boolean => other.sequence > sequence && other.event["name"] === name;
      return name !== undefined && !eventsOf(run).some(isLater);
    });
    const itemId = (eventsOf(run).length + 1).toString(36);
    if (actor !== undefined) appendEvent(run, { ...event, itemId }, actor, { pending: 1, active: 0 });
  }),
  mutation("a good request of an operator is called malformed", "F7", (run) => {
    const operation = first(okOf(run, "schedule-list"));
    Object.assign(operation, { type: "fail", result: undefined, error: { code: "invalid_argument", definite: true } });
  }),
];

/** What the search finds by what callers were told alone. */
const ofSearch: readonly Mutation[] = [
  mutation("an item is granted to a worker behind its cancellation", "F3.search", (run) => {
    const lease = first(okOf(run, "lease"), (one) => leasesOf(one).length > 0);
    const itemId = String(first(leasesOf(lease))["itemId"]);
    const invokedNs = String(BigInt(lease.invokedNs) - 3n);
    const returnedNs = String(BigInt(lease.invokedNs) - 1n);
    const { operation } = newIn(run, "cancel", ({ outcome }) => outcome === "ended");
    const result = { ...operation.result, results: [{ outcome: "ended", duplicate: false }] };
    run.operations.push({
      ...{ ...operation, id: "early", process: "o9.0", args: { itemIds: [itemId] } },
      ...{ invokedNs, returnedNs, result },
    });
  }),
];

export const ofOperators: readonly Mutation[] = [...ofItems, ...ofShards, ...ofSearch];
