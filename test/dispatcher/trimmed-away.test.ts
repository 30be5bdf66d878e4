/** Nodes whose next message has been trimmed away: a snapshot leads on, or it is waited for as long as nobody can say whether there is one. */
import { expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import type { Log } from "../../contracts/ports.ts";
import { NODE_TIMES } from "../../services/dispatcher/node/node-config.ts";
import { Replica } from "../../services/dispatcher/node/replica.ts";
import { FakeClock } from "../../services/testing/fake-clock.ts";
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

/** A leader whose log has been trimmed, so that whoever starts anew needs a snapshot. */
function trimmedWorld() {
  const world = new NodeWorld({ logKeepEvents: 0, logKeepMs: 0 });
  const snapshots = new MemorySnapshots();
  const leader = world.leading(world.addNode("a", { snapshotEvents: 20, snapshotMs: 1 }, undefined, snapshots));
  for (let count = 0; count < 6; count += 1) {
    world.enqueue(30);
    world.clock.advance(1_000);
  }
  world.clock.until(() => world.stream.firstSequence > 1, 120_000, 50);
  return { world, snapshots, leader };
}

const UNREACHABLE = new OperatingError("jetstream_timeout", "listing the bucket: no answer in time", {
  definite: true,
});

test("a node with nothing of its own waits behind a trimmed log while the snapshots cannot be asked for, and goes on when they can", () => {
  const { world, snapshots, leader } = trimmedWorld();
  snapshots.unreachable = UNREACHABLE;
  const late = world.addNode("b", {}, undefined, snapshots);
  world.clock.advance(300_000);
  const waiting = late.node.status();
  expect([waiting.mode, waiting.halt]).toEqual(["starting", undefined]);
  expect(waiting.alarms).toMatchObject([{ code: "snapshots_unreachable", isServing: false }]);
  expect(waiting.alarms[0]?.message).toContain("no answer in time");
  expect(late.lines.filter(({ event }) => event === "alarm_raised")).toHaveLength(1);
  snapshots.unreachable = undefined;
  world.clock.until(() => late.node.status().mode === "following", 10_000, 50);
  expect(late.node.status()).toMatchObject({ sequence: leader.node.status().sequence, alarms: [] });
});

test("a node that waited for the snapshots halts when they can be asked for and there are none", () => {
  const { world, snapshots } = trimmedWorld();
  snapshots.unreachable = UNREACHABLE;
  const late = world.addNode("b", {}, undefined, snapshots);
  world.clock.advance(60_000);
  snapshots.unreachable = undefined;
  snapshots.published.length = 0;
  world.clock.until(() => late.node.status().mode === "halted", 30_000, 50);
  const { halt, alarms } = late.node.status();
  expect(halt).toMatchObject({ code: "log_gap" });
  expect(alarms.map(({ code }) => code)).not.toContain("snapshots_unreachable");
});

test("a hole inside the log halts also a node that cannot ask for snapshots", () => {
  const world = new NodeWorld();
  world.leading(world.addNode("a"));
  for (let count = 0; count < 5; count += 1) world.enqueue(1);
  world.stream.drop(4);
  const snapshots = new MemorySnapshots();
  snapshots.unreachable = UNREACHABLE;
  const late = world.addNode("b", {}, undefined, snapshots);
  world.clock.until(() => late.node.status().mode === "halted", 30_000, 50);
  expect(late.node.status().halt).toMatchObject({ code: "log_gap" });
});

test("a snapshot that the log could not be asked about is not taken for another log's", () => {
  const { world, snapshots, leader } = trimmedWorld();
  snapshots.unreachable = UNREACHABLE;
  const late = world.addNode("b", {}, undefined, snapshots);
  snapshots.unreachable = undefined;
  snapshots.loading = () => late.log.failNextReads(snapshots.published.length);
  world.clock.advance(60_000);
  expect(late.node.status()).toMatchObject({ mode: "starting", alarms: [{ code: "snapshots_unreachable" }] });
  snapshots.loading = () => undefined;
  world.clock.until(() => late.node.status().mode === "following", 10_000, 50);
  expect(late.node.status().sequence).toBe(leader.node.status().sequence);
});

test("a leader whose log is trimmed calls it incomplete only when the snapshots could be asked for", () => {
  const { world, snapshots, leader } = trimmedWorld();
  const codes = (): readonly string[] => leader.node.status().alarms.map(({ code }) => code);
  snapshots.unreachable = UNREACHABLE;
  world.clock.advance(60_000);
  expect(codes()).not.toContain("log_incomplete");
  snapshots.unreachable = undefined;
  snapshots.published.length = 0;
  world.clock.until(() => codes().includes("log_incomplete"), 60_000, 50);
});

test("a follower whose log could not be asked for long tries a snapshot before it halts", () => {
  const clock = new FakeClock();
  const failed = {
    kind: "failed",
    error: new OperatingError("jetstream_unavailable", "no leader", { definite: true }),
  } as const;
  const info = {
    firstSequence: 50,
    lastSequence: 60,
    messages: 11,
    bytes: 1,
    bytesMax: -1,
    serverTimeMs: 0,
    replicas: 1,
  };
  let isDown = true;
  let loads = 0;
  const halts: string[] = [];
  const message = { streamSequence: 50, subject: "", payload: new Uint8Array(0), chainHeader: "", pending: 0 };
  const log: Pick<Log, "follow" | "read" | "info"> = {
    follow: (_from, handler) => {
      let isOpen = true;
      clock.defer(() => isOpen && handler.message(message));
      return {
        close: () => {
          isOpen = false;
        },
      };
    },
    read: (_sequence, _timeoutMs, callback) => void clock.defer(() => callback(isDown ? failed : { kind: "absent" })),
    info: (_timeoutMs, callback) => void clock.defer(() => callback(isDown ? failed : { kind: "info", info })),
  };
  const replica: Replica = new Replica({
    config: { ...NODE_TIMES, region: "local", shard: "default", peerId: "a", logId: "log-1" },
    ...{ log: log as Log, clock, reporter: { info: () => {}, warn: () => {}, error: () => {} } },
    snapshots: {
      load: (_judge, callback) => {
        loads += 1;
        clock.defer(() => callback(undefined, 0));
      },
      durable: () => {},
    },
    onFrame: () => {},
    onShown: () => {},
    onHalt: ({ code }) => void halts.push(code),
    onTrimmed: () => replica.rebuild(() => {}),
  });
  replica.streamSequence = 10;
  replica.open();
  clock.advance(NODE_TIMES.confirmMs + 1_000);
  isDown = false;
  clock.advance(2_000);
  expect({ loads, halts }).toEqual({ loads: 1, halts: [] });
  clock.advance(NODE_TIMES.confirmMs + 5_000);
  expect(halts).toEqual(["log_gap"]);
});
