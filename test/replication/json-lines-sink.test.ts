/** The JSON-lines sink against the suite of all sinks, and what its files promise. */
import { appendFile, mkdir, readdir, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { beforeEach, describe, expect, test } from "vitest";
import type { Sink } from "../../services/replication/sink.ts";
import { jsonLinesKind } from "../../services/replication/sinks/json-lines-sink.ts";
import { scanLines } from "../../services/replication/sinks/lines-scan.ts";
import { FakeClock } from "../../services/testing/fake-clock.ts";
import { EventFeed, sinkConformance } from "../../services/testing/mod.ts";
import { LinesBed, linesSubject, SCOPE } from "./lines-subject.ts";

sinkConformance({ describe, test }, "JsonLinesSink", () => linesSubject({}));
// The suite's events are spread over a dozen files.
sinkConformance({ describe, test }, "JsonLinesSink, small compressed files, synced now and then", () =>
  linesSubject({ rotateBytes: 4_096, gzip: true, fsync: "interval", fsyncMs: 1 }),
);

const SEED = 5;
const feed = new EventFeed({ seed: SEED, logId: SCOPE.logId, count: 80 });
const { signal } = new AbortController();
const bring = (sink: Sink, after: number, upTo: number): Promise<void> =>
  sink.apply(feed.batch(SCOPE, after, upTo), signal);

let bed: LinesBed;
beforeEach(async ({ onTestFinished }) => {
  bed = await LinesBed.make();
  onTestFinished(() => bed.close());
});
const sequences = async (): Promise<number[]> => (await bed.events()).map((event) => event.sequenceNumber);
const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);
const warnings = (): string[] => bed.reports.map(({ event }) => event);

describe("files", () => {
  test("are begun anew by size, are named by their first sequence, and hold the events as they are", async () => {
    const sink = bed.sink({ rotateBytes: 8_192 });
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 33);
    await bring(sink, 33, 80);
    const names = await bed.files();
    expect(names.length).toBeGreaterThan(3);
    for (const name of names) {
      expect(name).toMatch(/^\d{20}\.2026-01-01\.jsonl$/);
      const text = await readFile(join(bed.folder, name), "utf8");
      expect(JSON.parse(text.split("\n")[0] ?? "").sequenceNumber).toBe(Number(name.slice(0, 20)));
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(8_192);
    }
    expect(await bed.events()).toEqual(feed.events.slice(0, 80));
  });

  test("are begun anew with each day of the events, unless that is not wanted", async () => {
    const nightly = new EventFeed({
      seed: SEED,
      logId: SCOPE.logId,
      startMs: Date.UTC(2026, 1, 27, 23),
      stepMs: 3_600_000,
    });
    const days = new Set(nightly.events.map((event) => event.timestamp.slice(0, 10)));
    expect(days.size).toBeGreaterThan(2);
    const sink = bed.sink();
    await sink.open(SCOPE, undefined);
    await sink.apply(nightly.batch(SCOPE, 0, nightly.lastSequence), signal);
    expect((await bed.files()).map((name) => name.slice(21, 31))).toEqual([...days]);
    await sink.close();
    const other = bed.sink({ rotateDaily: false });
    await other.open({ ...SCOPE, shard: "other" }, undefined);
    await other.apply(
      { ...nightly.batch(SCOPE, 0, nightly.lastSequence), scope: { ...SCOPE, shard: "other" } },
      signal,
    );
    expect((await readdir(join(bed.root, "eu", "other"))).filter((name) => name.endsWith(".jsonl"))).toHaveLength(1);
  });

  test("are compressed once they are closed, the one that is written to excepted", async () => {
    const sink = bed.sink({ rotateBytes: 8_192, gzip: true });
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 80);
    await expect.poll(async () => (await bed.files()).filter((name) => name.endsWith(".jsonl")).length).toBe(1);
    expect((await bed.files()).length).toBeGreaterThan(3);
    expect(await sequences()).toEqual(upTo(80));
  });

  test("are compressed by the next opening when a kill came between, from any state that it left", async () => {
    const sink = bed.sink({ rotateBytes: 8_192 });
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 80);
    await bed.crash();
    const [first = "", second = ""] = await bed.files();
    const path = join(bed.folder, first);
    // Of the first file both forms are there, of the second a part of the compressed one.
    await writeFile(`${path}.gz`, gzipSync(await readFile(path)));
    await writeFile(join(bed.folder, `${second}.gz.tmp`), "\u001f\u008b");
    const next = bed.sink({ rotateBytes: 8_192, gzip: true });
    expect(await next.open(SCOPE, undefined)).toEqual(feed.place(80));
    expect(await bed.files()).not.toContain(first);
    await expect.poll(async () => (await bed.files()).filter((name) => name.endsWith(".jsonl")).length).toBe(1);
    expect((await readdir(bed.folder)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
    expect(await sequences()).toEqual(upTo(80));
  });

  test("that are compressed and the newest still say where the lines end", async () => {
    const sink = bed.sink();
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 40);
    await sink.close();
    const [name = ""] = await bed.files();
    const path = join(bed.folder, name);
    await writeFile(`${path}.gz`, gzipSync(await readFile(path)));
    await rm(path);
    await rm(join(bed.folder, "place"));
    const next = bed.sink();
    await next.open(SCOPE, feed.place(10));
    await bring(next, 10, 60);
    expect(await sequences()).toEqual(upTo(60));
  });

  test("that fail to be compressed stay as they are, and it is told", async () => {
    const sink = bed.sink({ rotateBytes: 8_192, gzip: true });
    await sink.open(SCOPE, undefined);
    const [first = ""] = feed.events.map((event) => String(event.sequenceNumber).padStart(20, "0"));
    await mkdir(join(bed.folder, `${first}.2026-01-01.jsonl.gz.tmp`));
    await bring(sink, 0, 80);
    await expect.poll(warnings).toContain("sink_compression_failed");
    expect(await sequences()).toEqual(upTo(80));
  });

  test.each([
    ["removes", (path: string) => rm(path)],
    ["moves", (path: string) => rename(path, `${path}.old`)],
    ["empties", (path: string) => truncate(path)],
  ])("that somebody %s while they are written to are begun anew", async (_does, change) => {
    const sink = bed.sink();
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 10);
    await change(join(bed.folder, (await bed.files())[0] ?? ""));
    await bring(sink, 10, 20);
    expect(await sequences()).toEqual(upTo(20).slice(10));
    expect(warnings()).toEqual(["sink_file_taken_away"]);
    await sink.close();
    expect(await bed.sink().open(SCOPE, undefined)).toEqual(feed.place(20));
  });
});

describe("what a kill or a power cut leaves", () => {
  test("is cut back to the last whole line, told, and comes again", async () => {
    const sink = bed.sink({ fsync: "never" });
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 20);
    await bed.crash();
    const path = join(bed.folder, (await bed.files())[0] ?? "");
    // As a file system may that wrote the later of two pages first.
    await appendFile(path, `${"\0".repeat(4_096)}\n${JSON.stringify(feed.events[25])}\n`);
    const next = bed.sink();
    expect(await next.open(SCOPE, undefined)).toEqual(feed.place(20));
    expect(bed.reports).toMatchObject([{ event: "sink_tail_cut", fields: { path } }]);
    await bring(next, 20, 30);
    expect(await sequences()).toEqual(upTo(30));
  });

  test("is found without the place on record, from the lines alone", async () => {
    const sink = bed.sink({ rotateBytes: 8_192 });
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 50);
    await bed.crash();
    await bed.tearTail();
    await writeFile(join(bed.folder, "place"), "\0".repeat(4_096));
    const next = bed.sink();
    expect(await next.open(SCOPE, feed.place(33))).toEqual(feed.place(33));
    await bring(next, 33, 70);
    expect(await sequences()).toEqual(upTo(70));
  });

  test("is an older place when the newer one was cut off in its writing", async () => {
    const sink = bed.sink();
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 10);
    await bring(sink, 10, 20);
    await bed.crash();
    const path = join(bed.folder, "place");
    const bytes = await readFile(path);
    // The second record stands in the first slot.
    bytes.fill(0, 100, 2_048);
    await writeFile(path, bytes);
    const next = bed.sink();
    expect(await next.open(SCOPE, undefined)).toEqual(feed.place(10));
    await bring(next, 10, 30);
    expect(await sequences()).toEqual(upTo(30));
  });

  test.each([false, true])("is read no further than to the first bad line, compressed: %s", async (isCompressed) => {
    const large = new EventFeed({ seed: SEED, count: 600 });
    const text = large.events.map((event) => `${JSON.stringify(event)}\n`);
    const bytes = Buffer.from([...text.slice(0, 20), "bad\n", ...text.slice(20)].join(""));
    expect(bytes.length).toBeGreaterThan(3 * 64 * 1024);
    const path = join(bed.root, "lines");
    await writeFile(path, isCompressed ? gzipSync(bytes) : bytes);
    const wholeBytes = Buffer.byteLength(text.slice(0, 20).join(""));
    expect(await scanLines(path, isCompressed)).toEqual({ last: 20, wholeBytes, rest: "bad" });
  });

  test("is refused when lines are missing that were on the disk, or are no lines", async () => {
    const sink = bed.sink();
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 20);
    await sink.close();
    const path = join(bed.folder, (await bed.files())[0] ?? "");
    const { size } = await stat(path);
    await truncate(path, size - 5);
    const refused = { code: "sink_damaged", definite: true };
    await expect(bed.sink().open(SCOPE, feed.place(20))).rejects.toMatchObject(refused);
    const text = await readFile(path, "utf8");
    await writeFile(path, `${text.slice(0, 2_000)}\nno line\n${text.slice(2_000)}`);
    await rm(join(bed.folder, "place"));
    await expect(bed.sink().open(SCOPE, feed.place(20))).rejects.toMatchObject(refused);
  });
});

describe("a folder", () => {
  test("has one writer: the next is refused until the first has closed", async () => {
    const first = bed.sink();
    await first.open(SCOPE, undefined);
    const second = bed.sink();
    await expect(second.open(SCOPE, undefined)).rejects.toMatchObject({ code: "sink_taken", definite: false });
    await bring(first, 0, 10);
    await first.close();
    expect(await second.open(SCOPE, undefined)).toEqual(feed.place(10));
  });

  test("that has data and no manifest, or a manifest of something else, is refused", async () => {
    const sink = bed.sink();
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 10);
    await sink.close();
    const manifest = join(bed.folder, "manifest.json");
    const refused = { code: "sink_damaged", definite: true };
    for (const text of ["", '{"schema":2}', '{"schema":1,"kind":"csv"}']) {
      await writeFile(manifest, text);
      await expect(bed.sink().open(SCOPE, undefined)).rejects.toMatchObject(refused);
    }
    await rm(manifest);
    await expect(bed.sink().open(SCOPE, undefined)).rejects.toMatchObject(refused);
    expect(await sequences()).toEqual(upTo(10));
  });

  test("that cannot be made is refused, and used once it can be", async () => {
    await writeFile(join(bed.root, "eu"), "a file stands where a folder is wanted");
    const sink = bed.sink();
    await expect(sink.open(SCOPE, undefined)).rejects.toMatchObject({ code: "sink_unusable", definite: true });
    await rm(join(bed.root, "eu"));
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 10);
    expect(await sequences()).toEqual(upTo(10));
  });
});

describe("a disk that fails", () => {
  test.each([
    ["write", "ENOSPC", "sink_full"],
    ["write", "EIO", "sink_failed"],
    ["datasync", "EIO", "sink_failed"],
    ["datasync", "EDQUOT", "sink_full"],
    ["write", "EROFS", "sink_unusable"],
  ] as const)(
    "is told when %s fails with %s, moves no place, and is gone on with when it is mended",
    async (call, errno, code) => {
      const sink = bed.sink({ rotateBytes: 8_192 });
      await sink.open(SCOPE, undefined);
      await bring(sink, 0, 10);
      bed.faults.set(call, errno);
      await expect(bring(sink, 10, 40)).rejects.toMatchObject({ code });
      await expect(bring(sink, 10, 15)).rejects.toMatchObject({ code });
      await bed.crash();
      bed.faults.clear();
      const next = bed.sink({ rotateBytes: 8_192 });
      expect(await next.open(SCOPE, undefined)).toEqual(feed.place(10));
      bed.faults.set(call, errno);
      await expect(bring(next, 10, 40)).rejects.toMatchObject({ code });
      bed.faults.clear();
      await bring(next, 10, 15);
      await bring(next, 15, 60);
      expect(await sequences()).toEqual(upTo(60));
    },
  );

  test("has what a failed sync may have lost written once more before it counts", async () => {
    const sink = bed.sink();
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 10);
    bed.faults.set("datasync", "EIO");
    await expect(bring(sink, 10, 20)).rejects.toMatchObject({ code: "sink_failed" });
    bed.faults.clear();
    // The lines are in the file; only their second writing fails.
    bed.faults.set("write", "EIO");
    await expect(bring(sink, 10, 20)).rejects.toMatchObject({ code: "sink_failed" });
    bed.faults.clear();
    await bring(sink, 10, 20);
    expect(await sequences()).toEqual(upTo(20));
  });
});

describe("syncing by interval", () => {
  test("brings the place on record behind what is on the disk, and meets a failure with the next batch", async () => {
    const clock = new FakeClock();
    const sink = bed.sink({ fsync: "interval", fsyncMs: 50 }, new FakeClock());
    await sink.open(SCOPE, undefined);
    await bring(sink, 0, 10);
    await bed.crash();
    const second = bed.sink({ fsync: "interval", fsyncMs: 50 }, clock);
    // Nothing was on the disk for certain, so all of it comes again.
    expect(await second.open(SCOPE, undefined)).toBeUndefined();
    await bring(second, 0, 20);
    bed.faults.set("datasync", "EIO");
    clock.advance(50);
    await expect.poll(warnings).toEqual(["sink_sync_failed"]);
    await expect(bring(second, 20, 30)).rejects.toMatchObject({ code: "sink_failed" });
    bed.faults.clear();
    await bring(second, 20, 30);
    clock.advance(50);
    await second.close();
    expect(clock.timerCount).toBe(0);
    expect(await bed.sink().open(SCOPE, undefined)).toEqual(feed.place(30));
    expect(await sequences()).toEqual(upTo(30));
  });
});

describe("options", () => {
  test("have defaults, and all that is wrong is told at once", () => {
    const { options } = jsonLinesKind;
    const defaults = { folder: "x", rotateBytes: 67_108_864, rotateDaily: true, gzip: false, fsync: "batch" };
    expect(options.parse({ folder: "x" })).toEqual(defaults);
    const problems = options.safeParse({ folder: "", rotateBytes: 1, gzip: "yes", fsync: "always", compress: true });
    expect(problems.error?.issues.map(({ path }) => path.join("."))).toEqual([
      "folder",
      "rotateBytes",
      "gzip",
      "fsync",
      "",
    ]);
    expect(options.safeParse({ folder: "x", fsyncMs: 5 }).error?.issues[0]?.message).toContain("fsync: interval");
  });
});
