/** When a dispatcher of several shards has begun. */
import { expect, test } from "vitest";
import type { Alarm } from "../../contracts/ports.ts";
import type { NodeStatus } from "../../services/dispatcher/node/node-ports.ts";
import { hasBegun } from "../../services/dispatcher/shard-readiness.ts";

const status = (shard: string, changes: Partial<NodeStatus>): NodeStatus => ({
  ...{ mode: "starting", region: "local", shard, logId: "log-1", term: 1, leader: "", sequence: 1, streamSequence: 1 },
  ...{ chain: "", voids: 0, unackedMs: 0, isCutOff: false, halt: undefined, alarms: [] },
  ...changes,
});
const LED = status("led", { mode: "leading" });
const FOLLOWED = status("followed", { mode: "following", leader: "b" });
const ORPHANED = status("orphaned", { mode: "following", leader: "a" });
const STARTING = status("starting", {});
const HALTED = status("halted", { mode: "halted", halt: { code: "log_gap", message: "2 is missing" } });
const alarm: Alarm = { code: "snapshots_unreachable", message: "cannot be asked", isServing: false };
const WAITING = status("waiting", { alarms: [alarm] });

test.each([
  ["all are led or followed", [LED, FOLLOWED]],
  ["one has halted beside others that are served", [HALTED, LED]],
  ["one waits for somebody else beside others that are served", [WAITING, FOLLOWED]],
] as const)("a dispatcher has begun where %s", (_where, statuses) => {
  expect(hasBegun(statuses, "a", false)).toBe(true);
});

test.each([
  ["one is still being read", [LED, STARTING]],
  ["one has no leader but us, who do not lead", [LED, ORPHANED]],
  ["nothing is served yet", [WAITING, HALTED]],
] as const)("a dispatcher has not begun where %s", (_where, statuses) => {
  expect(hasBegun(statuses, "a", false)).toBe(false);
});

test("where all have halted, the first one's reason is thrown", () => {
  expect(() => hasBegun([HALTED, HALTED], "a", false)).toThrow("shard halted: 2 is missing");
  expect(hasBegun([HALTED, HALTED], "a", true)).toBe(false);
});
