/** Watermarks: from when on a shard refuses items, until when, and that nothing else changes that. */
import { describe, expect, test } from "vitest";
import type { ShardOptionsPatch } from "../../contracts/options.ts";
import { assertInvariants, canonicalState } from "../../services/core/canonical.ts";
import { DumpLines } from "../../services/core/dump-lines.ts";
import { dumpText } from "../../services/core/dump-text.ts";
import { stateHash } from "../../services/core/hash.ts";
import { SnapshotCut } from "../../services/core/snapshot-cut.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import type { ShardState } from "../../services/core/state.ts";
import { ShardWorld } from "./shard-world.ts";

/** A world whose state is checked, folded anew, and read back from a snapshot, after each step. */
class PressedWorld extends ShardWorld {
  isChecked = true;

  constructor(options: ShardOptionsPatch) {
    super({ options: options as object });
  }

  override frame<Result>(body: Parameters<ShardWorld["frame"]>[0]): Result {
    const result = super.frame(body) as Result;
    if (this.isChecked !== true) return result;
    assertInvariants(this.state);
    const lines = [...canonicalState(this.state)];
    for (const copy of [this.fold(), reloaded(this.state)]) {
      assertInvariants(copy);
      expect([...canonicalState(copy)]).toEqual(lines);
      expect(stateHash(copy)).toBe(stateHash(this.state));
    }
    return result;
  }

  /** Enqueues one item; the code of its refusal. */
  enqueue(body = ""): string | undefined {
    const [result] = this.send("enqueue", { items: [{ resourceType: "t", resourceId: "r", body }] })["results"];
    return result.error?.code;
  }

  /** Takes so many items out of what is pending. */
  drain(count: number): void {
    this.send("complete", { leases: this.send("lease", { maxItems: count })["leases"].map(refOf) });
  }
}

const refOf = ({ itemId, token }: { itemId: string; token: number }) => ({ itemId, token });

function reloaded(state: ShardState): ShardState {
  const loader = new SnapshotLoader();
  const cut = new SnapshotCut(state);
  for (let text = cut.next(3); text !== undefined; text = cut.next(3)) loader.add(text);
  return loader.finish();
}

describe("hysteresis and cooldown", () => {
  test("items are refused from the high watermark on, until the low one, once the cooldown is over", () => {
    const world = new PressedWorld({ pendingHigh: 4, pendingLow: 2, backpressureCooldownMs: 500 });
    const since = world.at;
    for (let index = 0; index < 4; index += 1) expect(world.enqueue()).toBeUndefined();
    expect(world.enqueue()).toBe("backpressure");
    world.at = since + 1_000;
    world.drain(1);
    expect([world.state.pending, world.enqueue()]).toEqual([3, "backpressure"]);
    world.drain(1);
    expect([world.state.pending, world.enqueue()]).toEqual([2, undefined]);
    expect(world.enqueue()).toBeUndefined();
    expect([world.state.pending, world.enqueue()]).toEqual([4, "backpressure"]);
  });

  test("low in time it still waits for the cooldown, and then needs no event to let go", () => {
    const world = new PressedWorld({ pendingHigh: 2, pendingLow: 1, backpressureCooldownMs: 5_000 });
    const since = world.at;
    for (let index = 0; index < 2; index += 1) world.enqueue();
    world.drain(2);
    world.at = since + 4_999;
    const refused = world.send("enqueue", { items: [{ resourceType: "t", resourceId: "r" }] })["results"][0].error;
    expect(refused).toMatchObject({ code: "backpressure", retryAfterMs: 1_000 });
    const { sequence } = world.state;
    world.at = since + 5_000;
    expect(world.enqueue()).toBeUndefined();
    expect(world.state).toMatchObject({ sequence: sequence + 1, pressedAt: undefined });
  });

  test("a refusal says when the cooldown is over", () => {
    const world = new PressedWorld({ pendingHigh: 1, backpressureCooldownMs: 60_000 });
    world.enqueue();
    world.at += 10_000;
    const refused = world.send("enqueue", { items: [{ resourceType: "t", resourceId: "r" }] })["results"][0].error;
    expect(refused).toMatchObject({ retryAfterMs: 50_000, details: { pending: 1, pendingHigh: 1 } });
  });

  test("bodies press like items, and both must be low", () => {
    const low = { pendingHigh: 3, pendingLow: 1, bodyBytesHigh: 100, bodyBytesLow: 50 };
    const world = new PressedWorld({ ...low, backpressureCooldownMs: 0 });
    world.enqueue("x".repeat(60));
    expect(world.enqueue("x".repeat(60))).toBeUndefined();
    expect([world.state.bodyBytes, world.enqueue()]).toEqual([124, "backpressure"]);
    const lease = world.take();
    // One is pending, and the bytes of both count.
    expect(world.enqueue()).toBe("backpressure");
    world.send("complete", { leases: [lease] });
    expect([world.state.bodyBytes, world.enqueue()]).toEqual([62, "backpressure"]);
    world.drain(1);
    expect(world.enqueue()).toBeUndefined();
  });

  test("low watermarks that are not named follow the high ones", () => {
    const world = new PressedWorld({ pendingHigh: 10, backpressureCooldownMs: 0 });
    for (let index = 0; index < 10; index += 1) world.enqueue();
    world.drain(1);
    expect([world.state.pending, world.enqueue()]).toEqual([9, "backpressure"]);
    world.drain(1);
    expect([world.state.pending, world.enqueue()]).toEqual([8, undefined]);
  });
});

describe("options", () => {
  test("a watermark that is 0 never refuses, and lets go of what it had pressed", () => {
    const world = new PressedWorld({ pendingHigh: 1, bodyBytesHigh: 0, backpressureCooldownMs: 0 });
    world.enqueue("x".repeat(1_000));
    expect(world.enqueue()).toBe("backpressure");
    world.send("configure", { options: { pendingHigh: 0 } });
    for (let index = 0; index < 50; index += 1) expect(world.enqueue("x".repeat(1_000))).toBeUndefined();
    expect(world.state.pressedAt).toBeUndefined();
    world.send("configure", { options: { pendingHigh: 20 } });
    expect(world.enqueue()).toBe("backpressure");
  });

  test.each([
    [{ pendingHigh: 10, pendingLow: 10 }, "pendingHigh (10) must be above pendingLow (10)"],
    [{ bodyBytesHigh: 10, bodyBytesLow: 11 }, "bodyBytesHigh (10) must be above bodyBytesLow (11)"],
  ])("refuses a high watermark that is not above its low one: %j", (options, message) => {
    const { error } = new PressedWorld({}).send("configure", { options });
    expect(error).toMatchObject({ code: "invalid_argument", message: `options: ${message}` });
  });

  test("a high watermark that is 0 needs no lower one", () => {
    const reply = new PressedWorld({}).send("configure", { options: { pendingHigh: 0, pendingLow: 5 } });
    expect(reply["options"]).toMatchObject({ pendingHigh: 0, pendingLow: 5 });
  });
});

describe("state version 1", () => {
  test("knows one watermark and no time, and is pressed from its raise on", () => {
    const world = new PressedWorld({ pendingHigh: 2, backpressureCooldownMs: 60_000 });
    world.isChecked = false;
    world.state.logVersion = 1;
    for (let index = 0; index < 2; index += 1) world.enqueue();
    expect(world.enqueue()).toBe("backpressure");
    world.drain(1);
    expect(world.enqueue()).toBeUndefined();
    expect(world.state.pressedAt).toBeUndefined();
    for (const options of [{ pendingLow: 1 }, { backpressureCooldownMs: 5 }, { pendingHigh: 0 }, { bodyBytesHigh: 0 }])
      expect(world.send("configure", { options }).error?.code).toBe("unsupported_version");
    world.send("configure", { logVersion: 2 });
    expect(world.state.pressedAt).toBe(world.at);
  });
});

test("a dump of a shard that is pressed reads as the state itself", () => {
  const world = new PressedWorld({ pendingHigh: 1 });
  world.enqueue();
  const dump = new DumpLines();
  const lines = [...dumpText(world.state)].flatMap((text) => [...dump.add(text)]);
  dump.finish();
  expect(lines).toEqual([...canonicalState(world.state)]);
  expect(lines[0]).toContain(`"pressedAt":${world.at}`);
});
