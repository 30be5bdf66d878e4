/** A subscription that passes over the newest message, as one on a damaged server does: nothing behind it shows the hole. */
import { expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { type NodeUnit, NodeWorld } from "./node-world.ts";

/** Opens the node's subscription anew; it brings nothing until the answer is called, and nothing of what came till then at all. */
function deafen({ log }: NodeUnit): () => void {
  const follow = log.follow.bind(log);
  let isDeaf = true;
  log.follow = (from, handler) =>
    follow(from, { ...handler, message: (message) => (isDeaf ? undefined : handler.message(message)) });
  log.failFollowers(new OperatingError("follower_gone", "the consumer was deleted", { definite: true }));
  return () => {
    isDeaf = false;
  };
}

test("a standby that was not given the last message of a dead leader reads it, and leads", () => {
  const world = new NodeWorld();
  const first = world.leading(world.addNode("a"));
  const second = world.addNode("b");
  world.clock.until(() => second.node.status().mode === "following");
  const hear = deafen(second);
  world.clock.advance(200);
  world.enqueue(1);
  world.kill(first);
  world.clock.advance(100);
  hear();
  world.leading(second);
  expect(second.node.status()).toMatchObject({ mode: "leading", term: 2 });
});

test("so does one that has just started", () => {
  const world = new NodeWorld();
  world.kill(world.leading(world.addNode("a")));
  const again = world.addNode("a");
  const hear = deafen(again);
  world.clock.advance(500);
  expect(again.node.status().mode).toBe("starting");
  hear();
  world.leading(again);
});
