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

test("a server that does not know the newest for as long as appends go unanswered is no lost tail to a leader", () => {
  const world = new NodeWorld();
  const a = world.leading(world.addNode("a"));
  world.enqueue(3);
  const info = a.log.info.bind(a.log);
  a.log.info = (timeoutMs, callback) =>
    info(timeoutMs, (outcome: InfoOutcome) => {
      if (outcome.kind !== "info") return callback(outcome);
      callback({ kind: "info", info: { ...outcome.info, lastSequence: outcome.info.lastSequence - 2 } });
    });
  const append = a.log.append.bind(a.log);
  a.log.append = (_payload, _chain, _expected, timeoutMs, callback) =>
    world.clock.setTimer(timeoutMs, () => callback({ kind: "timeout" }));
  const answers = world.send("enqueue", { items: [{ resourceType: "t", resourceId: "r" }], timeoutMs: 60_000 });
  world.clock.advance(25_000);
  expect(a.node.status()).toMatchObject({ mode: "leading", halt: undefined });
  a.log.info = info;
  a.log.append = append;
  world.clock.until(() => answers.length === 1);
  expect(answers[0]?.body).toMatchObject({ results: [{ duplicate: false }] });
});
