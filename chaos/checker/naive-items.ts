/** The items of the naive model without any index: who is there, who may be granted, and who comes first. */
import type { ShardOptions } from "../../contracts/options.ts";
import { isCancelledByFlow, isDoomed, tellAll, waits } from "./naive-flows.ts";
import { isEnded, isUnfinished, type NaiveItem, type NaiveStatus } from "./naive-item.ts";
import { NaiveShares } from "./naive-shares.ts";
import { comesBefore } from "./naive-terms.ts";

/** Invariant: `items` holds every item that ever was, in order; `open` those that are pending or leased, and dead letters that stop a partition. */
export class NaiveItems {
  readonly items: NaiveItem[] = [];
  readonly byId = new Map<string, NaiveItem>();
  readonly shares = new NaiveShares();
  options: ShardOptions | undefined;
  /** Log time of the last event. ms. */
  at = 0;
  sequence = 0;
  protected open: NaiveItem[] = [];
  readonly #counts = { pending: 0, leased: 0, deadLettered: 0, completed: 0, cancelled: 0, purged: 0, discarded: 0 };

  count(status: NaiveStatus): number {
    return this.#counts[status];
  }

  /** Whether somebody could be granted this item at a log time, once what has lapsed is dead-lettered. */
  isEligible(item: NaiveItem, at = this.at): boolean {
    if (item.status !== "pending" || item.notBefore > at || waits(item)) return false;
    return this.isFree(item) && this.#isHead(item, at) && this.hasQuota(item, at);
  }

  /** Whether another item of its key holds a pending one back. */
  isHeldBack(item: NaiveItem): boolean {
    return !this.isFree(item);
  }

  /** Whether its quotas would let an item be granted at a log time. */
  hasQuota(item: NaiveItem, at = this.at): boolean {
    const { group, quotaKey } = item;
    if (this.shares.quotas.size === 0 || (group === undefined && quotaKey === undefined)) return true;
    const leased = this.open.filter(({ status }) => status === "leased");
    return this.shares.isFree(item, leased, at);
  }

  /** The pending items that must be dead-lettered by a log time; in a partition that is the first one. */
  lapsed(at: number): readonly NaiveItem[] {
    const isOver = (item: NaiveItem) => item.status === "pending" && item.notAfter <= at;
    return this.open.filter((item) => isOver(item) && (item.exclusivity === "resource" || this.isFree(item)));
  }

  /** Whether the leader may make an item a dead letter at a log time, with this code. */
  mayBury(item: NaiveItem, code: string, at: number): boolean {
    if (code === "dependency_failed") return this.doomed().includes(item) && !isCancelledByFlow(item);
    return code === "not_after" && this.lapsed(at).includes(item);
  }

  /** The pending items that the leader must end for those that they depend on. */
  doomed(): readonly NaiveItem[] {
    const isFree = (item: NaiveItem) => item.exclusivity === "resource" || this.isFree(item);
    return this.open.filter((item) => isDoomed(item) && isFree(item));
  }

  /** Whether an item that nobody has may end so. */
  mayRemove(item: NaiveItem | undefined, status: NaiveStatus, isMarked: boolean): boolean {
    if (status === "discarded") return item?.status === "pending" && isMarked;
    return item?.status === "deadLettered" || (item?.status === "pending" && status === "cancelled");
  }

  /** Who has a unique key. */
  holderOf(uniqueKey: string): NaiveItem | undefined {
    return this.open.find((item) => item.uniqueKey === uniqueKey && isUnfinished(item.status));
  }

  /** Of the items of a resource that could be granted the first goes first, whatever its quota. */
  #isHead(item: NaiveItem, at: number): boolean {
    if (item.exclusivity !== "resource") return true;
    const isBefore = (other: NaiveItem) =>
      other.key === item.key &&
      other.status === "pending" &&
      other.notBefore <= at &&
      !waits(other) &&
      comesBefore(other, item);
    return !this.open.some(isBefore);
  }

  /** Whether no other item of its key holds it back. */
  protected isFree(item: NaiveItem): boolean {
    if (item.exclusivity === "none") return true;
    for (const other of this.open) {
      if (other === item || other.key !== item.key) continue;
      if (other.status === "leased") return false;
      if (item.exclusivity !== "partition") continue;
      if (other.halts) return false;
      if (other.status === "pending" && other.sequence < item.sequence) return false;
    }
    return true;
  }

  /**
   * An item that a request for these types that comes later could not be told nothing for; undefined where time alone may have put another one
   * before it, which its quota holds back: what was delayed becomes the first of its resource or partition without an event.
   */
  surelyNext(resourceTypes: readonly string[] | undefined): NaiveItem | undefined {
    const next = this.next(resourceTypes);
    if (next === undefined || next.key === "") return next;
    const mayComeFirst = (other: NaiveItem) =>
      other !== next && other.key === next.key && other.status === "pending" && other.notBefore > this.at;
    return this.items.some(mayComeFirst) ? undefined : next;
  }

  /** The item that a lease request for these types gets next; undefined stands for all types. */
  next(resourceTypes: readonly string[] | undefined): NaiveItem | undefined {
    const isAsked = ({ resourceType }: NaiveItem) => resourceTypes?.includes(resourceType) ?? true;
    return this.shares.first(
      this.open.filter((item) => isAsked(item) && this.isEligible(item)),
      comesBefore,
    );
  }

  protected add(entry: NaiveItem): void {
    this.items.push(entry);
    this.open.push(entry);
    this.#counts.pending += 1;
    this.byId.set(entry.itemId, entry);
    this.become(entry, "pending");
  }

  protected become(item: NaiveItem, status: NaiveStatus): void {
    this.#counts[item.status] -= 1;
    this.#counts[status] += 1;
    item.status = status;
    const isOpen = isUnfinished(status) || item.halts;
    if (!isOpen) this.open = this.open.filter((other) => other !== item);
    item.history.push({ sequence: this.sequence, status });
    if (isEnded(status)) tellAll(this.items, item, this.at);
  }
}
