/** What every store of snapshots must do: one suite, with what each needs to break its own files. */

import { expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import type { SnapshotInfo, SnapshotLabel, SnapshotStore, SnapshotWriter } from "../../services/persistence/mod.ts";
import { requireLog } from "../../services/persistence/mod.ts";

export type Damage = "truncated chunk" | "flipped byte" | "missing chunk" | "missing last chunk" | "swapped chunks";

export interface SnapshotSubject {
  readonly store: SnapshotStore;
  /** Breaks what is stored of a snapshot of three chunks or more. */
  damage(info: SnapshotInfo, damage: Damage): Promise<void>;
  /** Puts another text in the place of its label. */
  relabel(info: SnapshotInfo, text: string): Promise<void>;
  /** Pieces that are stored, published or not. */
  storedChunks(): Promise<number>;
}
export type Cleanup = (dispose: () => Promise<void>) => void;

export const MIB = 1024 * 1024;
const SHARD = { region: "eu", shard: "main" };
export const label = (sequence: number, more: Partial<SnapshotLabel> = {}): SnapshotLabel => ({
  ...SHARD,
  logId: "log1",
  streamSequence: sequence + 7,
  sequence,
  chain: "ab".repeat(32),
  term: 3,
  first: Math.max(0, sequence - 4),
  at: 1_763_700_000_000,
  hash: "0123456789abcdef",
  logVersion: 1,
  createdAtMs: 1_763_700_000_123,
  ...more,
});

/** A line such as state has: some of it compresses, the ids do not. */
function line(index: number): string {
  const id = `${mixed(index)}${mixed(index + 2 ** 31)}`;
  return `{"itemId":"${id}","resourceType":"table","resourceId":"db/${id}${index}","state":"pending ⏳","attempt":${index % 5}}\n`;
}
/** Seven characters or fewer that look random. */
function mixed(index: number): string {
  let bits = Math.imul(index ^ (index >>> 16), 0x45d9f3b);
  bits = Math.imul(bits ^ (bits >>> 15), 0x2c1b3c6d);
  return ((bits ^ (bits >>> 16)) >>> 0).toString(36);
}
export function* lines(bytes: number, from = 0): Generator<string> {
  for (let index = from, written = 0; written < bytes; index += 1) {
    const text = line(index);
    written += Buffer.byteLength(text);
    yield text;
  }
}

/** Cuts without regard to characters. */
export function piecesOf(text: string, length: number): string[] {
  const count = Math.ceil(text.length / length);
  return Array.from({ length: count }, (_, index) => text.slice(index * length, (index + 1) * length));
}

export async function writeAll(writer: SnapshotWriter, texts: Iterable<string>): Promise<void> {
  for (const text of texts) {
    const room = writer.write(text);
    if (room !== undefined) await room;
  }
}
export async function put(store: SnapshotStore, texts: Iterable<string>, name: SnapshotLabel): Promise<SnapshotInfo> {
  const writer = store.begin();
  await writeAll(writer, texts);
  return writer.publish(name);
}
export async function textOf(store: SnapshotStore, info: SnapshotInfo): Promise<string> {
  let text = "";
  for await (const chunk of store.open(info)) text += chunk;
  return text;
}
/** The code of the operating error that a promise fails with; `ok` when it does not. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "ok";
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    return `${error.code}${error.definite ? "" : " (indefinite)"}`;
  }
}
export const list = (store: SnapshotStore): Promise<SnapshotInfo[]> => store.list(SHARD.region, SHARD.shard);
const sequences = async (store: SnapshotStore): Promise<number[]> => (await list(store)).map((i) => i.label.sequence);

const DAMAGES: readonly Damage[] = [
  "truncated chunk",
  "flipped byte",
  "missing chunk",
  "missing last chunk",
  "swapped chunks",
];

/** Declares the suite under the describe block at hand. */
export function snapshotSuite(make: (cleanup: Cleanup) => Promise<SnapshotSubject>): void {
  test("gives back 50 MB as they were written", { timeout: 60_000 }, async ({ onTestFinished }) => {
    const { store } = await make(onTestFinished);
    const text = [...lines(50 * MIB)].join("");
    const pieces = piecesOf(text, 300_000);
    const info = await put(store, pieces, label(9));
    expect(info).toMatchObject({ label: label(9), textBytes: Buffer.byteLength(text) });
    expect(info.chunks).toBeGreaterThan(45);
    expect(info.bytes).toBeLessThan(info.textBytes / 2);
    expect(await list(store)).toEqual([info]);
    expect((await textOf(store, info)) === text).toBe(true);
  });

  test("takes texts of any cut: none, tiny, one of many chunks, and characters across a cut", async ({
    onTestFinished,
  }) => {
    const { store } = await make(onTestFinished);
    const wide = `${"a".repeat(MIB - 1)}😀${"b".repeat(MIB - 2)}😀${"é".repeat(3 * MIB)}`;
    const cases = [[], [""], ["x"], [wide], piecesOf(wide.slice(0, 2 * MIB + 1), 7_777)];
    for (const [index, texts] of cases.entries()) {
      const info = await put(store, texts, label(index));
      expect((await textOf(store, info)) === texts.join("")).toBe(true);
    }
    expect(await sequences(store)).toEqual([4, 3, 2, 1, 0]);
    expect(await store.list("eu", "other")).toEqual([]);
  });

  test("lists nothing before it is published, and nothing of what was aborted", async ({ onTestFinished }) => {
    const { store, storedChunks } = await make(onTestFinished);
    const writer = store.begin();
    await writeAll(writer, lines(5 * MIB));
    expect(await list(store)).toEqual([]);
    const other = await put(store, lines(2 * MIB, 500), label(5));
    const kept = await storedChunks();
    writer.abort();
    writer.abort();
    await expect.poll(storedChunks, { timeout: 5_000 }).toBeLessThan(kept);
    expect(await list(store)).toEqual([other]);
    expect((await textOf(store, other)) === [...lines(2 * MIB, 500)].join("")).toBe(true);
    await store.remove(other);
    await store.remove(other);
    await expect.poll(storedChunks, { timeout: 5_000 }).toBe(0);
    expect(await codeOf(store.verify(other))).toBe("snapshot_missing");
  });

  test.each(DAMAGES)("refuses a snapshot with a %s, and takes a new one in its place", async (kind) => {
    const closers: (() => Promise<void>)[] = [];
    try {
      const { store, damage } = await make((close) => void closers.push(close));
      const older = await put(store, lines(1000), label(1));
      const info = await put(store, lines(5 * MIB), label(2));
      await store.verify(info);
      await damage(info, kind);
      const [listed = info] = await list(store);
      expect(await codeOf(store.verify(listed))).toBe("snapshot_damaged");
      expect(await codeOf(textOf(store, info))).toBe("snapshot_damaged");
      expect(await codeOf(store.verify(older))).toBe("ok");
      const again = await put(store, lines(5 * MIB), label(2));
      await store.verify(again);
      expect(await list(store)).toEqual([again, older]);
    } finally {
      for (const close of closers.reverse()) await close();
    }
  });

  test("refuses a newer version and a foreign label by name, and a label that says something else", async ({
    onTestFinished,
  }) => {
    const { store, relabel } = await make(onTestFinished);
    const info = await put(store, ["state"], label(2));
    const cases = [
      [JSON.stringify({ ...label(2), logVersion: 99 }), "snapshot_version", /newer release/],
      [
        JSON.stringify({ ...label(2), logVersion: LOG_VERSION_MAX + 1, novel: true }),
        "snapshot_version",
        /newer release/,
      ],
      [JSON.stringify(label(2, { shard: "other" })), "snapshot_foreign", /eu\/other/],
      [JSON.stringify(label(3)), "snapshot_foreign", /sequence 3/],
      ["{", "snapshot_damaged", /label/],
      [JSON.stringify({ ...label(2), term: -1 }), "snapshot_damaged", /label/],
    ] as const;
    for (const [text, code, message] of cases) {
      await relabel(info, text);
      const [listed = info] = await list(store);
      expect(listed).toMatchObject({ label: { ...SHARD, sequence: 2 }, problem: { code } });
      expect(listed.problem?.message).toMatch(message);
      expect(await codeOf(store.verify(listed))).toBe(code);
      expect(await codeOf(textOf(store, listed))).toBe(code);
    }
    // Well-formed and its own, but not what was published: the root binds it.
    await relabel(info, JSON.stringify(label(2, { term: 4 })));
    const [listed = info] = await list(store);
    expect([listed.problem, await codeOf(store.verify(listed))]).toEqual([undefined, "snapshot_damaged"]);
    await store.remove(listed);
    expect(await list(store)).toEqual([]);
  });

  test("refuses a snapshot of another log where one is named", async ({ onTestFinished }) => {
    const { store } = await make(onTestFinished);
    const info = await put(store, ["state"], label(2));
    requireLog(info, { ...SHARD, logId: "log1" });
    for (const log of [
      { ...SHARD, logId: "log2" },
      { ...SHARD, logId: "log1", shard: "b" },
    ])
      expect(await codeOf((async () => requireLog(info, log))())).toBe("snapshot_foreign");
  });

  test("publishes once: again is the same, another log's is refused", async ({ onTestFinished }) => {
    const { store, storedChunks } = await make(onTestFinished);
    const info = await put(store, lines(3 * MIB), label(2));
    const chunks = await storedChunks();
    expect(await put(store, lines(3 * MIB), label(2, { createdAtMs: 5 }))).toEqual(info);
    expect(await codeOf(put(store, lines(3 * MIB), label(2, { logId: "log2" })))).toBe("snapshot_exists");
    expect(await list(store)).toEqual([info]);
    await expect.poll(storedChunks, { timeout: 5_000 }).toBe(chunks);
  });

  test("prunes to the newest up to one that is known, and leaves other logs, other shards and what claims to be newer alone", async ({
    onTestFinished,
  }) => {
    const { store } = await make(onTestFinished);
    const other = await put(store, ["other"], label(1, { shard: "other" }));
    for (const sequence of [10, 30, 20, 40]) await put(store, [`s${sequence}`], label(sequence));
    await put(store, ["old log"], label(90, { logId: "log0" }));
    expect(await store.prune(label(30), 1)).toBe(2);
    expect(await sequences(store)).toEqual([90, 40, 30]);
    expect(await store.prune(label(40), 1)).toBe(1);
    expect(await sequences(store)).toEqual([90, 40]);
    expect(await store.prune(label(40), 1)).toBe(0);
    expect(await store.list("eu", "other")).toEqual([other]);
  });
}
