/** The rules of drains, written again: which items one holds, and how it ends. */
import type { EventOf } from "../../contracts/events.ts";
import { isUnfinished, type NaiveItem } from "./naive-item.ts";

interface NaiveDrain {
  readonly drainId: string;
  readonly sequence: number;
  readonly leases: "wait" | "expire";
}
type Moment = { readonly sequence: number; readonly items: readonly NaiveItem[] };

export class NaiveDrains {
  on: NaiveDrain | undefined;
  /** How drains ended, and where. */
  readonly ended: (NaiveDrain & { readonly outcome: "restored" | "discarded"; readonly endedAt: number })[] = [];
  #isDiscarding = false;
  readonly #must: (isRight: boolean, message: string) => void;

  constructor(must: (isRight: boolean, message: string) => void) {
    this.#must = must;
  }

  /** Whether the drain that is on holds an item: it has been pending or leased without a break since. */
  marks({ sequence, history, status }: NaiveItem): boolean {
    const since = this.on?.sequence ?? 0;
    return sequence <= since && isUnfinished(status) && !history.some((each) => isBreak(each, since, history));
  }

  begin({ drainId, leases }: EventOf<"drained">, { sequence }: Moment): void {
    this.#must(this.on === undefined, `drain ${drainId} begins while ${this.on?.drainId} is on`);
    const before = this.ended.slice(-100).find((each) => each.drainId === drainId);
    this.#must(before === undefined, `drain ${drainId} begins again, it was ${before?.outcome}`);
    this.on = { drainId, sequence, leases };
    this.#isDiscarding = false;
  }

  restored({ drainId }: EventOf<"restored">, { sequence }: Moment): void {
    this.#must(this.on?.drainId === drainId, `drain ${drainId} is restored, ${this.on?.drainId} is on`);
    this.#must(!this.#isDiscarding, `drain ${drainId} is restored although it is partly discarded`);
    this.#end("restored", sequence);
  }

  /** Behind the ends of its items. */
  discarded({ drainId }: EventOf<"discarded">, { sequence, items }: Moment): void {
    this.#must(this.on?.drainId === drainId, `drain ${drainId} is discarded, ${this.on?.drainId} is on`);
    this.#isDiscarding = true;
    if (!items.some((item) => this.marks(item))) this.#end("discarded", sequence);
  }

  #end(outcome: "restored" | "discarded", endedAt: number): void {
    if (this.on !== undefined) this.ended.push({ ...this.on, outcome, endedAt });
    this.on = undefined;
  }
}

type History = NaiveItem["history"];

/** Whether an item was no longer pending or leased, at a sequence or after it. */
function isBreak(change: History[number], since: number, history: History): boolean {
  if (isUnfinished(change.status)) return false;
  const next = history[history.indexOf(change) + 1];
  return next === undefined || next.sequence > since;
}
