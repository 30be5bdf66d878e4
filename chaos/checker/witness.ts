/** The witness check: the log is the order in which everything happened, so every answer can be compared with it without any search. */
import type { RequestOf } from "../../contracts/commands.ts";
import { Answers } from "./answers.ts";
import { Causes } from "./causes.ts";
import { foldWithCore } from "./core-fold.ts";
import { DueTicks } from "./due-ticks.ts";
import { checkEffects, checkRealTime, countOrdered, countQueue } from "./effects.ts";
import { LogIndex, requestKey } from "./log-index.ts";
import type { LogTruth } from "./log-truth.ts";
import type { LeaseWish } from "./naive-item.ts";
import { NaiveModel } from "./naive-model.ts";
import type { FailureWish } from "./naive-terms.ts";
import { checkPromises } from "./promises.ts";
import { RealTime } from "./real-time.ts";
import { Refusals } from "./refusals.ts";
import type { Invariant, Tally } from "./tally.ts";
import {
  enqueueEntries,
  entryRequestId,
  type Operation,
  type ShardOperation,
  type ShardOperationOf,
} from "./timed-operations.ts";

export interface Witness {
  readonly index: LogIndex;
  /** Hashes of the state at the sequences that anybody named. */
  readonly hashes: ReadonlyMap<number, string>;
  /** The queue in Jepsen's words, and what operators did to it. */
  readonly queue: Readonly<Record<string, number>>;
}

/** `sequences`: where else the state's hash is wanted. */
export function checkWitness(
  operations: readonly Operation[],
  truth: LogTruth,
  sequences: Iterable<number>,
  tally: Tally,
): Witness {
  const index = new LogIndex(truth.events);
  const causes = new Causes(operations, index);
  const realTime = new RealTime(operations, causes.effects);
  const asked = operations.filter((operation) => operation.f !== "fenced_write");
  const told = asked.filter(({ f }) => f === "stats").map(({ reply }) => reply?.sequence ?? 0);
  const { state, hashes } = foldWithCore(truth, new Set([...sequences, ...told]), tally);
  const { model, fullAt } = foldWithModel(asked, { truth, index, tally, hashes });
  checkEffects(causes, truth, tally);
  checkRealTime(operations, causes, realTime, tally);
  const refusals = new Refusals({ model, index, realTime, tally, fullAt }, operations);
  for (const operation of asked) refusals.check(operation);
  checkPromises(operations, index, truth.events.length, tally);
  for (const operation of asked) if (operation.f === "enqueue") checkKept(operation, model, tally);
  if (state.sequence === model.sequence)
    for (const [name, count] of [
      ["pending", state.pending],
      ["leased", state.active],
      ["deadLettered", state.deadLettered],
      ["completed", state.completedTotal],
    ] as const)
      tally.check("S2", model.count(name) === count, () => `${count} ${name}, the model has ${model.count(name)}`);
  return { index, hashes, queue: { ...countQueue(causes), ...countOrdered(index) } };
}

interface FoldParts {
  readonly truth: LogTruth;
  readonly index: LogIndex;
  readonly tally: Tally;
  readonly hashes: ReadonlyMap<number, string>;
}

/** Folds the log into the naive model and compares each answer when the model stands where the answer was given. */
function foldWithModel(operations: readonly ShardOperation[], parts: FoldParts) {
  const { truth, tally } = parts;
  const cited = new Map<number, ShardOperation[]>();
  for (const operation of operations) {
    const { reply, id } = operation;
    if (reply === undefined) continue;
    const { sequence } = reply;
    const isThere = sequence > 0 && sequence <= truth.events.length;
    tally.check("L3", isThere, () => `${id} was told ${sequence}, and the log ends at ${truth.events.length}`);
    const others = cited.get(sequence);
    if (others === undefined) cited.set(sequence, [operation]);
    else others.push(operation);
  }
  const fullAt = [-1];
  const model: NaiveModel = new NaiveModel({
    ...wishesOf(operations),
    fail: (name, message) => tally.violated(name as Invariant, message),
    checked: (name) => tally.checked(name as Invariant),
    moved: () => {
      const { sequence } = model;
      fullAt.push(model.pressure.isPressed ? sequence : (fullAt[sequence - 1] ?? -1));
      for (const operation of cited.get(sequence) ?? []) answers.check(operation);
    },
  });
  const answers = new Answers({ ...parts, model });
  const ticks = new DueTicks(model.schedules, tally);
  for (const frame of truth.frames) {
    model.take(frame);
    ticks.wrote(frame);
  }
  return { model, fullAt };
}

/** What the model must know of requests that the log does not say. */
function wishesOf(operations: readonly ShardOperation[]) {
  const wishes = new Map<string, LeaseWish>();
  const failures = new Map<number, FailureWish[]>();
  const dated = new Set<string>();
  for (const operation of operations) {
    const { principal } = operation;
    if (operation.f === "lease") {
      const { requestId, peerId = principal, maxItems, leaseDurationMs, resourceTypes } = operation.request;
      const wish = { peerId, maxItems, leaseDurationMs, resourceTypes };
      if (requestId !== undefined && operation.type !== "fail") wishes.set(requestKey(principal, requestId), wish);
    } else if (operation.f === "fail") {
      const entries: RequestOf<"fail">["leases"] = operation.request.leases;
      for (const { token, requeue, delayMs, penalty = true } of entries)
        failures.set(token, [...(failures.get(token) ?? []), { requeue, delayMs, penalty }]);
    } else if (operation.f === "enqueue" && operation.request.after !== undefined)
      for (const { index } of enqueueEntries(operation))
        dated.add(requestKey(principal, entryRequestId(operation, index) ?? ""));
  }
  return {
    wishOf: (principal: string, requestId: string) => wishes.get(requestKey(principal, requestId)),
    failuresOf: (token: number) => failures.get(token) ?? [],
    isDated: (principal: string, requestId: string) => dated.has(requestKey(principal, requestId)),
  };
}

/** Q3: an acknowledged item is in one of the states of an item. */
function checkKept(operation: ShardOperationOf<"enqueue">, model: NaiveModel, tally: Tally): void {
  for (const { answered } of enqueueEntries(operation)) {
    if (answered === undefined) continue;
    const { itemId } = answered;
    tally.check("Q3", model.byId.has(itemId), () => `${operation.id}: item ${itemId} is gone`);
  }
}
