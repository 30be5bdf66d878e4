/** Watches quotas and turns in a log: which rare paths were taken; that none is exceeded the model itself says. */
import type { NaiveItem } from "../../chaos/checker/naive-item.ts";
import type { NaiveModel } from "../../chaos/checker/naive-model.ts";
import { comesBefore } from "../../chaos/checker/naive-terms.ts";
import type { LogEvent } from "../../contracts/events.ts";

export class ShareOracle {
  readonly #model: NaiveModel;
  readonly #cover: (point: string) => void;
  readonly #seen = new Set<string>();
  /** Term in which each quota was set. */
  readonly #setIn = new Map<string, number>();

  constructor(model: NaiveModel, cover: (point: string) => void) {
    this.#model = model;
    this.#cover = cover;
  }

  /** An event that the model has just taken. */
  happened(event: LogEvent): void {
    const { shares, term } = this.#model;
    if (event.type === "configured") for (const name of Object.keys(event.quotas ?? {})) this.#setIn.set(name, term);
    if (event.type !== "leased" || (shares.quotas.size === 0 && !shares.isFair)) return;
    const item = this.#model.byId.get(event.itemId);
    if (item === undefined) return;
    if (shares.isFair) this.#outrun(item);
    for (const [kind, name] of [["group", item.group] as const, ["key", item.quotaKey] as const]) {
      const own = name === undefined ? undefined : shares.quotas.get(`${kind}/${name}`);
      if (own === undefined || this.#model.hasQuota(item)) continue;
      this.#once(own.rate === undefined ? "quota_full" : "rate_used_up");
      if ((this.#setIn.get(`${kind}/${name}`) ?? term) < term) this.#once("quota_held_by_another_leader");
    }
  }

  /** Once for each run: it looks at all items. */
  #outrun(item: NaiveItem): void {
    const point = "granted_before_older_by_fairness";
    if (this.#seen.has(point)) return;
    const isOutrun = (other: NaiveItem) =>
      other.resourceType === item.resourceType && comesBefore(other, item) && this.#model.isEligible(other);
    if (this.#model.items.some(isOutrun)) this.#once(point);
  }

  #once(point: string): void {
    if (this.#seen.has(point)) return;
    this.#seen.add(point);
    this.#cover(point);
  }
}
