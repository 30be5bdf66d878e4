/** A server that does not know the newest of a stream answers now and then, as one does that has lost its leadership: no reason to halt. */
import { expect, test } from "vitest";
import type { InfoOutcome } from "../../contracts/ports.ts";
import { NodeWorld } from "./node-world.ts";

test.each([
  ["the stream has gone on between them", 3],
  ["nothing has been written between them", 0],
])("two stale answers that lie far apart are no lost tail when %s", (_when, count) => {
  const world = new NodeWorld();
  world.leading(world.addNode("a"));
  const b = world.addNode("b");
  world.clock.until(() => b.node.status().mode === "following");
  const info = b.log.info.bind(b.log);
  let isStale = false;
  b.log.info = (timeoutMs, callback) =>
    info(timeoutMs, (outcome: InfoOutcome) => {
      if (!isStale || outcome.kind !== "info") return callback(outcome);
      isStale = false;
      callback({ kind: "info", info: { ...outcome.info, lastSequence: outcome.info.lastSequence - 2 } });
    });
  for (let round = 0; round < 3; round += 1) {
    isStale = true;
    world.clock.until(() => !isStale, 11_000);
    if (count > 0) world.enqueue(count);
    world.clock.advance(500);
  }
  expect(b.node.status()).toMatchObject({ mode: "following", halt: undefined });
});
