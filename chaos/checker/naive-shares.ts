/** The rules of quotas and of turns between groups, written again: every lease is counted anew, every bucket is a debt that melts. */
import type { Quota, QuotasPatch } from "../../contracts/quotas.ts";

/** What an item says of whom it is for and what it needs. */
export interface NaiveShared {
  readonly sequence: number;
  readonly resourceType: string;
  readonly group: string | undefined;
  readonly quotaKey: string | undefined;
}

type Compare<Item> = (left: Item, right: Item) => boolean;
type Rate = NonNullable<Quota["rate"]>;

/** How long one grant of a rate takes to come back. µs. */
const intervalUs = ({ count, perMs }: Rate): number => Math.ceil((perMs * 1_000) / count);

export class NaiveShares {
  readonly quotas = new Map<string, Quota>();
  isFair = false;
  /** What is missing in each bucket, and since when. µs. */
  readonly #debts = new Map<string, { readonly us: number; readonly atUs: number }>();
  /** Per type: where it stands, and where each group stands that was granted something. */
  #turns = new Map<string, { time: number; readonly groups: Map<string, number> }>();

  /** Quotas were changed at log time `at`: no bucket lacks more than it holds by its present rate. */
  configure(patch: QuotasPatch | undefined, at: number): void {
    for (const [name, quota] of Object.entries(patch ?? {}))
      if (quota === null) this.quotas.delete(name);
      else this.quotas.set(name, quota);
    for (const name of [...this.#debts.keys()]) {
      const rate = (this.quotas.get(name) ?? this.quotas.get(name.replace(/\/.*$/su, "/*")))?.rate;
      if (rate === undefined) this.#debts.delete(name);
      else {
        const us = Math.min(this.#debtUs(name, at), (rate.burst ?? rate.count) * intervalUs(rate));
        this.#debts.set(name, { us, atUs: at * 1_000 });
      }
    }
  }

  setFair(isFair: boolean): void {
    this.isFair = isFair;
    if (!isFair) this.#turns = new Map();
  }

  /** Whether the quotas of an item let it be granted at log time `at`. `leased`: everything that is. */
  isFree(item: NaiveShared, leased: readonly NaiveShared[], at: number): boolean {
    const isOfGroup = (other: NaiveShared) => other.group === item.group;
    const isOfKey = (other: NaiveShared) => other.quotaKey === item.quotaKey;
    return (
      this.#hasRoom("group", item.group, () => leased.filter(isOfGroup).length, at) &&
      this.#hasRoom("key", item.quotaKey, () => leased.filter(isOfKey).length, at)
    );
  }

  /** Whose turn it is among items that could be granted: of each type the group that has had least, and of those the first by `isBefore`. */
  first<Item extends NaiveShared>(items: readonly Item[], isBefore: Compare<Item>): Item | undefined {
    const types = [...Map.groupBy(items, ({ resourceType }) => resourceType).values()];
    return least(
      types.map((ofType) => this.#firstOfType(ofType, isBefore)),
      isBefore,
    );
  }

  /** An item was granted at log time `at`. */
  granted(item: NaiveShared, at: number): void {
    this.#pay("group", item.group, at);
    this.#pay("key", item.quotaKey, at);
    if (!this.isFair) return;
    const { resourceType, group = "" } = item;
    const turn = this.#turns.get(resourceType) ?? { time: 0, groups: new Map<string, number>() };
    this.#turns.set(resourceType, turn);
    turn.time = Math.max(turn.time, turn.groups.get(group) ?? 0);
    const weight = group === "" ? 1 : (this.#quotaOf("group", group)?.weight ?? 1);
    turn.groups.set(group, turn.time + Math.floor(2 ** 20 / weight));
  }

  #firstOfType<Item extends NaiveShared>(items: readonly Item[], isBefore: Compare<Item>): Item | undefined {
    const [one] = items;
    const turn = one === undefined ? undefined : this.#turns.get(one.resourceType);
    const aheadOf = ({ group = "" }: NaiveShared): number => {
      const ahead = turn?.groups.get(group) ?? 0;
      return ahead > (turn?.time ?? 0) ? ahead : 0;
    };
    const ahead = Math.min(...items.map(aheadOf));
    return least(
      items.filter((item) => aheadOf(item) === ahead),
      isBefore,
    );
  }

  #hasRoom(kind: string, name: string | undefined, leased: () => number, at: number): boolean {
    const quota = name === undefined ? undefined : this.#quotaOf(kind, name);
    if (quota === undefined) return true;
    if (quota.leasesMax !== undefined && leased() >= quota.leasesMax) return false;
    if (quota.rate === undefined) return true;
    const { count, burst = count } = quota.rate;
    return this.#debtUs(`${kind}/${name}`, at) <= (burst - 1) * intervalUs(quota.rate);
  }

  #pay(kind: string, name: string | undefined, at: number): void {
    const rate = name === undefined ? undefined : this.#quotaOf(kind, name)?.rate;
    if (rate === undefined) return;
    const us = this.#debtUs(`${kind}/${name}`, at) + intervalUs(rate);
    this.#debts.set(`${kind}/${name}`, { us, atUs: at * 1_000 });
  }

  #debtUs(name: string, at: number): number {
    const debt = this.#debts.get(name);
    return debt === undefined ? 0 : Math.max(0, debt.us - (at * 1_000 - debt.atUs));
  }

  #quotaOf(kind: string, name: string): Quota | undefined {
    return this.quotas.get(`${kind}/${name}`) ?? this.quotas.get(`${kind}/*`);
  }
}

function least<Item>(items: readonly (Item | undefined)[], isBefore: Compare<Item>): Item | undefined {
  let first: Item | undefined;
  for (const item of items) if (item !== undefined && (first === undefined || isBefore(item, first))) first = item;
  return first;
}
