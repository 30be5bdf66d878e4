/** Watches what a log says of items that depend on others: that the leader soon ends what will not run, and which rare paths were taken. */
import { isDoomed, waits } from "../../chaos/checker/naive-flows.ts";
import type { NaiveItem } from "../../chaos/checker/naive-item.ts";
import type { NaiveModel } from "../../chaos/checker/naive-model.ts";
import type { LogEvent } from "../../contracts/events.ts";
import type { Frame } from "../../contracts/frame.ts";

/** How long a leader may write on beside an item that will not run; it looks twenty times a second. ms of log time. */
const LEFT_MS_MAX = 400;
/** What a stop between two frames counts at most: the leader may have stood still. ms. */
const STEP_MS_MAX = 100;

export class FlowOracle {
  readonly #model: NaiveModel;
  readonly #fail: (invariant: string, message: string) => void;
  readonly #cover: (point: string) => void;
  /** Log time that the leader wrote on beside each doomed item. ms. */
  readonly #leftMs = new Map<NaiveItem, number>();
  /** Term of the leader under which an item was enqueued. */
  readonly #termOf = new Map<NaiveItem, number>();
  #last = { at: 0, term: 0 };

  constructor(model: NaiveModel, fail: (invariant: string, message: string) => void, cover: (point: string) => void) {
    this.#model = model;
    this.#fail = fail;
    this.#cover = cover;
  }

  /** An event that the model has just taken. */
  happened(event: LogEvent): void {
    const item = "itemId" in event ? this.#model.byId.get(event.itemId) : undefined;
    if (item?.flow === undefined) return;
    const { dependencies, policy } = item.flow;
    const hasFailed = dependencies.some(({ outcome }) => outcome !== "completed" && outcome !== "pending");
    if (event.type === "enqueued") {
      this.#termOf.set(item, this.#model.term);
      this.#cover(isDoomed(item) ? "enqueued_doomed" : waits(item) ? "enqueued_waiting" : "enqueued_behind_its_flow");
      return;
    }
    const isOfAnother = (this.#termOf.get(item) ?? 0) < this.#model.term;
    if (event.type === "leased") {
      this.#cover(hasFailed ? `granted_behind_failure_${policy}` : "granted_behind_its_flow");
      if (isOfAnother) this.#cover("granted_behind_its_flow_by_another_leader");
      if (dependencies.some(({ outcome }) => outcome === "pending")) this.#cover("granted_before_its_flow_by_redrive");
      if (dependencies.some(({ result }) => result !== undefined)) this.#cover("granted_with_results");
    } else if (event.type === "deadLettered" && event.code === "dependency_failed") {
      this.#cover("dead_lettered_by_its_flow");
      if (isOfAnother) this.#cover("dead_lettered_by_its_flow_under_another_leader");
      if (item.halts) this.#cover("dead_lettered_by_its_flow_and_halts");
    } else if (event.type === "deadLettered" && waits(item)) this.#cover("lapsed_while_it_waited");
    else if (event.type === "cancelled" && event.actor === undefined) this.#cover("cancelled_by_its_flow");
  }

  /** A frame that the model has just taken. */
  wrote({ at, term }: Frame): void {
    const { at: lastAt, term: lastTerm } = this.#last;
    this.#last = { at, term };
    const left = new Set(term === lastTerm ? this.#model.doomed() : []);
    for (const item of this.#leftMs.keys()) if (!left.has(item)) this.#leftMs.delete(item);
    for (const item of left) {
      // What is doomed by this very frame is not waited for yet.
      const known = this.#leftMs.get(item);
      const ms = known === undefined ? 0 : known + Math.min(at - lastAt, STEP_MS_MAX);
      this.#leftMs.set(item, ms);
      if (ms > LEFT_MS_MAX) this.#fail("V1", `item ${item.itemId} is pending at ${at}, it will not run`);
    }
  }
}
