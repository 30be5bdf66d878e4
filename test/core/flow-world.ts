/** A checked world with what tests of flows do again and again. */
import type { RequestInput } from "../../contracts/commands.ts";
import { endDoomed } from "../../services/core/doomed.ts";
import { CheckedWorld } from "./checked-world.ts";

type Entry = RequestInput<"enqueue">["items"][number];

export class FlowWorld extends CheckedWorld {
  enqueue(...items: readonly Partial<Entry>[]): string[] {
    const named = items.map((item, index) => ({ resourceType: "step", resourceId: `s-${index}`, ...item }));
    return this.send("enqueue", { items: named })["results"].map(({ itemId }: { itemId: string }) => itemId);
  }
  /** Leases the next item and completes it; answers its id. */
  finish(result?: string): string {
    const lease = this.take();
    this.send("complete", { leases: [{ ...lease, ...(result === undefined ? undefined : { result }) }] });
    return lease.itemId;
  }
  /** What the leader does in its turn. */
  turn(bytes = 100_000): void {
    this.frame((sink) => endDoomed(this.state, this.at, bytes, sink));
  }
  record(itemId: string): Readonly<Record<string, unknown>> {
    return this.send("get", { itemIds: [itemId] })["results"][0];
  }
  kinds(): string[] {
    return this.lastEvents().map(({ type }) => type);
  }
}
