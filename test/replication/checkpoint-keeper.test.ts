/** The keeper of a checkpoint, with writes that take their time. */
import { expect, test } from "vitest";
import type { Kv } from "../../contracts/ports.ts";
import { checkpointKey } from "../../contracts/subjects.ts";
import { CheckpointKeeper } from "../../services/replication/checkpoint-keeper.ts";
import { createClock } from "../../services/runtime/clock.ts";
import { MemoryKv } from "../../services/testing/memory-kv.ts";

const nothing = (): void => undefined;
const place = { logId: "log1", streamSequence: 0, sequence: 0, chain: "", term: 0, at: 0 };

test("a wish that is fulfilled while the entry is being written does not come back", async () => {
  const clock = createClock();
  const memory = new MemoryKv(clock);
  let held: (() => void) | undefined;
  let isHolding = false;
  let onHeld = (): void => undefined;
  const kv: Kv = {
    get: (key, callback) => memory.get(key, callback),
    put: (key, value, revision, callback) => {
      if (!isHolding) return memory.put(key, value, revision, callback);
      isHolding = false;
      held = () => memory.put(key, value, revision, callback);
      onHeld();
    },
  };
  const address = { sink: "s", region: "local", shard: "default" };
  const pace = { beatMs: 60_000, silentMs: 60_000, lookMs: 5 };
  const seek = { id: "one", to: place };
  const entry = { ...place, seek, resume: "again" };
  const key = checkpointKey("s", "local", "default");
  await new Promise((done) => memory.put(key, new TextEncoder().encode(JSON.stringify(entry)), 0, done));
  const keeper = new CheckpointKeeper({
    ...address,
    instance: "p/1",
    kv,
    clock,
    pace,
    onUnwritten: nothing,
    onStandby: nothing,
  });
  await keeper.acquire(async () => place, new AbortController().signal);
  const writing = new Promise<void>((resolve) => {
    onHeld = resolve;
  });
  isHolding = true;
  keeper.tell({ state: "running" });
  await writing;
  const fulfilled = Promise.all([keeper.sought(place), keeper.resumed()]);
  held?.();
  await fulfilled;
  expect(keeper.wishes.seek).toBeUndefined();
  expect(keeper.wishes.resume).toBeUndefined();
  await keeper.release("standby");
});
