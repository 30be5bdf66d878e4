/** A shard in memory whose every step is judged by its invariants, a fold of the log, and a snapshot that is read back. */
import { expect } from "vitest";
import { assertInvariants, canonicalState } from "../../services/core/canonical.ts";
import { stateHash } from "../../services/core/hash.ts";
import { SnapshotCut } from "../../services/core/snapshot-cut.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import type { ShardState } from "../../services/core/state.ts";
import { type AnyReply, ShardWorld } from "./shard-world.ts";

/** A world whose state is checked, folded anew, and read back from a snapshot, after each step. */
export class CheckedWorld extends ShardWorld {
  /** A state has one cut at a time: off while a test has its own. */
  isChecked = true;

  override frame<Result>(body: Parameters<ShardWorld["frame"]>[0]): Result {
    const result = super.frame(body) as Result;
    // The first frames are written by the constructor, before there is this field.
    if (this.isChecked === false) return result;
    assertInvariants(this.state);
    const lines = [...canonicalState(this.state)];
    for (const copy of [this.fold(), reloaded(this.state)]) {
      assertInvariants(copy);
      expect([...canonicalState(copy)]).toEqual(lines);
      expect(stateHash(copy)).toBe(stateHash(this.state));
    }
    return result;
  }

  codeOf(reply: AnyReply, index = 0): string | undefined {
    return reply.error?.code ?? reply["results"][index]?.error?.code;
  }

  /** Leases the next item and dead-letters it. */
  bury(code = "bad"): string {
    const lease = this.take();
    this.send("fail", { leases: [{ ...lease, reason: "no", code, requeue: false }] });
    return lease.itemId;
  }

  statusOf(itemId: string): string | undefined {
    return this.send("get", { itemIds: [itemId] })["results"][0]?.status;
  }

  /** Ids in the order in which they are granted now. */
  order(): string[] {
    return this.send("lease", { maxItems: 100 })["leases"].map(({ itemId }: { itemId: string }) => itemId);
  }

  holds(itemId: string): { hold: string }[] {
    return this.send("explain", { itemId })["holds"];
  }
}

function reloaded(state: ShardState): ShardState {
  const loader = new SnapshotLoader();
  const cut = new SnapshotCut(state);
  for (let text = cut.next(3); text !== undefined; text = cut.next(3)) loader.add(text);
  return loader.finish();
}
