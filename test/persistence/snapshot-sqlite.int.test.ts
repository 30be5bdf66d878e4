/** Snapshots in SQLite, and what only this store promises. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { SqliteSnapshotStore } from "../../services/persistence/mod.ts";
import { sqliteSubject, temporaryFolder } from "./snapshot-subjects.ts";
import { codeOf, label, lines, list, MIB, put, snapshotSuite, writeAll } from "./snapshot-suite.ts";

describe("SqliteSnapshotStore", () => {
  snapshotSuite((cleanup) => sqliteSubject(cleanup));

  test("refuses a snapshot whose format is newer", async ({ onTestFinished }) => {
    const { store, folder } = await sqliteSubject(onTestFinished);
    const info = await put(store, ["state"], label(2));
    const db = new Database(join(folder, "snapshots.sqlite"));
    db.prepare("UPDATE snapshot SET format = 2").run();
    db.close();
    const [listed = info] = await list(store);
    expect(await codeOf(store.verify(listed))).toBe("snapshot_version");
    expect(await codeOf(put(store, ["state"], label(2)))).toBe("snapshot_exists");
  });

  test("a reader beside the writer leaves what is being written alone; a second writer's sweep fails the publish", async ({
    onTestFinished,
  }) => {
    const { store, folder } = await sqliteSubject(onTestFinished);
    const first = store.begin();
    await writeAll(first, lines(3 * MIB));
    const reader = SqliteSnapshotStore.open(folder, { leftovers: "keep" });
    const info = await first.publish(label(1));
    expect(await list(reader)).toEqual([info]);
    await reader.verify(info);
    await reader.close();
    const second = store.begin();
    await writeAll(second, lines(3 * MIB));
    await SqliteSnapshotStore.open(folder).close();
    expect(await codeOf(second.publish(label(2)))).toBe("snapshot_missing");
    expect(await list(store)).toEqual([info]);
  });

  test("the same name published twice at one moment is published once", async ({ onTestFinished }) => {
    const { store } = await sqliteSubject(onTestFinished);
    const codes = await Promise.all([1, 2].map(() => codeOf(put(store, lines(1000), label(1)))));
    expect(codes).toContain("ok");
    expect(await list(store)).toHaveLength(1);
  });

  test("keeps the error of a failed write, and refuses a closed store and a file that is not one", async ({
    onTestFinished,
  }) => {
    const { store } = await sqliteSubject(onTestFinished);
    const writer = store.begin();
    await writeAll(writer, lines(2 * MIB));
    await store.close();
    await store.close();
    expect(await codeOf(store.list("eu", "main"))).toBe("store_closed");
    expect(() => writer.write("more")).toThrow(/aborted/);
    const folder = temporaryFolder(onTestFinished);
    writeFileSync(join(folder, "snapshots.sqlite"), "no database, but long enough to be looked at".repeat(100));
    expect(await codeOf((async () => SqliteSnapshotStore.open(folder))())).toBe("store_corrupt");
    expect(await codeOf((async () => SqliteSnapshotStore.open(join(folder, "none")))())).toBe("store_unusable");
  });

  test("a full disk is told by its name, and leaves what was there", async ({ onTestFinished }) => {
    const { store } = await sqliteSubject(onTestFinished);
    const info = await put(store, ["state"], label(1));
    const sqlite = store as SqliteSnapshotStore;
    const pages = Number(sqlite.database.pragma("page_count", { simple: true }));
    sqlite.database.pragma(`max_page_count = ${pages + 20}`);
    expect(await codeOf(put(store, lines(9 * MIB), label(2)))).toBe("store_full");
    expect(await list(store)).toEqual([info]);
    await store.verify(info);
  });
});
