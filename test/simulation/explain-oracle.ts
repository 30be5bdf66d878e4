/** Judges what `explain` says: each reason that it names is there, and none is missing that nobody could overlook. */
import { isDoomed, waits } from "../../chaos/checker/naive-flows.ts";
import { isEnded, isUnfinished, type NaiveItem, statusAt } from "../../chaos/checker/naive-item.ts";
import { comesBefore } from "../../chaos/checker/naive-terms.ts";
import type { Answer, Must } from "./answer-oracle.ts";
import type { LogOracle } from "./log-oracle.ts";
import type { Operation } from "./sim-client.ts";

interface Hold {
  readonly hold: string;
  readonly until?: number;
  readonly itemId?: string;
  readonly peerId?: string;
}

export class ExplainOracle {
  readonly #log: LogOracle;
  readonly #cover: (point: string) => void;

  constructor(log: LogOracle, cover: (point: string) => void) {
    this.#log = log;
    this.#cover = cover;
  }

  explained({ body }: Operation, answer: Answer, must: Must): void {
    const { sequence } = answer;
    const { model } = this.#log;
    const item = model.byId.get((body as { readonly itemId: string }).itemId);
    const status = item === undefined ? undefined : statusAt(item, sequence);
    if (item === undefined || status === undefined) {
      must(false, "F7", "explains what is not in the log");
      return;
    }
    must(answer["status"] === status, "F7", `item ${item.itemId} is ${status} at ${sequence}`);
    const holds = answer["holds"] as readonly Hold[];
    must(holds.length > 0, "F7", "says nothing");
    for (const { hold } of holds) this.#cover(`explained_${hold}`);
    // The model knows the rest as of its own sequence alone.
    if (sequence !== model.sequence) return;
    for (const hold of holds) must(this.#isTrue(item, hold), "F7", `${hold.hold} is not what holds ${item.itemId}`);
    const names = new Set(holds.map(({ hold }) => hold));
    if (status === "pending") {
      must(names.has("paused") === model.isPaused, "F7", `paused: ${model.isPaused}`);
      const isDraining = model.drains.on !== undefined;
      must(names.has("draining") === isDraining, "F7", `draining: ${isDraining}`);
      const isHeld = !model.isPaused && !isDraining && !isDelayed(item) && !waits(item) && model.isHeldBack(item);
      must(!isHeld || KEY_HOLDS.some((name) => names.has(name)) || names.has("lapsed"), "F7", "its key holds it back");
      const isWaiting = names.has("dependsOn") || names.has("dependencyFailed");
      must(isWaiting === waits(item), "F7", `waits for others: ${waits(item)}`);
    }
    const isAsked = status === "leased" && item.cancel !== undefined;
    must(names.has("cancelRequested") === isAsked, "F7", `cancelled at ${item.cancel?.sequence}`);
  }

  #isTrue(item: NaiveItem, { hold, until, itemId, peerId }: Hold): boolean {
    const { model } = this.#log;
    const { status, lease } = item;
    const other = model.byId.get(itemId ?? "");
    const isOfKey = other !== undefined && other !== item && other.key === item.key;
    switch (hold) {
      case "ended":
        return isEnded(status);
      case "deadLettered":
        return status === "deadLettered";
      case "leased":
      case "cancelRequested":
        return lease?.peerId === peerId && lease?.expiresAt === until;
      case "paused":
        return model.isPaused;
      case "draining":
        return model.drains.on !== undefined;
      case "keyHalted":
        return model.items.some((each) => each.halts && each.key === item.key);
      case "keyBusy":
        return isOfKey && other.lease?.peerId === peerId && other.lease?.expiresAt === until;
      case "keyQueued":
        return isOfKey && other.status === "pending";
      case "delayed":
        return item.notBefore === until;
      case "lapsed":
        return Number.isFinite(item.notAfter);
      case "dependsOn":
        return waits(item) && item.flow?.dependencies.some((one) => one.itemId === itemId) === true;
      case "dependencyFailed":
        return isDoomed(item);
      case "quotaFull":
      case "rateLimited":
        return !model.hasQuota(item);
      case "behind":
        return (
          isUnfinished(other?.status) && other?.resourceType === item.resourceType && this.#mayGoFirst(other, item)
        );
      case "next":
        return !model.items.some((each) => each !== item && this.#surelyGoesFirst(each, item));
      default:
        return false;
    }
  }

  /** A leader lets go of what was delayed when it looks: until then that has no place. */
  #mayGoFirst(other: NaiveItem, item: NaiveItem): boolean {
    return isDelayed(item) || this.#log.model.shares.isFair || comesBefore(other, item);
  }

  #surelyGoesFirst(other: NaiveItem, item: NaiveItem): boolean {
    if (other.resourceType !== item.resourceType || isDelayed(other) || isDelayed(item)) return false;
    if (this.#log.model.shares.isFair || !this.#log.model.hasQuota(other)) return false;
    return this.#log.model.isEligible(other) && comesBefore(other, item);
  }
}

const KEY_HOLDS = ["keyHalted", "keyBusy", "keyQueued"];

/** Whether it was ever held back behind its enqueue. */
const isDelayed = ({ notBefore, enqueuedAt }: NaiveItem): boolean => notBefore > enqueuedAt;
