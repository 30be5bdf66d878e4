/** A small frame waits for callers that are about to come back, and for nobody else. */
import { beforeEach, describe, expect, test } from "vitest";
import { type NodeUnit, NodeWorld } from "./node-world.ts";

const items = (count: number) => ({
  items: Array.from({ length: count }, (_, index) => ({ resourceType: "table", resourceId: `t-${index}` })),
});

describe("behind a frame that answered ten callers", () => {
  let world: NodeWorld;
  let unit: NodeUnit;
  let before: number;
  const frames = (): number => world.stream.lastSequence - before;
  const counts = (): number[] =>
    world
      .frames()
      .slice(world.frames().length - frames())
      .map(({ count }) => count);
  /** So many callers ask at one instant, each for one item. */
  const ask = (callers: number) => Array.from({ length: callers }, () => world.send("enqueue", items(1)));
  /** A frame that answers so many callers, and nothing behind it. `ackMs`: how long it takes. */
  const answered = (callers: number, ackMs = 5): void => {
    unit.log.failNextAppend({ kind: "delay", delayMs: ackMs });
    const answers = ask(callers);
    world.clock.until(() => answers.every((each) => each.length === 1), 100, 0.1);
    before = world.stream.lastSequence;
  };

  beforeEach(() => {
    world = new NodeWorld();
    unit = world.leading(world.addNode("a"));
    world.clock.advance(20);
    answered(10);
  });

  test("one request alone waits two milliseconds for others, no longer", () => {
    ask(1);
    world.clock.advance(1.5);
    expect(frames()).toBe(0);
    world.clock.advance(1);
    expect(counts()).toEqual([1]);
  });

  test("the frame is sent as soon as as many have asked as were answered", () => {
    ask(1);
    world.clock.advance(0.5);
    ask(8);
    world.clock.advance(0.5);
    expect(frames()).toBe(0);
    ask(1);
    world.clock.advance(0.1);
    expect(counts()).toEqual([10]);
  });

  test("callers that come later than that find nobody waiting", () => {
    world.clock.advance(3);
    ask(1);
    world.clock.advance(0.1);
    expect(counts()).toEqual([1]);
  });

  test("a frame with many events does not wait", () => {
    world.send("enqueue", items(64));
    world.clock.advance(0.1);
    expect(counts()).toEqual([64]);
  });

  test("a read that needs a frame does not wait, nor what is decided already", () => {
    ask(1);
    world.clock.advance(0.1);
    expect(frames()).toBe(0);
    world.send("stats", { consistent: true });
    world.clock.advance(0.1);
    expect(counts()).toEqual([1]);
  });

  test("a leader that lets go of its shard does not wait", () => {
    ask(1);
    unit.node.stop(() => {});
    world.clock.advance(0.1);
    expect(world.frames().at(-1)?.events.at(-1)?.type).toBe("termReleased");
  });

  test("nobody waits for longer than a frame takes, nor at all where it takes no time", () => {
    world.clock.advance(3);
    answered(10, 1);
    ask(1);
    world.clock.advance(0.8);
    expect(frames()).toBe(0);
    world.clock.advance(0.4);
    expect(frames()).toBe(1);
    answered(10, 0.2);
    ask(1);
    world.clock.advance(0.1);
    expect(counts()).toEqual([1]);
  });

  test("readers are no callers to wait for", () => {
    world.clock.advance(3);
    unit.log.failNextAppend({ kind: "delay", delayMs: 5 }, { kind: "delay", delayMs: 5 });
    const writes = ask(1);
    world.clock.advance(1);
    writes.push(...ask(1));
    const reads = Array.from({ length: 20 }, () => world.send("stats", {}));
    world.clock.until(() => [...writes, ...reads].every((each) => each.length === 1), 100, 0.1);
    before = world.stream.lastSequence;
    ask(1);
    world.clock.advance(0.1);
    expect(counts()).toEqual([1]);
  });

  test("a few callers in turn are never waited for", () => {
    world.clock.advance(3);
    answered(3);
    ask(1);
    world.clock.advance(0.1);
    expect(counts()).toEqual([1]);
  });

  test("callers who ask again at once end up in one frame, however they began", () => {
    world.clock.advance(3);
    const callers = 12;
    let asked: { readonly answer: readonly unknown[]; readonly againMs: number }[] = [];
    const askAt = (againMs: number): void => {
      unit.log.failNextAppend({ kind: "delay", delayMs: 1 });
      asked.push({ answer: world.send("enqueue", items(1)), againMs });
    };
    for (let caller = 0; caller < callers; caller += 1) {
      askAt(0.1 * (caller % 5));
      world.clock.advance(0.3);
    }
    while (frames() < 100) {
      world.clock.advance(0.1);
      const answered = asked.filter(({ answer }) => answer.length > 0);
      asked = asked.filter(({ answer }) => answer.length === 0);
      for (const { againMs } of answered) world.clock.setTimer(againMs, () => askAt(againMs));
    }
    expect(counts().slice(-20)).toEqual(Array.from({ length: 20 }, () => callers));
  });
});
