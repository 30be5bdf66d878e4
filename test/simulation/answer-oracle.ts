/** Judges each answer that a client hears against the log: acknowledged means stored, refused means true, consistent means current. */

import { isEnded, statusAt } from "../../chaos/checker/naive-item.ts";
import type { EnqueueItem, RequestOf } from "../../contracts/commands.ts";
import { DrainAnswers } from "./drain-answers.ts";
import { EndsAnswers } from "./ends-answers.ts";
import { ExplainOracle } from "./explain-oracle.ts";
import { judgeNames, judgeTold, judgeUnknown } from "./flow-answers.ts";
import type { LogOracle } from "./log-oracle.ts";
import { judgeSchedules } from "./schedule-oracle.ts";
import type { Attempt, Operation } from "./sim-client.ts";

export interface Entry {
  readonly error?: { readonly code: string; readonly definite: boolean; readonly details?: Record<string, unknown> };
  readonly [field: string]: unknown;
}

export interface Answer {
  readonly term: number;
  readonly sequence: number;
  readonly error?: Entry["error"] & { readonly retryable: boolean; readonly retryAfterMs?: number };
  readonly results?: readonly Entry[];
  readonly leases?: readonly Entry[];
  readonly [field: string]: unknown;
}

interface LeaseRef {
  readonly itemId: string;
  readonly token: number;
}

/** Invariant: holds nothing but the highest sequence that any answer has shown. */
export class AnswerOracle {
  readonly #log: LogOracle;
  readonly #fail: (invariant: string, message: string) => void;
  readonly #cover: (point: string) => void;
  readonly #nowMs: () => number;
  readonly #ends: EndsAnswers;
  readonly #explain: ExplainOracle;
  readonly #drains: DrainAnswers;
  #shown = 0;

  constructor(
    log: LogOracle,
    fail: (invariant: string, message: string) => void,
    cover: (point: string) => void,
    nowMs: () => number,
  ) {
    this.#log = log;
    this.#cover = cover;
    this.#ends = new EndsAnswers(log, cover);
    this.#explain = new ExplainOracle(log, cover);
    this.#drains = new DrainAnswers(log, cover);
    this.#fail = fail;
    this.#nowMs = nowMs;
  }

  /** Highest sequence that a client has been shown: what a consistent read that is sent now must not be older than. */
  get shown(): number {
    return this.#shown;
  }

  heard(operation: Operation, attempt: Attempt, answer: Answer): void {
    const must = (isRight: boolean, invariant: string, message: string): void => {
      if (!isRight) this.#fail(invariant, `${operation.verb} ${operation.id}: ${message}: ${JSON.stringify(answer)}`);
    };
    if (answer.error !== undefined) {
      this.#refused(operation, attempt, answer.error, must);
      return;
    }
    const { term, sequence } = answer;
    must(sequence <= this.#log.sequence, "L7", `cites ${sequence}, the log ends at ${this.#log.sequence}`);
    must(this.#log.terms[sequence] === term, "F7", `cites term ${term}, which is ${this.#log.terms[sequence]}`);
    const { consistent, minSequence } = operation.body as { consistent?: boolean; minSequence?: number };
    must(sequence >= (minSequence ?? 0), "S6", `older than minSequence ${minSequence}`);
    if (consistent === true)
      must(sequence >= attempt.shownSequence, "F7", `older than ${attempt.shownSequence}, which was shown before`);
    this.#shown = Math.max(this.#shown, sequence);
    this.#content(operation, attempt, answer, must);
  }

  #content(operation: Operation, attempt: Attempt, answer: Answer, must: Must): void {
    switch (operation.verb) {
      case "enqueue":
        this.#enqueued(operation, attempt, answer, must);
        return;
      case "lease":
        this.#leased(operation, attempt, answer, must);
        return;
      case "heartbeat":
      case "complete":
      case "fail":
      case "release":
        this.#settled(operation, attempt, answer, must);
        return;
      case "stats":
        for (const name of ["pending", "active", "deadLettered", "removed"] as const)
          must(answer[name] === this.#log[name][answer.sequence], "O1", `${name} is not that of its sequence`);
        return;
      case "get":
        for (const [index, entry] of (answer.results ?? []).entries())
          if (entry.error === undefined) this.#shownItem(entry, answer, must);
          else this.#unknownItem((operation.body as RequestOf<"get">).itemIds[index], must);
        return;
      case "list":
        if ("drainId" in operation.body) this.#drains.listed(operation, answer, must);
        for (const entry of (answer["items"] ?? []) as Entry[]) this.#shownItem(entry, answer, must);
        return;
      case "cancel":
        this.#ends.cancelled(operation, attempt, answer, must);
        return;
      case "redrive":
        this.#ends.redriven(operation, attempt, answer, must);
        return;
      case "purge":
        this.#ends.purged(operation, attempt, answer, must);
        return;
      case "drain":
        this.#drains.drained(operation, attempt, answer, must);
        return;
      case "restore":
        this.#drains.restored(operation, attempt, answer, must);
        return;
      case "discard":
        this.#drains.discarded(operation, answer, must);
        return;
      case "evict":
        this.#drains.evicted(operation, answer, must);
        return;
      case "explain":
        this.#explain.explained(operation, answer, must);
        return;
      case "schedule-put":
      case "schedule-list":
      case "schedule-delete":
        judgeSchedules(this.#log, operation, answer, must);
        return;
      case "configure":
      case "handover":
      case "pause":
      case "quotas":
      case "resume":
        return;
    }
  }

  #enqueued({ id, principal, body }: Operation, attempt: Attempt, answer: Answer, must: Must): void {
    for (const [index, entry] of (answer.results ?? []).entries()) {
      const asked = (body as RequestOf<"enqueue">).items[index];
      if (entry.error !== undefined) {
        this.#refusedItem(entry.error, asked, attempt, must);
        continue;
      }
      const item = this.#log.model.byId.get(entry["itemId"] as string);
      must(item !== undefined, "L7", `item ${entry["itemId"] as string} is not in the log`);
      const requestId = (body as { requestId?: string }).requestId === undefined ? undefined : `${id}/${index}`;
      const isSame = item?.requestId === requestId && item?.principal === principal;
      const isOwn = isSame && (requestId !== undefined || entry["duplicate"] === false);
      if (item !== undefined && !isOwn) this.#ends.metKey(entry, item, asked, attempt, answer.sequence, must);
      must(item?.sequence === entry["sequence"], "L7", `item of sequence ${item?.sequence}`);
      judgeNames(item, asked, entry, answer.results ?? [], must);
    }
  }

  #leased({ principal, id, body }: Operation, attempt: Attempt, answer: Answer, must: Must): void {
    const told = new Set(answer.leases?.map(({ token }) => token));
    if ("requestId" in body)
      for (const { lease, itemId } of this.#log.model.items)
        if (lease?.requestId === id && lease.principal === principal && lease.token <= answer.sequence)
          must(told.has(lease.token), "R2", `lease ${lease.token} of ${itemId} was granted to it and is not told`);
    if (answer["reason"] === "draining") this.#drains.held(attempt, answer, must);
    // What a later frame brought, the leader did not know.
    if (answer["reason"] === "none" && answer.sequence === this.#log.sequence) {
      const next = this.#log.model.surelyNext((body as Partial<RequestOf<"lease">>).resourceTypes);
      must(next === undefined, "Q5", `got nothing, though ${next?.itemId} may be granted`);
      must(this.#log.model.drains.on === undefined, "F7", "got nothing, and is not told of the drain");
    }
    for (const entry of answer.leases ?? []) {
      const token = entry["token"] as number;
      const item = this.#log.model.itemOfToken.get(token);
      must(item?.itemId === entry["itemId"], "L7", `lease ${token} is not in the log`);
      const holder = item?.lease?.token === token ? item.lease.principal : this.#log.model.ends.get(token)?.principal;
      must(holder === principal, "F2", `lease ${token} is of ${holder}`);
      this.#promise(token, entry, attempt, answer.sequence);
      judgeTold(item, entry, answer.sequence === this.#log.sequence, must);
    }
  }

  #settled({ verb, principal, body }: Operation, attempt: Attempt, answer: Answer, must: Must): void {
    const refs = (body as { leases: readonly LeaseRef[] }).leases;
    const { model } = this.#log;
    for (const [index, entry] of (answer.results ?? []).entries()) {
      const { itemId, token } = refs[index] as LeaseRef;
      if (entry.error !== undefined) {
        this.#refusedLease(entry.error, { itemId, token }, attempt, must);
        continue;
      }
      const end = model.ends.get(token);
      if (verb === "heartbeat") {
        const lived = end === undefined || end.sequence > this.#log.sequenceAt(attempt.sentMs);
        const holder = end?.principal ?? model.byId.get(itemId)?.lease?.principal;
        must(lived && holder === principal, "F2", `lease ${token} was not ${principal}'s while it was asked`);
        this.#ends.beaten(model.byId.get(itemId), refs[index] as LeaseRef, entry, answer.sequence, must);
        this.#promise(token, entry, attempt, answer.sequence);
        this.#log.beaten(token, attempt.routedMs, answer.sequence);
        continue;
      }
      const type = verb === "complete" ? "completed" : verb === "fail" ? "failed" : "released";
      must(end?.type === type && end.principal === principal, "L7", `lease ${token} ended as ${end?.type}`);
      if (verb === "fail") must(end?.outcome === entry["outcome"], "L7", `lease ${token}: ${end?.outcome}`);
    }
  }

  #promise(token: number, entry: Entry, { sentMs }: Attempt, sequence: number): void {
    this.#log.promised(token, sentMs + (entry["validMs"] as number) / 1.0105, sequence);
  }

  #shownItem(entry: Entry, { sequence }: Answer, must: Must): void {
    const item = this.#log.model.byId.get(entry["itemId"] as string);
    const status = item === undefined ? undefined : statusAt(item, sequence);
    must(status === entry["status"], "F7", `item ${entry["itemId"] as string} is ${status} at ${sequence}`);
    // The model knows the rest as of its own sequence alone.
    if (item === undefined || sequence !== this.#log.sequence) return;
    if (isEnded(status)) {
      if (item.result !== undefined) this.#cover("result_shown");
      must(entry["result"] === item.result, "F7", `the result of ${item.itemId} is ${item.result}`);
      return;
    }
    const { attempt, charged, priority, notBefore, notAfter, uniqueKey, redrives, cancel, progress } = item;
    const { text } = (entry["progress"] ?? {}) as { readonly text?: string };
    const told = [
      ...[entry["attempt"], entry["charged"], entry["priority"], entry["notBefore"], entry["uniqueKey"]],
      ...[entry["redrives"], entry["cancelRequested"] !== undefined, text],
    ];
    const known = [
      ...[attempt, charged, priority || undefined, notBefore || undefined, uniqueKey],
      ...[redrives.length || undefined, cancel !== undefined, progress.at(-1)?.text],
    ];
    must(told.join() === known.join(), "F7", `of ${item.itemId} is told ${told.join()}, it has ${known.join()}`);
    // What it was enqueued with is shown all the same.
    const isEndRight = redrives.length > 0 || entry["notAfter"] === finite(notAfter);
    must(isEndRight, "F7", `the time of ${item.itemId} ends at ${notAfter}`);
  }

  #unknownItem(itemId: string | undefined, must: Must): void {
    const status = this.#log.model.byId.get(itemId ?? "")?.status;
    must(status === undefined || isEnded(status), "F7", `item ${itemId} is ${status}`);
  }

  /** A refusal of one entry that claims to be definite must have been true while the request was under way. */
  #refusedItem(error: NonNullable<Entry["error"]>, item: EnqueueItem | undefined, attempt: Attempt, must: Must): void {
    if (error.code === "backpressure") this.#mustHaveBeenFull(error, attempt, must);
    if (error.code === "unsupported_version") this.#mustHaveBeenOld(attempt, must);
    const mayBeBad = (item?.notAfter ?? item?.dependsOn) !== undefined;
    if (error.code === "invalid_argument") must(mayBeBad, "F7", "a good item is called invalid");
    if (error.code === "item_not_found") judgeUnknown(this.#log.model.byId, item, must);
  }

  #mustHaveBeenOld({ sentMs }: Attempt, must: Must): void {
    must(sentMs < this.#log.raisedMs, "F7", `the log was raised at ${this.#log.raisedMs}`);
  }

  #refusedLease(error: NonNullable<Entry["error"]>, { itemId, token }: LeaseRef, attempt: Attempt, must: Must): void {
    const { model } = this.#log;
    const item = model.byId.get(itemId);
    const lives = item?.lease?.token === token;
    switch (error.code) {
      case "stale_token":
        must(!lives && item !== undefined, "F7", `lease ${token} lives, and is called stale`);
        // Beats that have reached the server are decided before expiries.
        if (model.ends.get(token)?.type === "expired")
          must(
            attempt.routedMs > (this.#log.dueMs(token) ?? 0),
            "F6",
            `lease ${token} ran out before the beat was heard`,
          );
        return;
      case "item_not_found":
        this.#unknownItem(itemId, must);
        return;
      case "conflict":
        must(model.ends.has(token), "F7", `lease ${token} was not settled`);
        return;
      case "permission_denied": {
        const holder = lives ? item?.lease?.principal : model.ends.get(token)?.principal;
        must(holder !== undefined && holder !== attempt.principal, "F7", `lease ${token} is of ${holder}`);
        return;
      }
      case "unsupported_version":
        this.#mustHaveBeenOld(attempt, must);
        return;
      default:
        must(!error.definite, "F7", `${error.code} for ${itemId}`);
    }
  }

  #refused(operation: Operation, attempt: Attempt, error: NonNullable<Answer["error"]>, must: Must): void {
    switch (error.code) {
      case "not_leader":
      case "shutting_down":
      case "unavailable":
      case "unknown_outcome":
        must(!error.definite, "F7", "a definite refusal of who does not lead");
        return;
      case "backpressure":
        this.#mustHaveBeenFull(error, attempt, must);
        return;
      case "resource_exhausted":
        must(operation.verb === "lease", "F7", "only leases are bounded");
        return;
      case "unsupported_version":
        must(OF_A_VERSION.has(operation.verb), "F7", "it is of no version as a whole");
        this.#mustHaveBeenOld(attempt, must);
        return;
      case "item_not_found":
        must(operation.verb === "explain", "F7", "it is about no item");
        this.#unknownItem((operation.body as RequestOf<"explain">).itemId, must);
        return;
      case "conflict":
      case "drain_not_found":
        must(OF_A_DRAIN.has(operation.verb), "F7", "it is about no drain");
        this.#drains.refused(operation, error.code, attempt, must);
        return;
      case "invalid_argument":
        must(operation.mayBeInvalid, "F7", "a good request is called invalid");
        return;
      default:
        must(false, "F7", "an unexpected refusal");
    }
  }

  #mustHaveBeenFull(error: NonNullable<Entry["error"]>, { sentMs }: Attempt, must: Must): void {
    if (error.details?.["reason"] === "log_bytes") return;
    const { easesAt, sequence: last } = this.#log;
    let isFull = false;
    for (let sequence = this.#log.sequenceAt(sentMs); sequence <= last; sequence += 1)
      isFull ||= (easesAt[sequence] ?? 0) > 0;
    must(isFull, "F7", `the shard was not full until ${this.#nowMs()}`);
  }
}

const finite = (value: number): number | undefined => (Number.isFinite(value) ? value : undefined);

const OF_A_DRAIN: ReadonlySet<string> = new Set(["drain", "restore", "discard", "list"]);
/** What an old log refuses as a whole. */
const OF_A_VERSION: ReadonlySet<string> = new Set([
  ...["configure", "cancel", "redrive", "purge", "heartbeat", "schedule-put"],
  ...["drain", "restore", "discard", "evict"],
]);

export type Must = (isRight: boolean, invariant: string, message: string) => void;
