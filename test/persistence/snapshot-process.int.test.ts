/** What snapshots promise across processes: one that dies in the middle leaves nothing listed, and memory stays bounded. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { SqliteSnapshotStore } from "../../services/persistence/mod.ts";
import { startProcess } from "../support/process.ts";
import type { Measured } from "./snapshot-process.ts";
import { temporaryFolder } from "./snapshot-subjects.ts";
import { lines, list, MIB, textOf } from "./snapshot-suite.ts";

const SCRIPT = "test/persistence/snapshot-process.ts";

test.each([1, 7, 20])("a process killed after %i MiB of a snapshot leaves nothing of it", async (megabytes) => {
  const closers: (() => Promise<void>)[] = [];
  const folder = temporaryFolder((close) => closers.push(close));
  try {
    const writing = startProcess(SCRIPT, ["hold", folder], (close) => closers.push(close));
    await writing.line(`written ${megabytes} MiB`);
    await writing.signal("SIGKILL");
    const reader = SqliteSnapshotStore.open(folder, { leftovers: "keep" });
    const [info, ...others] = await list(reader);
    expect([info?.label.sequence, others]).toEqual([1, []]);
    await reader.close();
    const store = SqliteSnapshotStore.open(folder);
    closers.push(() => store.close());
    const chunks = store.database.prepare("SELECT count(*) FROM snapshot_chunk").pluck().get();
    expect(chunks).toBe(info?.chunks);
    expect(await list(store)).toEqual([info]);
    if (info !== undefined) expect((await textOf(store, info)) === [...lines(3 * MIB)].join("")).toBe(true);
    expect(store.database.pragma("integrity_check", { simple: true })).toBe("ok");
  } finally {
    for (const close of closers.reverse()) await close();
  }
});

test("memory stays bounded while 200 MB are written through the thread", async ({ onTestFinished }) => {
  const folder = temporaryFolder(onTestFinished);
  const writing = startProcess(SCRIPT, ["measure", folder], onTestFinished);
  const measured: Measured = JSON.parse(await writing.line("grownMiB"));
  expect(measured.textBytes).toBeGreaterThan(195 * MIB);
  // Garbage that is not collected yet, in two heaps; it is the same for 100 MB and for 800.
  expect(measured.grownMiB).toBeLessThan(160);
  expect(existsSync(join(folder, "snapshots.sqlite"))).toBe(true);
});
