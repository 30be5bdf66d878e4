/** Compares each ok answer with the naive model as it stood at the sequence that the answer cites. */

import { hasMetKey, loggedPayload, payloadText } from "./causes.ts";
import { LeaseViews } from "./lease-views.ts";
import type { LogIndex } from "./log-index.ts";
import type { LogTruth } from "./log-truth.ts";
import { isUnfinished } from "./naive-item.ts";
import type { NaiveModel } from "./naive-model.ts";
import { OperatorAnswers } from "./operator-answers.ts";
import type { Tally } from "./tally.ts";
import {
  beatEntries,
  enqueueEntries,
  entryRequestId,
  isSettle,
  type SettleOperation,
  type ShardOperation,
  type ShardOperationOf,
  settleEntries,
} from "./timed-operations.ts";

const ENDS = { complete: "completed", fail: "failed", release: "released" } as const;

export interface AnswerParts {
  readonly truth: LogTruth;
  readonly index: LogIndex;
  /** At the sequence that the answers cite. */
  readonly model: NaiveModel;
  readonly tally: Tally;
  /** Hashes of the state, where they are known. */
  readonly hashes: ReadonlyMap<number, string>;
}

/** Judges answers that cite the sequence at which the model stands. */
export class Answers {
  readonly #parts: AnswerParts;
  readonly #views: LeaseViews;
  readonly #operators: OperatorAnswers;

  constructor(parts: AnswerParts) {
    this.#parts = parts;
    this.#views = new LeaseViews(parts.truth);
    this.#operators = new OperatorAnswers(parts);
  }

  check(operation: ShardOperation): void {
    const { tally, truth } = this.#parts;
    const { reply, request, id } = operation;
    if (reply === undefined) return;
    const { term, sequence } = reply;
    const known = truth.events[sequence - 1]?.term;
    tally.check("F7", known === term, () => `${id} cites term ${term} at ${sequence}, which is of term ${known}`);
    const { minSequence } = request;
    if (minSequence !== undefined)
      tally.check("S6", sequence >= minSequence, () => `${id}: ${sequence} is older than ${minSequence}`);
    if (operation.f === "enqueue") this.#enqueued(operation, operation.reply);
    else if (operation.f === "lease") this.#leased(operation, operation.reply);
    else if (operation.f === "heartbeat") this.#renewed(operation);
    else if (operation.f === "stats") this.#counted(operation);
    else if (isSettle(operation)) this.#settled(operation);
    else this.#operators.check(operation);
  }

  #enqueued(operation: ShardOperationOf<"enqueue">, reply: ShardOperationOf<"enqueue">["reply"]): void {
    const { tally, index, model } = this.#parts;
    const { id, principal } = operation;
    this.#gauge(id, "pending", reply?.pending, model.count("pending"));
    this.#gauge(id, "active", reply?.active, model.count("leased"));
    const fresh: number[] = [];
    for (const entry of enqueueEntries(operation)) {
      const { answered } = entry;
      if (answered === undefined) continue;
      const { itemId, sequence, duplicate } = answered;
      const known = index.enqueued.get(itemId);
      if (!tally.check("L3", known !== undefined, () => `${id}: item ${itemId} was acknowledged and is not in the log`))
        continue;
      tally.check("L7", model.byId.has(itemId), () => `${id}: item ${itemId} was told before ${known?.sequence}`);
      const isPlaced = known?.sequence === sequence;
      tally.check("F7", isPlaced, () => `${id}: item ${itemId} is of ${known?.sequence}, not ${sequence}`);
      if (hasMetKey(entry, entryRequestId(operation, entry.index), index)) {
        this.#metKey(operation, itemId, entry.asked.uniqueKey);
        continue;
      }
      const isOwn =
        known?.actor?.principal === principal && known.event.requestId === entryRequestId(operation, entry.index);
      tally.check("R2", isOwn, () => `${id}: item ${itemId} is of another request: ${known?.event.requestId}`);
      const payload = loggedPayload(entry.asked, model.byId.get(itemId)?.enqueuedAt ?? 0);
      const isSame = known !== undefined && payloadText(known.event.item) === payloadText(payload);
      tally.check("R2", isSame, () => `${id}: item ${itemId} holds other things than were sent`);
      if (!duplicate) fresh.push(sequence);
    }
    this.#fresh(operation, fresh);
  }

  /** The item that has the unique key is pending or leased where that is told. */
  #metKey({ id, reply }: ShardOperationOf<"enqueue">, itemId: string, uniqueKey: string | undefined): void {
    const { tally, model } = this.#parts;
    const item = model.byId.get(itemId);
    const isTrue = item?.uniqueKey === uniqueKey && isUnfinished(item?.status);
    tally.check(
      "F7",
      isTrue,
      () => `${id}: ${itemId} with key ${item?.uniqueKey} is ${item?.status} at ${reply?.sequence}`,
    );
  }

  #leased(operation: ShardOperationOf<"lease">, reply: ShardOperationOf<"lease">["reply"]): void {
    const { tally, index, model } = this.#parts;
    const { id, principal, request } = operation;
    if (reply === undefined) return;
    if (reply.reason === "paused") tally.check("F7", model.isPaused, () => `${id}: it is not paused`);
    const { on } = model.drains;
    if (reply.reason === "draining") tally.check("F7", on !== undefined, () => `${id}: no drain is on`);
    if (reply.reason === "none") {
      tally.check("F7", on === undefined, () => `${id}: got nothing, and is not told of drain ${on?.drainId}`);
      const next = model.isPaused ? undefined : model.surelyNext(request.resourceTypes);
      tally.check("Q5", next === undefined, () => `${id}: got nothing, though ${next?.itemId} may be granted`);
    }
    for (const told of reply.leases) {
      const { itemId, token, attempt, expiresAt } = told;
      const granted = index.leased.get(token);
      const isThere = granted?.event.itemId === itemId;
      if (
        !tally.check("L3", isThere, () => `${id}: lease ${token} of ${itemId} was acknowledged and is not in the log`)
      )
        continue;
      const known = model.byId.get(itemId);
      const lease = known?.lease?.token === token ? known.lease : undefined;
      tally.check("F3", lease !== undefined, () => `${id}: lease ${token} does not live at ${reply.sequence}`);
      if (lease === undefined) continue;
      tally.check("F2", lease.principal === principal, () => `${id}: lease ${token} is of ${lease.principal}`);
      tally.check("R2", lease.requestId === request.requestId, () => `${id}: lease ${token} is of ${lease.requestId}`);
      tally.check("Q6", known?.attempt === attempt, () => `${id}: attempt ${attempt}, not ${known?.attempt}`);
      const ends = lease.expiresAt;
      tally.check("F7", ends === expiresAt, () => `${id}: lease ${token} ends at ${ends}, not ${expiresAt}`);
      const held = index.enqueued.get(itemId);
      if (known === undefined || held === undefined) continue;
      const wrong = this.#views.wrongFields(told, held, known, model.sequence);
      tally.check("F7", wrong.length === 0, () => `${id}: item ${itemId} was told with ${wrong.join("; ")}`);
    }
    if (reply.leases.length > 0) this.#freshLeases(operation, reply.leases);
  }

  /** Grants end at the cited sequence; only a repeat tells older ones. */
  #freshLeases(operation: ShardOperationOf<"lease">, leases: readonly { readonly token: number }[]): void {
    const { tally, index } = this.#parts;
    const sequences = leases.map(({ token }) => index.leased.get(token)?.sequence ?? 0);
    const isFresh = Math.max(...sequences) === operation.reply?.sequence;
    const mayRepeat = operation.request.requestId !== undefined;
    tally.check("F7", isFresh || mayRepeat, () => `${operation.id}: leases of ${sequences.join()} are not new`);
  }

  #renewed(operation: ShardOperationOf<"heartbeat">): void {
    const { tally, model } = this.#parts;
    const { id, principal } = operation;
    for (const { asked, answered } of beatEntries(operation)) {
      if (answered === undefined) continue;
      const { lease, cancel, progress } = model.byId.get(asked.itemId) ?? {};
      const isHeld = lease?.token === asked.token && lease.principal === principal;
      tally.check(
        "F2",
        isHeld,
        () => `${id}: lease ${asked.token} is not ${principal}'s at ${operation.reply?.sequence}`,
      );
      if (!isHeld) continue;
      const ends = lease.expiresAt;
      tally.check("F7", ends === answered.expiresAt, () => `${id}: ends at ${ends}, not ${answered.expiresAt}`);
      const isAsked = cancel !== undefined;
      const isTold = (answered.cancelRequested === true) === isAsked;
      tally.check("F7", isTold, () => `${id}: the cancellation of ${asked.itemId} is ${isAsked ? "not " : ""}told`);
      const isThere = asked.progress === undefined || progress?.some(({ text }) => text === asked.progress) === true;
      tally.check("L3", isThere, () => `${id}: ${asked.progress} of ${asked.itemId} is not in the log`);
    }
  }

  #settled(operation: SettleOperation): void {
    const { tally, model, index } = this.#parts;
    const { id, principal, f } = operation;
    const fresh: number[] = [];
    for (const { asked, answered } of settleEntries(operation)) {
      if (answered === undefined) continue;
      const { token } = asked;
      const isThere = index.ended.has(token);
      tally.check("L3", isThere, () => `${id}: the ${f} of ${token} was acknowledged and is not in the log`);
      if (!isThere) continue;
      const end = model.ends.get(token);
      if (!tally.check("L7", end !== undefined, () => `${id}: the ${f} of ${token} was told before it was in the log`))
        continue;
      const isOwn = end?.type === ENDS[f] && end.principal === principal && end.itemId === asked.itemId;
      tally.check("F2", isOwn, () => `${id}: lease ${token} of ${end?.principal} ended as ${end?.type}`);
      const [ended] = index.ended.get(token) ?? [];
      const left = ended?.event.type === "completed" ? ended.event.result : undefined;
      tally.check("R2", left === asked.result, () => `${id}: lease ${token} left ${left}, not ${asked.result}`);
      if (f === "fail")
        tally.check("R2", end?.outcome === answered.outcome, () => `${id}: ${answered.outcome}, not ${end?.outcome}`);
      if (!answered.duplicate) fresh.push(end?.sequence ?? 0);
    }
    this.#fresh(operation, fresh);
  }

  #counted(operation: ShardOperationOf<"stats">): void {
    const { tally, model, hashes } = this.#parts;
    const { id, reply } = operation;
    if (reply === undefined) return;
    this.#gauge(id, "pending", reply.pending, model.count("pending"));
    this.#gauge(id, "active", reply.active, model.count("leased"));
    this.#gauge(id, "deadLettered", reply.deadLettered, model.count("deadLettered"));
    this.#gauge(id, "enqueued", reply.enqueued, model.items.length);
    this.#gauge(id, "completed", reply.completed, model.count("completed"));
    const removed = model.count("cancelled") + model.count("purged") + model.count("discarded");
    this.#gauge(id, "removed", reply.removed, removed);
    const { on } = model.drains;
    const isHeld = reply.paused === model.isPaused && reply.drain?.drainId === on?.drainId;
    tally.check("F7", isHeld, () => `${id}: paused ${reply.paused}, drain ${reply.drain?.drainId}, not ${on?.drainId}`);
    const { leader, sequence } = reply;
    tally.check("F7", leader === model.leader, () => `${id}: led by ${leader}, at ${sequence} by ${model.leader}`);
    const hash = hashes.get(sequence);
    if (hash !== undefined)
      tally.check("S1", hash === reply.stateHash, () => `${id}: state ${reply.stateHash} at ${sequence}, not ${hash}`);
  }

  #gauge(id: string, name: string, told: number | undefined, counted: number): void {
    this.#parts.tally.check("O1", told === counted, () => `${id}: ${name} ${told}, not ${counted}`);
  }

  /** An answer to what it has just written cites the last event of it. */
  #fresh({ id, reply }: ShardOperation, sequences: readonly number[]): void {
    if (sequences.length === 0) return;
    const last = Math.max(...sequences);
    const cited = reply?.sequence;
    this.#parts.tally.check("F7", last === cited, () => `${id} cites ${cited}, its last event is ${last}`);
  }
}
