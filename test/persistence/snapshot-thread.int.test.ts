/** Snapshots through a worker thread: the suite, its bounds, and how its failures are told. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { describe, expect, test } from "vitest";
import { copySnapshot, SnapshotThread, SqliteSnapshotStore } from "../../services/persistence/mod.ts";
import { sqliteSubject, temporaryFolder } from "./snapshot-subjects.ts";
import { codeOf, label, lines, list, MIB, piecesOf, put, snapshotSuite, textOf, writeAll } from "./snapshot-suite.ts";

describe("SnapshotThread", () => {
  snapshotSuite((cleanup) => sqliteSubject(cleanup, (folder) => SnapshotThread.open(folder)));

  test("asks to wait when the worker is behind, and goes on when it is not", async ({ onTestFinished }) => {
    const { store } = await sqliteSubject(onTestFinished, (folder) => SnapshotThread.open(folder));
    const writer = store.begin();
    const text = [...lines(MIB)].join("");
    let waits = 0;
    let unawaited = 0;
    for (let index = 0; index < 40; index += 1) {
      const room = writer.write(text);
      if (room === undefined) unawaited += 1;
      else {
        waits += 1;
        await room;
      }
    }
    expect(waits).toBeGreaterThan(0);
    expect(unawaited).toBeGreaterThan(6);
    const info = await writer.publish(label(1));
    expect(info.textBytes).toBe(40 * Buffer.byteLength(text));
  });

  test("leaves the event loop free while it writes", { timeout: 60_000 }, async ({ onTestFinished }) => {
    const { store } = await sqliteSubject(onTestFinished, (folder) => SnapshotThread.open(folder));
    const texts = piecesOf([...lines(20 * MIB)].join(""), 65536);
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    await put(store, texts, label(1));
    delay.disable();
    // Packing one chunk alone takes longer than this; generous, because CI machines stall by themselves.
    expect(delay.percentile(50) / 1e6).toBeLessThan(8);
  });

  test("copies what is published into another store, packed as it is", async ({ onTestFinished }) => {
    const { store } = await sqliteSubject(onTestFinished, (folder) => SnapshotThread.open(folder));
    const { store: target } = await sqliteSubject(onTestFinished);
    const info = await put(store, lines(6 * MIB), label(4));
    const copy = await copySnapshot(store, info, target);
    expect([copy.root, copy.chunks, copy.label]).toEqual([info.root, info.chunks, info.label]);
    expect((await textOf(target, copy)) === (await textOf(store, info))).toBe(true);
    expect(await copySnapshot(store, info, target)).toEqual(copy);
    await store.remove(info);
    const back = await copySnapshot(target, copy, store);
    await store.verify(back);
    await store.remove(back);
    expect(await codeOf(copySnapshot(store, back, target))).toBe("snapshot_missing");
  });

  test("says why it cannot be opened", async ({ onTestFinished }) => {
    const folder = temporaryFolder(onTestFinished);
    expect(await codeOf(SnapshotThread.open(join(folder, "none")))).toBe("store_unusable");
    mkdirSync(join(folder, "snapshots.sqlite"));
    expect(await codeOf(SnapshotThread.open(folder))).toBe("store_unusable");
  });

  test("an error of the worker reaches write and publish by its code", async ({ onTestFinished }) => {
    const { store, folder } = await sqliteSubject(onTestFinished, (path) => SnapshotThread.open(path));
    const info = await put(store, ["state"], label(1));
    const holder = SqliteSnapshotStore.open(folder, { leftovers: "keep" });
    holder.database.exec("BEGIN IMMEDIATE");
    // Another process holds the file for longer than the worker waits.
    const texts = piecesOf([...lines(24 * MIB)].join(""), 300000);
    const writer = store.begin();
    expect(await codeOf(writeAll(writer, texts))).toBe("store_busy");
    expect(await codeOf(writer.publish(label(2)))).toBe("store_busy");
    holder.database.exec("ROLLBACK");
    await holder.close();
    expect(await list(store)).toEqual([info]);
    await put(store, texts, label(2));
  });

  test("a worker that dies is an error of everything under way and of everything after it", async ({
    onTestFinished,
  }) => {
    const folder = temporaryFolder(onTestFinished);
    const thread = await SnapshotThread.open(folder);
    const info = await put(thread, lines(9 * MIB), label(1));
    const writer = thread.begin();
    await writeAll(writer, lines(3 * MIB));
    const reading = codeOf(textOf(thread, info));
    const waiting = codeOf(writeAll(writer, lines(90 * MIB)));
    await thread.kill();
    expect(await waiting).toBe("snapshot_thread_failed (indefinite)");
    expect(["ok", "snapshot_thread_failed (indefinite)"]).toContain(await reading);
    expect(await codeOf(writer.publish(label(2)))).toBe("snapshot_thread_failed (indefinite)");
    expect(await codeOf(list(thread))).toBe("snapshot_thread_failed (indefinite)");
    expect(await codeOf(put(thread, ["x"], label(3)))).toBe("snapshot_thread_failed (indefinite)");
    await thread.close();
    const again = await SnapshotThread.open(folder);
    expect(await list(again)).toEqual([info]);
    await again.verify(info);
    await again.close();
  });

  test("closes in order in the middle of a write, and twice", async ({ onTestFinished }) => {
    const folder = temporaryFolder(onTestFinished);
    const thread = await SnapshotThread.open(folder);
    const info = await put(thread, lines(9 * MIB), label(1));
    const writer = thread.begin();
    const writing = codeOf(writeAll(writer, lines(90 * MIB)));
    const publishing = codeOf(put(thread, lines(2 * MIB), label(2)));
    const verifying = codeOf(thread.verify(info));
    await Promise.all([thread.close(), thread.close()]);
    expect(await writing).toMatch(/^snapshot_aborted|^snapshot_thread_failed/);
    expect(await publishing).toMatch(/^ok|^store_closed|^snapshot_/);
    expect(await verifying).toMatch(/^ok|^store_closed|^snapshot_thread_failed/);
    expect(await codeOf(list(thread))).toBe("snapshot_thread_failed (indefinite)");
    const store = SqliteSnapshotStore.open(folder);
    expect((await list(store)).at(-1)).toEqual(info);
    await store.close();
  });
});
