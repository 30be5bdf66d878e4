/** Watches what a log says of ends without a worker, dead letters that come back, unique keys, progress and results. */
import type { NaiveItem } from "../../chaos/checker/naive-item.ts";
import type { NaiveModel } from "../../chaos/checker/naive-model.ts";
import type { EventOf, LogEvent } from "../../contracts/events.ts";

export class EndsOracle {
  readonly #model: NaiveModel;
  readonly #fail: (invariant: string, message: string) => void;
  readonly #cover: (point: string) => void;
  /** Dead letters that stop their partition. */
  readonly #halting = new Set<NaiveItem>();
  /** Items that were not granted in their time. */
  readonly #late = new Set<NaiveItem>();
  /** Term of the leader under which somebody was asked to stop. */
  readonly #termOf = new Map<NaiveItem, number>();
  readonly #keys = new Set<string>();

  constructor(model: NaiveModel, fail: (invariant: string, message: string) => void, cover: (point: string) => void) {
    this.#model = model;
    this.#fail = fail;
    this.#cover = cover;
  }

  /** An event that the model has just taken. */
  happened(event: LogEvent): void {
    if (event.type === "renewed") for (const { token, progress } of event.leases) this.#mustBeOf(token, progress);
    const item = "itemId" in event ? this.#model.byId.get(event.itemId) : undefined;
    if (item === undefined) return;
    if (event.type === "enqueued") this.#enqueued(item);
    else if (event.type === "leased") this.#leased(item);
    else if (event.type === "cancelled") this.#cancelled(item, event);
    else if (event.type === "redriven") this.#redriven(item);
    else if (event.type === "purged") this.#cover("purged");
    else if (event.type === "deadLettered") this.#buried(item, event);
    else this.#ended(item, event);
    if (item.halts) this.#halting.add(item);
    else if (this.#halting.delete(item)) this.#cover(`${event.type}_of_halting_letter`);
  }

  #buried(item: NaiveItem, { code }: EventOf<"deadLettered">): void {
    if (code === "not_after") this.#late.add(item);
  }

  /** Workers write the token of their lease into what they tell. */
  #mustBeOf(token: number, told: string | undefined): void {
    if (told !== undefined && !told.startsWith(`${token} `))
      this.#fail("Q2", `lease ${token} tells ${told}, which its holder never said`);
  }

  #enqueued({ uniqueKey }: NaiveItem): void {
    if (uniqueKey === undefined) return;
    if (this.#keys.has(uniqueKey)) this.#cover("unique_key_used_again");
    this.#keys.add(uniqueKey);
  }

  #leased(item: NaiveItem): void {
    if (item.redrives.length > 0) this.#cover("granted_behind_redrive");
    if (this.#late.delete(item)) this.#cover("granted_behind_its_end_by_redrive");
  }

  #cancelled(item: NaiveItem, { outcome }: EventOf<"cancelled">): void {
    if (outcome === "requested") {
      this.#cover("cancel_requested");
      this.#termOf.set(item, this.#model.term);
      return;
    }
    this.#cover(`cancelled_${item.history.at(-2)?.status}`);
    if (item.notBefore > this.#model.at) this.#cover("cancelled_while_delayed");
  }

  #redriven(item: NaiveItem): void {
    this.#cover("redriven");
    if (item.redrives.length > 1) this.#cover("redriven_again");
    if ((item.redrives.at(-1)?.delayMs ?? 0) > 0) this.#cover("redriven_with_delay");
    if (item.exclusivity !== "partition") return;
    const others = this.#model.items.filter(({ key, sequence }) => key === item.key && sequence > item.sequence);
    if (others.some(({ status }) => status === "leased")) this.#cover("redriven_beside_a_lease");
    if (others.some(({ status }) => status === "pending")) this.#cover("redriven_before_younger");
  }

  #ended(item: NaiveItem, event: LogEvent): void {
    if (event.type === "completed") this.#mustBeOf(event.token, event.result);
    if (item.cancel === undefined) return;
    this.#cover(event.type === "completed" ? "completed_behind_cancel" : `cancelled_by_${event.type}`);
    if ((this.#termOf.get(item) ?? 0) < this.#model.term) this.#cover("cancelled_under_another_leader");
  }
}
