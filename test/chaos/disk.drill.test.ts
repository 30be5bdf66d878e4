/** One short round of each drill of disks, on real file systems and real servers. Each skips, with the reason, where the machine lacks a right. */
import { beforeEach, expect, test } from "vitest";
import { failDisks } from "../../chaos/disk/disk-drill.ts";
import { DISK_FULL, SYNC_FAILS } from "../../chaos/disk/disk-failure.ts";
import { missingRight, type Right, skippedReport } from "../../chaos/disk/rights.ts";
import { cutServers } from "../../chaos/disk/server-power-cut.ts";
import type { DrillRequest } from "../../chaos/drill.ts";
import { flipBits } from "../../chaos/drills/bit-flip.ts";
import { cutPower } from "../../chaos/drills/power-cut.ts";
import { skipWithoutNats } from "../support/nats.ts";

const DRILL_MS = 120_000;
const WEDGED = /^log_wedged: .*a server whose disk failed takes appends again only after a restart$/;

beforeEach(skipWithoutNats);

function round(): DrillRequest {
  return { repeats: 1, seed: 7, report: (line) => console.log(line) };
}

async function skipWithout(context: { readonly skip: (reason: string) => unknown }, ...rights: readonly Right[]) {
  const reason = await missingRight(...rights);
  if (reason !== undefined) context.skip(reason);
}

test(
  "a cut of the power loses nothing that was acknowledged with sync_interval always, and loses with the server's default",
  async (context) => {
    await skipWithout(context, "volume");
    const report = await cutPower(round(), [
      { replicas: 1, syncInterval: "always" },
      { replicas: 1, syncInterval: "2m" },
    ]);
    expect(report).toMatchObject({ lost: 0, doubled: 0, problems: [] });
    const [kept, control] = report.runs;
    expect(kept).toMatchObject({
      lost: 0,
      refusal: "",
      sqlite: { "dispatcher.sqlite": "ok", "snapshots.sqlite": "ok" },
    });
    expect(kept?.acknowledged).toBeGreaterThan(100);
    expect(control?.lost).toBeGreaterThan(0);
    // The dispatcher's folder outlived the log: it must not take another one for it.
    expect(control?.refusal).toContain("shard default");
  },
  DRILL_MS,
);

test(
  "a server of three that leads the stream and loses its power is done without, comes back with what its disk held, and all copies are equal",
  async (context) => {
    await skipWithout(context, "volume");
    const report = await cutServers(round(), [
      { syncInterval: "always", role: "leader" },
      { syncInterval: "2m", role: "leader" },
    ]);
    expect(report).toMatchObject({ lost: 0, doubled: 0, problems: [] });
    const [kept, observed] = report.runs;
    expect(kept).toMatchObject({ lost: 0, doubled: 0, findings: [] });
    expect(kept?.keptBytes).toBeGreaterThan(0);
    expect(kept?.acknowledgedMeanwhile).toBeGreaterThan(100);
    // What the default loses is told, not promised; that the disk has lost something shows that the cut was one.
    expect(observed?.keptBytes).toBeLessThan(observed?.writtenBytes ?? 0);
  },
  DRILL_MS,
);

test(
  "a bit that was turned over in one replica is found and named, the shard is served on, and what the advice says mends it",
  async () => {
    const report = await flipBits(round(), { waitsForAuditor: false });
    expect(report).toMatchObject({ lost: 0, doubled: 0, problems: [] });
    const [run] = report.runs;
    expect(run?.advice).toMatch(
      /^omnirelay: replica_differs: the copy of LEASE_LOG_local_default on n[123] lacks 1 message/,
    );
    expect(run?.advice).toContain(`stop ${run?.server}, delete the folder streams/LEASE_LOG_local_default`);
  },
  DRILL_MS,
);

test(
  "a server whose disk is full is told with what to do, its requests are refused as retryable, and a restart with room brings all back",
  async (context) => {
    await skipWithout(context, "volume");
    const report = await failDisks(round(), [{ failure: DISK_FULL, owner: "server", replicas: 1 }]);
    expect(report).toMatchObject({ lost: 0, doubled: 0, problems: [] });
    expect(report.runs).toMatchObject([{ alarm: expect.stringMatching(WEDGED), evidence: { freeBytes: 0 } }]);
    expect(["unavailable", "unknown_outcome"]).toContain(report.runs[0]?.refusal);
  },
  DRILL_MS,
);

test(
  "a dispatcher whose disk is full serves on and tells it, recovers by itself, and started there says so or serves",
  async (context) => {
    await skipWithout(context, "volume");
    const report = await failDisks(round(), [{ failure: DISK_FULL, owner: "dispatcher", replicas: 1 }]);
    expect(report).toMatchObject({ lost: 0, doubled: 0, problems: [] });
    expect(report.runs).toMatchObject([{ refusal: "", recoveredByItself: true, evidence: { freeBytes: 0 } }]);
    expect(report.runs[0]?.alarm).toContain("free space on its volume");
    expect(report.runs[0]?.startRefusal).toMatch(/^$|no space left on device/);
  },
  DRILL_MS,
);

test(
  "a server whose fsync fails acknowledges nothing more, the wedge is told with what to do, and nothing acknowledged is lost",
  async (context) => {
    await skipWithout(context, "trace");
    const report = await failDisks(round(), [{ failure: SYNC_FAILS, owner: "server", replicas: 1 }]);
    expect(report).toMatchObject({ lost: 0, doubled: 0, problems: [] });
    const [run] = report.runs;
    expect(run).toMatchObject({ alarm: expect.stringMatching(WEDGED), recoveredByItself: false });
    expect(run?.evidence["failedCalls"]).toBeGreaterThan(0);
  },
  DRILL_MS,
);

test("a drill that did not run has a problem and its reason, so that nobody takes it for passed", () => {
  expect(skippedReport("mounting a volume needs root")).toMatchObject({
    skipped: "mounting a volume needs root",
    problems: ["SKIPPED: mounting a volume needs root"],
  });
});
