/** A log of state version 1: takes nothing that its readers do not know, until `configure` raises it. */
import { describe, expect, test } from "vitest";
import type { RequestInput } from "../../contracts/commands.ts";
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import { foldFrames, ShardWorld } from "./shard-world.ts";

const item = { resourceType: "table", resourceId: "r" };

/** As if an older release had created the log. */
function oldWorld(): ShardWorld {
  const world = new ShardWorld();
  const frames = world.frames.map((frame) => ({
    ...frame,
    events: frame.events.map((event) => (event.type === "logCreated" ? { ...event, logVersion: 1 } : event)),
  }));
  return Object.assign(world, { frames, state: foldFrames(frames) });
}

const tooOld = { code: "unsupported_version", retryable: false, definite: true, details: { logVersion: 1, wanted: 2 } };

describe("a log of state version 1", () => {
  test.each([
    { priority: 0 },
    { delayMs: 0 },
    { notBefore: 0 },
    { dependsOn: [{ itemId: "3" }] },
    { notAfter: 2_000 },
    { leaseDurationMs: 1_000 },
    { retry: { kind: "none" as const } },
  ])("takes no item with %j", (terms) => {
    const world = oldWorld();
    const reply = world.send("enqueue", { items: [{ ...item, ...terms }, item] });
    expect(reply["results"]).toMatchObject([{ error: tooOld }, { duplicate: false }]);
    expect(world.lastEvents()).toMatchObject([{ type: "enqueued", item }]);
  });

  test("takes no failure with a delay or without penalty, but a plain one", () => {
    const world = oldWorld();
    world.seed(1);
    const lease = { ...world.take(), reason: "no" };
    const fail = (more: object) => world.send("fail", { leases: [{ ...lease, ...more }] })["results"];
    expect(fail({ delayMs: 1 })).toMatchObject([{ error: tooOld }]);
    expect(fail({ penalty: false })).toMatchObject([{ error: tooOld }]);
    expect(fail({ penalty: true })).toEqual([{ outcome: "requeued", duplicate: false }]);
  });

  test.each([{ ageingMs: 1 }, { retry: "fixed" as const }, { retryFirstMs: 2 }, { retryMaxMs: 200_000 }])(
    "takes no option %j",
    (options) => {
      const world = oldWorld();
      expect(world.send("configure", { options }).error).toMatchObject(tooOld);
      // What is said and does not change is no matter of versions.
      expect(
        world.send("configure", { options: { ageingMs: 0, retry: "none", maxAttempts: 2 } }).error,
      ).toBeUndefined();
      expect(world.lastEvents()).toMatchObject([{ options: { maxAttempts: 2 } }]);
    },
  );

  test("is raised by configure, together with what needs it", () => {
    const world = oldWorld();
    world.send("configure", { logVersion: 2, options: { ageingMs: 5 } });
    expect(world.lastEvents()).toEqual([{ type: "configured", actor: 0, options: { ageingMs: 5 }, logVersion: 2 }]);
    expect([world.state.logVersion, world.fold().logVersion]).toEqual([2, 2]);
    world.seed(1, { priority: 9, delayMs: 10 });
    expect(world.state.pending).toBe(1);
  });

  test("is not raised past a follower that does not read it", () => {
    const world = oldWorld();
    const follower = { kind: "sink", logVersionMax: 1 } as const;
    world.send("configure", { followers: { lake: follower, audit: { kind: "mirror" } } });
    const raise = (followers: RequestInput<"configure">["followers"] = {}) =>
      world.send("configure", { logVersion: 2, followers });
    expect(raise().error).toMatchObject({
      code: "invalid_argument",
      message: "options: these followers do not read state version 2: lake; upgrade or remove them first",
    });
    expect(raise({ audit: null }).error?.code).toBe("invalid_argument");
    expect(raise({ lake: { ...follower, logVersionMax: 2 } }).error).toBeUndefined();
    expect(world.state.logVersion).toBe(2);
  });
});

describe("a log of the newest state version", () => {
  test("is never lowered, and never raised to one that this release does not know", () => {
    const world = new ShardWorld();
    const { length } = world.frames;
    const messageOf = (logVersion: number) => world.send("configure", { logVersion }).error?.message;
    expect(messageOf(1)).toBe(`options: the log has state version ${LOG_VERSION_MAX}; it is never lowered`);
    expect(messageOf(LOG_VERSION_MAX + 1)).toBe(
      `options: this release knows state versions up to ${LOG_VERSION_MAX}, not ${LOG_VERSION_MAX + 1}`,
    );
    expect(messageOf(LOG_VERSION_MAX)).toBeUndefined();
    expect(world.frames).toHaveLength(length);
  });
});
