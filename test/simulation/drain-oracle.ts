/** Watches what a log says of drains, so that a run of many seeds is known to have met what is rare. */
import type { NaiveModel } from "../../chaos/checker/naive-model.ts";
import type { LogEvent } from "../../contracts/events.ts";

export class DrainOracle {
  readonly #model: NaiveModel;
  readonly #cover: (point: string) => void;
  /** Term of the leader under which the drain that is on, or was last, began. */
  #term = 0;

  constructor(model: NaiveModel, cover: (point: string) => void) {
    this.#model = model;
    this.#cover = cover;
  }

  /** An event that the model has just taken. */
  happened(event: LogEvent): void {
    const { drains, term } = this.#model;
    if (event.type === "drained") this.#term = term;
    else if (event.type === "released" && event.reason === "drained") this.#cover("drained_leases");
    else if (event.type === "redriven" && drains.on !== undefined) this.#cover("redriven_while_draining");
    else if ((event.type === "restored" && event.entry === undefined) || event.type === "discarded") {
      if (drains.on === undefined) this.#cover(`drain_${event.type}`);
      if (this.#term < term) this.#cover("drain_under_another_leader");
    }
  }
}
