/** Beats that come late: what a process said before it ended must not turn its successor of the same name away. */
import { expect, test } from "vitest";
import { type NodeUnit, NodeWorld } from "./node-world.ts";

/** A beat as the former process of a peer sent it. */
function lateBeat(world: NodeWorld, term: number): void {
  const beat = { logId: "log-1", term, leader: "a", sequence: 2, streamSequence: 2, incarnation: "before" };
  world.wire.deliver({
    subject: "omnirelay.ready.local.default",
    reply: "",
    payload: Buffer.from(JSON.stringify({ ...beat, state: "leading" })),
    trace: "",
  });
}

/** The peer led and was killed; it is back, and follows the log. */
function restarted(world: NodeWorld): NodeUnit {
  const first = world.leading(world.addNode("a"));
  world.kill(first);
  const again = world.addNode("a", {}, first.store);
  world.clock.until(() => again.node.status().mode === "following");
  return again;
}

test("a beat of its former life that comes late does not halt a dispatcher that is back", () => {
  const world = new NodeWorld();
  const again = restarted(world);
  lateBeat(world, 1);
  world.clock.until(() => again.node.status().mode === "leading");
  expect(again.node.status()).toMatchObject({ mode: "leading", term: 2 });
});

test("nor does one that comes while it leads again, or after another has taken over", () => {
  const world = new NodeWorld();
  const again = world.leading(restarted(world));
  lateBeat(world, 1);
  again.log.disconnect();
  again.gossip.setConnected(false);
  const other = world.leading(world.addNode("b"));
  again.log.reconnect();
  again.gossip.setConnected(true);
  world.clock.until(() => again.node.status().mode === "following", 10_000);
  lateBeat(world, 1);
  world.clock.advance(1_000);
  expect(again.node.status()).toMatchObject({ mode: "following", term: 3 });
  expect(other.node.status()).toMatchObject({ mode: "leading" });
});
