/** A leader whose frame was on its way while others led, and trimmed the log past the place where it would stand. */
import { expect, test } from "vitest";
import { MemorySnapshots } from "./memory-snapshots.ts";
import { NodeWorld } from "./node-world.ts";

test("a leader that comes back behind a trim is deposed, and follows on from a snapshot", () => {
  const world = new NodeWorld({ logKeepEvents: 0, logKeepMs: 0 });
  const snapshots = new MemorySnapshots();
  const every = { snapshotEvents: 20, snapshotMs: 1 };
  const a = world.leading(world.addNode("a", every, undefined, snapshots));
  const b = world.addNode("b", every, undefined, snapshots);
  world.clock.advance(500);
  const place = world.stream.lastSequence;
  const answers = world.send("enqueue", { items: [{ resourceType: "t", resourceId: "r" }], timeoutMs: 60_000 });
  a.log.disconnect();
  a.gossip.setConnected(false);
  a.rpc.setConnected(false);
  world.leading(b);
  for (let count = 0; count < 6; count += 1) {
    world.enqueue(30);
    world.clock.advance(1_000);
  }
  world.clock.until(() => world.stream.firstSequence > place + 1, 120_000, 50);
  a.log.reconnect();
  a.gossip.setConnected(true);
  a.rpc.setConnected(true);
  world.clock.advance(30_000);
  expect(a.node.status()).toMatchObject({ mode: "following", sequence: b.node.status().sequence, halt: undefined });
  expect(answers.every(({ body }) => body.error?.code !== "unknown_outcome")).toBe(true);
});
