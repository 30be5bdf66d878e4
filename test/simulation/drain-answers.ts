/** Judges what clients are told of drains, of items that are made anew, and of leases that were evicted. */
import { isUnfinished, statusAt, statusesSince } from "../../chaos/checker/naive-item.ts";
import type { DrainItem, RequestOf } from "../../contracts/commands.ts";
import type { Answer, Must } from "./answer-oracle.ts";
import type { LogOracle } from "./log-oracle.ts";
import type { Attempt, Operation } from "./sim-client.ts";

interface Known {
  readonly drainId: string;
  readonly sequence: number;
  readonly outcome?: "restored" | "discarded";
  /** Infinite while it is on. */
  readonly endedAt: number;
}

export class DrainAnswers {
  readonly #log: LogOracle;
  readonly #cover: (point: string) => void;

  constructor(log: LogOracle, cover: (point: string) => void) {
    this.#log = log;
    this.#cover = cover;
  }

  drained({ body }: Operation, { sentMs }: Attempt, answer: Answer, must: Must): void {
    const { drainId } = body as RequestOf<"drain">;
    const { sequence } = answer;
    const drain = this.#drains().findLast((each) => each.drainId === drainId && each.sequence <= sequence);
    must(drain !== undefined && drain.endedAt > sequence, "L7", `drain ${drainId} is not on`);
    const isFresh = (drain?.sequence ?? 0) > this.#log.sequenceAt(sentMs);
    must(answer["duplicate"] === true || isFresh, "R2", `drain ${drainId} began at ${drain?.sequence}`);
    if (answer["duplicate"] === true) this.#cover("drain_repeated");
    if (sequence === this.#log.sequence)
      must(answer["marked"] === this.#marked().length, "O1", `${this.#marked().length} items are marked`);
  }

  /** Without items. */
  #goesOn({ body }: Operation, { sequence }: Answer, must: Must): void {
    const { drainId } = body as RequestOf<"restore">;
    const isOver = this.#drains().some((each) => each.drainId === drainId && each.endedAt <= sequence);
    must(isOver, "L7", `drain ${drainId} is not over at ${sequence}`);
  }

  restored(operation: Operation, attempt: Attempt, answer: Answer, must: Must): void {
    const { items, origin } = operation.body as RequestOf<"restore">;
    if (items === undefined || origin === undefined) {
      this.#goesOn(operation, answer, must);
      return;
    }
    const { model } = this.#log;
    for (const [index, { error, itemId, duplicate, status }] of (answer.results ?? []).entries()) {
      const asked = items[index] as DrainItem;
      const name = `${asked.itemId} of ${origin.logId}`;
      if (error !== undefined) {
        this.#refusedItem(error, asked, origin.logId, attempt, must);
        continue;
      }
      const item = model.byId.get(itemId as string);
      must(item !== undefined && item.sequence <= answer.sequence, "L7", `${name} is not there`);
      const isIts = item?.origin?.logId === origin.logId && item.origin.itemId === asked.itemId;
      const isItself = itemId === asked.itemId && origin.logId === model.logId;
      must(isIts || (isItself && duplicate === true), "R2", `${name} is ${JSON.stringify(item?.origin)}`);
      if (item === undefined) continue;
      if (duplicate === true) {
        this.#cover(isIts ? "restore_item_repeated" : "restore_item_is_there");
        const known = statusAt(item, answer.sequence);
        const isOpen = isUnfinished(known) || known === "deadLettered";
        must(status === (isOpen ? undefined : known), "F7", `${name} is ${known}`);
        continue;
      }
      must(item.sequence > this.#log.sequenceAt(attempt.sentMs), "R2", `${name} was there at ${item.sequence}`);
      const isSame = item.enqueuedAt === asked.enqueuedAt && item.principal === asked.enqueuedBy;
      must(isSame, "Q2", `${name} is of ${item.principal} at ${item.enqueuedAt}`);
      this.#cover(origin.logId === model.logId ? "restored_into_its_log" : "restored_into_another_log");
    }
  }

  #refusedItem(
    error: { readonly code: string; readonly definite: boolean },
    { itemId, item }: DrainItem,
    logId: string,
    { sentMs }: Attempt,
    must: Must,
  ): void {
    const { model } = this.#log;
    if (error.code === "conflict") {
      const since = this.#log.sequenceAt(sentMs);
      const holders = model.items.filter((each) => each.uniqueKey === item.uniqueKey);
      const isTaken = holders.some((each) => statusesSince(each, since).some(isUnfinished));
      must(item.uniqueKey !== undefined && isTaken, "F7", `nobody has the unique key ${item.uniqueKey}`);
    } else if (error.code === "request_expired") must(logId === model.logId, "F7", "it is of another log");
    else if (error.code === "item_not_found") must(!model.byId.has(itemId), "F7", `${itemId} is known`);
    else must(!error.definite, "F7", `${error.code} for ${itemId}`);
  }

  discarded({ body }: Operation, answer: Answer, must: Must): void {
    const { drainId } = body as RequestOf<"discard">;
    const { sequence } = answer;
    const drain = this.#drains().findLast((each) => each.drainId === drainId && each.sequence <= sequence);
    const isOver = drain?.outcome === "discarded" && drain.endedAt <= sequence;
    must(isOver === (answer["left"] === 0), "L7", `drain ${drainId} ended at ${drain?.endedAt}: ${drain?.outcome}`);
    if (answer["duplicate"] === true) this.#cover("discard_repeated");
    else if ((answer["discarded"] as number) > 0) this.#cover("discarded");
  }

  evicted({ body }: Operation, answer: Answer, must: Must): void {
    const { peerId } = body as RequestOf<"evict">;
    if ((answer["evicted"] as number) > 0) this.#cover("evicted");
    if (answer["left"] !== 0 || answer.sequence !== this.#log.sequence) return;
    const held = this.#log.model.items.find(({ lease }) => lease?.peerId === peerId);
    must(held === undefined, "L7", `${peerId} holds ${held?.itemId}`);
  }

  /** A page of a drain: everything that it marks, in order, as it stands. */
  listed({ body }: Operation, answer: Answer, must: Must): void {
    const { cursor = "0" } = body as RequestOf<"list">;
    const told = answer["drained"] as readonly DrainItem[];
    if (answer.sequence !== this.#log.sequence) return;
    const marked = this.#marked().filter(({ sequence }) => sequence > Number.parseInt(cursor, 36));
    const expected = answer["cursor"] === undefined ? marked : marked.slice(0, told.length);
    const textOf = (items: readonly { itemId: string; attempt: number; charged: number }[]): string =>
      items.map(({ itemId, attempt, charged }) => `${itemId} ${attempt} ${charged}`).join();
    must(textOf(told) === textOf(expected), "F7", `the drain marks ${textOf(expected)}`);
    this.#cover("drain_read");
  }

  /** A lease request was told that the shard is drained. */
  held({ sentMs }: Attempt, { sequence }: Answer, must: Must): void {
    const since = this.#log.sequenceAt(sentMs);
    const isTrue = this.#drains().some((each) => each.sequence <= sequence && each.endedAt > Math.min(since, sequence));
    must(isTrue, "F7", "no drain is on");
    this.#cover("lease_held_by_drain");
  }

  /** A request was refused as a whole. */
  refused({ verb, body }: Operation, code: string, { sentMs }: Attempt, must: Must): void {
    const { drainId } = body as { readonly drainId: string };
    const since = this.#log.sequenceAt(sentMs);
    const own = this.#drains().filter((each) => each.drainId === drainId);
    if (code === "drain_not_found") {
      // Pages are told only of the one that is on.
      const isKnown = own.some((each) => each.sequence <= since && (verb !== "list" || each.endedAt === Infinity));
      must(!isKnown, "F7", `drain ${drainId} is known`);
      return;
    }
    const isOn = this.#drains().some((each) => each.drainId !== drainId && each.endedAt > since);
    if (verb === "drain") must(isOn || own.length > 0, "F7", `no drain is in the way of ${drainId}`);
    else must(own.length > 0, "F7", `drain ${drainId} never was`);
  }

  #drains(): readonly Known[] {
    const { on, ended } = this.#log.model.drains;
    return on === undefined ? ended : [...ended, { ...on, endedAt: Number.POSITIVE_INFINITY }];
  }

  #marked() {
    const { model } = this.#log;
    return model.items.filter((item) => model.drains.marks(item));
  }
}
