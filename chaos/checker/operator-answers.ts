/** Compares what operators are told with the naive model as it stood at the sequence that the answer cites. */
import { isDeepStrictEqual } from "node:util";
import type { RequestOf } from "../../contracts/commands.ts";
import type { ReplyOf } from "../../contracts/replies.ts";
import type { AnswerParts } from "./answers.ts";
import { isEnded, type NaiveItem } from "./naive-item.ts";
import type { Invariant } from "./tally.ts";
import { type OrderOperation, orderEntries, type ShardOperation, type ShardOperationOf } from "./timed-operations.ts";

type Must = (name: Invariant, isRight: boolean, message: string) => boolean;
type Record = ReplyOf<"list">["items"][number];
type Parts = Pick<AnswerParts, "truth" | "model" | "tally">;

export class OperatorAnswers {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  check(operation: ShardOperation): void {
    const { id, reply } = operation;
    if (reply === undefined) return;
    const must: Must = (name, isRight, message) => this.#parts.tally.check(name, isRight, () => `${id}: ${message}`);
    switch (operation.f) {
      case "cancel":
      case "redrive":
      case "purge":
        this.#taken(operation, must);
        return;
      case "drain":
        this.#drained(operation, must);
        return;
      case "restore":
        this.#restored(operation, must);
        return;
      case "evict":
        this.#evicted(operation, must);
        return;
      case "pause":
      case "resume":
        must("F7", this.#parts.model.isPaused === (operation.f === "pause"), "that is not how it is");
        return;
      case "configure":
        this.#configured(operation.request, must);
        return;
      case "schedule-put":
        this.#scheduled(operation, must);
        return;
      case "schedule-delete": {
        const { name } = operation.request;
        must("L7", !this.#parts.model.schedules.byName.has(name), `schedule ${name} is there`);
        return;
      }
      case "schedule-list":
        this.#listedSchedules(operation, must);
        return;
      case "get":
        for (const entry of operation.reply?.results ?? []) if (!("error" in entry)) this.#shown(entry as Record, must);
        return;
      case "list":
        this.#listed(operation, must);
        return;
      case "enqueue":
      case "lease":
      case "heartbeat":
      case "complete":
      case "fail":
      case "release":
      case "stats":
        return;
    }
  }

  /** Cancelled, redriven or purged: there as it is told, and by whom it is told as new. */
  #taken(operation: OrderOperation, must: Must): void {
    const { principal, reply } = operation;
    const { model } = this.#parts;
    const fresh: number[] = [];
    const everyMs = operation.f === "redrive" ? (operation.request.everyMs ?? 0) : 0;
    for (const { asked, answered } of orderEntries(operation)) {
      if (answered === undefined) continue;
      const item = model.byId.get(asked);
      if (!must("L3", item !== undefined, `item ${asked} is not in the log`) || item === undefined) continue;
      const deed =
        answered.outcome === "requested"
          ? item.cancel
          : operation.f === "redrive"
            ? item.redrives.at(-1)
            : item.endedBy;
      const { status } = item;
      if (operation.f === "redrive") must("L7", deed !== undefined, `item ${asked} was not redriven`);
      else if (answered.outcome === "requested")
        must("L7", deed !== undefined && status === "leased", `nobody was asked to cancel ${status} ${asked}`);
      else must("L7", status === (operation.f === "purge" ? "purged" : "cancelled"), `item ${asked} is ${status}`);
      if (answered.duplicate) continue;
      must("R2", deed?.principal === principal, `item ${asked} was taken by ${deed?.principal}`);
      if (operation.f === "redrive") {
        const delayMs = item.redrives.at(-1)?.delayMs;
        must("Q6", delayMs === fresh.length * everyMs, `item ${asked} is held back for ${delayMs} ms`);
      }
      fresh.push(deed?.sequence ?? 0);
    }
    const last = fresh.length === 0 ? reply?.sequence : Math.max(...fresh);
    must("F7", last === reply?.sequence, `it cites ${reply?.sequence}, its last event is ${last}`);
  }

  #drained({ request, reply }: ShardOperationOf<"drain">, must: Must): void {
    const { model, truth } = this.#parts;
    const { on } = model.drains;
    if (reply === undefined) return;
    must("L7", on?.drainId === request.drainId, `drain ${on?.drainId} is on`);
    must("R2", on?.leases === request.leases, `the drain is one with leases ${on?.leases}`);
    const marked = model.items.filter((item) => model.drains.marks(item)).length;
    must("O1", reply.marked === marked, `${reply.marked} items are marked, not ${marked}`);
    must("O1", reply.active === model.count("leased"), `${reply.active} leases live, not ${model.count("leased")}`);
    if (reply.duplicate || on === undefined) return;
    const own = truth.events.slice(on.sequence, reply.sequence);
    const isFresh = own.every(({ event }) => event.type === "released" && event.reason === "drained");
    must("F7", isFresh, `it cites ${reply.sequence}, the drain began at ${on.sequence}`);
  }

  #restored({ request, reply }: ShardOperationOf<"restore">, must: Must): void {
    const { drainId } = request;
    const drain = this.#parts.model.drains.ended.findLast((each) => each.drainId === drainId);
    if (!must("L7", drain?.outcome === "restored", `drain ${drainId} was not restored: ${drain?.outcome}`)) return;
    const isFresh = drain?.endedAt === reply?.sequence;
    must("F7", reply?.duplicate === true || isFresh, `it cites ${reply?.sequence}, the end is ${drain?.endedAt}`);
  }

  #evicted({ request: { peerId }, reply }: ShardOperationOf<"evict">, must: Must): void {
    const { model, truth } = this.#parts;
    if (reply === undefined) return;
    const { sequence, evicted, left } = reply;
    const held = model.items.filter(({ lease }) => lease?.peerId === peerId);
    must("L7", held.length === left, `${peerId} holds ${held.length} leases, not ${left}`);
    const own = truth.events.slice(sequence - evicted, sequence);
    const isThere = own.every(({ event }) => event.type === "released" && event.reason === "evicted");
    must("L3", isThere, `it cites ${sequence}, and the ${evicted} ends before that are others`);
  }

  #configured({ options, quotas = {} }: RequestOf<"configure">, must: Must): void {
    const { model } = this.#parts;
    for (const [name, value] of Object.entries(options)) {
      const known = (model.options as unknown as { readonly [name: string]: unknown })[name];
      must("L7", known === value, `${name} is ${String(known)}, not ${String(value)}`);
    }
    for (const [name, quota] of Object.entries(quotas)) {
      const known = model.shares.quotas.get(name) ?? null;
      must("L7", isDeepStrictEqual(known, quota), `the quota of ${name} is ${JSON.stringify(known)}`);
    }
  }

  #scheduled({ request, reply, principal }: ShardOperationOf<"schedule-put">, must: Must): void {
    const { name, cron, timeZone, catchUp, item, paused } = request;
    const { next, ...known } = this.#parts.model.schedules.byName.get(name) ?? { next: undefined };
    const isSame = isDeepStrictEqual(known, { name, cron, timeZone, catchUp, item, principal, isPaused: paused });
    must("L7", isSame, `schedule ${name} is ${JSON.stringify(known)}`);
    must("F7", (reply?.next ?? Number.POSITIVE_INFINITY) === next, `schedule ${name} ticks at ${next}`);
  }

  #listedSchedules({ reply }: ShardOperationOf<"schedule-list">, must: Must): void {
    const { byName } = this.#parts.model.schedules;
    const textOf = (
      list: Iterable<{ readonly name: string; readonly cron: string; readonly next?: number | undefined }>,
    ) => [...list].map(({ name, cron, next = Number.POSITIVE_INFINITY }) => `${name} ${cron} ${next}`).sort();
    const [told, known] = [textOf(reply?.schedules ?? []), textOf(byName.values())];
    // A page says of its own schedules alone how they are.
    const isTrue =
      reply?.cursor === undefined ? isDeepStrictEqual(told, known) : told.every((one) => known.includes(one));
    must("F7", isTrue, `told ${told.join()}; there are ${known.join()}`);
  }

  #listed({ request, reply }: ShardOperationOf<"list">, must: Must): void {
    const { model } = this.#parts;
    const { drainId, status, cursor, ...filters } = request;
    for (const record of reply?.items ?? []) this.#shown(record, must);
    if (reply === undefined || reply.cursor !== undefined || cursor !== undefined) return;
    if (drainId !== undefined) {
      const textOf = (items: readonly Pick<NaiveItem, "itemId" | "attempt" | "charged">[] = []): string =>
        items.map(({ itemId, attempt, charged }) => `${itemId} ${attempt} ${charged}`).join();
      const marked = textOf(model.items.filter((item) => model.drains.marks(item)));
      must("F7", textOf(reply.drained) === marked, `the drain marks ${marked}`);
    } else if (status !== undefined && (filters.resourceType ?? filters.resourceId ?? filters.code) === undefined)
      must("O1", reply.items.length === model.count(status), `${model.count(status)} items are ${status}`);
  }

  #shown(record: Record, must: Must): void {
    const item = this.#parts.model.byId.get(record.itemId);
    must("F7", item?.status === record.status, `item ${record.itemId} is ${item?.status}, not ${record.status}`);
    if (item === undefined) return;
    if (isEnded(item.status)) {
      must("F7", record.result === item.result, `the result of ${item.itemId} is ${item.result}`);
      return;
    }
    const { attempt, charged, priority, notBefore, uniqueKey, group, quotaKey, redrives, cancel, progress } = item;
    const known = {
      ...{ attempt, charged, priority: priority || undefined, notBefore: notBefore || undefined, uniqueKey },
      ...{ group, quotaKey, redrives: redrives.length || undefined, token: item.lease?.token },
      ...{ isCancelled: cancel !== undefined, progress: progress.at(-1)?.text },
    };
    const told = {
      ...{ attempt: record.attempt, charged: record.charged, priority: record.priority, notBefore: record.notBefore },
      ...{ uniqueKey: record.uniqueKey, group: record.group, quotaKey: record.quotaKey, redrives: record.redrives },
      ...{ token: record.lease?.token, isCancelled: record.cancelRequested !== undefined },
      progress: record.progress?.text,
    };
    const isSame = isDeepStrictEqual(told, known);
    must("F7", isSame, `of ${item.itemId} is told ${JSON.stringify(told)}, it has ${JSON.stringify(known)}`);
  }
}
