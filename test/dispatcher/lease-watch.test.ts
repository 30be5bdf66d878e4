/** Which leases may run out: only those that were due when it was asked whether everything before had been heard. */
import { expect, test } from "vitest";
import { applyFrame } from "../../services/core/apply.ts";
import { createState } from "../../services/core/state.ts";
import { LeaseWatch } from "../../services/dispatcher/node/lease-watch.ts";
import type { OpenFrame } from "../../services/dispatcher/node/open-frame.ts";
import type { Proof } from "../../services/dispatcher/node/proof.ts";
import { RequestQueue } from "../../services/dispatcher/node/request-queue.ts";
import { NodeWorld } from "./node-world.ts";

const TICK_MS = 50;

test("a lease that is due only since it was asked whether all beats had come is not ended by that answer", () => {
  const world = new NodeWorld();
  world.leading(world.addNode("a"));
  world.enqueue(2);
  for (const leaseDurationMs of [1_000, 1_200]) world.ask("lease", { leaseDurationMs });
  const state = createState();
  for (const frame of world.frames()) applyFrame(state, frame);
  const { clock } = world;
  const proof = { reachedMs: Number.NEGATIVE_INFINITY, isFresh: true, renew: () => undefined };
  const watch = new LeaseWatch(state, clock, TICK_MS, proof as unknown as Proof, () => 0);
  const expired: number[] = [];
  const frame = {
    head: { at: state.at },
    bytesLeft: 100_000,
    push: (event: { token: number }) => void expired.push(event.token),
  } as unknown as OpenFrame;
  const step = (): void => {
    clock.advance(TICK_MS);
    watch.tick(false);
    if (watch.mayExpire(new RequestQueue()))
      watch.expireDue(
        () => frame,
        () => [],
      );
  };
  for (let ms = 0; ms < 1_050; ms += TICK_MS) step();
  // The first lease is due; the question that is asked now is answered when the second is due too.
  const askedMs = clock.monotonicMs();
  for (let ms = 0; ms < 200; ms += TICK_MS) step();
  expect(expired).toEqual([]);
  proof.reachedMs = askedMs;
  step();
  expect(expired).toHaveLength(1);
  step();
  expect(expired).toHaveLength(1);
  proof.reachedMs = clock.monotonicMs();
  step();
  expect(expired).toHaveLength(2);
});
