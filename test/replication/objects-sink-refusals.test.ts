/** What the objects sink refuses: damaged objects, foreign logs, places that cannot be one, and options that it does not know. */
import { readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { FilePlace } from "../../services/replication/sinks/objects-files.ts";
import { objectsKind } from "../../services/replication/sinks/objects-kind.ts";
import { lastByPages } from "../../services/replication/sinks/objects-last.ts";
import { NO_SIGNAL } from "../../services/replication/sinks/objects-place.ts";
import { seededNumbers } from "../../services/runtime/seeded-numbers.ts";
import { bed, feed, nameOf, refusal, resealed, through } from "./objects-bed.ts";
import { FOLDER, SCOPE, sinkAt } from "./objects-subject.ts";

describe("bad input", () => {
  const damages: readonly (readonly [string, (text: string) => string])[] = [
    ["an event changed", (text) => text.replace('"sequenceNumber":6', '"sequenceNumber":7')],
    [
      "the place changed",
      (text) =>
        text.replace(/"upTo":\{"logId":"the-log","streamSequence":\d+/, '"upTo":{"logId":"the-log","streamSequence":9'),
    ],
    ["cut off", (text) => text.slice(0, -20)],
    ["cut off in the first line", (text) => text.slice(0, 30)],
    ["empty", () => ""],
    ["a line gone", (text) => text.split("\n").toSpliced(2, 1).join("\n")],
    ["another's", (text) => resealed(text.replace(/"sequence":4/, '"sequence":3'))],
    ["something else", () => '{"hello":"world"}\n'],
  ];
  test.each(damages)("an object that is damaged (%s) halts the sink", async (_, change) => {
    const closers: (() => Promise<void>)[] = [];
    const { write, edit, codeOf } = bed((close) => closers.push(close));
    await write(12);
    edit(5, change);
    expect(await codeOf(4)).toBe("object_damaged");
    for (const close of closers) await close();
  });

  test("an object or a manifest of a newer release halts the sink, and names the upgrade", async ({
    onTestFinished,
  }) => {
    const { root, write, edit, codeOf, place } = bed(onTestFinished);
    await write(12);
    edit(9, (text) => resealed(text.replace('"schema":1', '"schema":2')));
    expect(await codeOf(4)).toBe("object_version");
    edit(9, () => '{ "schema": 3, "layout": "unheard of" }');
    const error = await refusal(sinkAt(place()).open(SCOPE, feed.place(4)));
    expect(error?.message).toMatch(/newer release \(schema 3, this one reads 1\)/);
    const manifest = join(root, FOLDER, "manifest.json");
    const text = readFileSync(manifest, "utf8");
    writeFileSync(manifest, text.replace('"schema": 1', '"schema": 2'));
    expect(await codeOf(undefined)).toBe("object_version");
    writeFileSync(manifest, text.slice(0, 40));
    expect(await codeOf(undefined)).toBe("object_damaged");
  });

  test("a store that lets an object be written twice is refused before anything is written", async ({
    onTestFinished,
  }) => {
    const { root, place, names } = bed(onTestFinished);
    const real = place();
    const careless = through(real, {
      put: async (name, bytes) => {
        writeFileSync(join(root, name), bytes);
        return "created";
      },
    });
    const error = await refusal(sinkAt(careless).open(SCOPE, feed.place(0)));
    expect([error?.code, error?.definite]).toEqual(["place_overwrites", true]);
    expect(names()).toEqual(["manifest.json"]);
  });

  test("a checkpoint of another log, and a log whose past differs, are refused", async ({ onTestFinished }) => {
    const { place, write } = bed(onTestFinished);
    await write(12);
    const foreign = { ...feed.place(4), logId: "another-log" };
    expect((await refusal(sinkAt(place()).open(SCOPE, foreign)))?.code).toBe("sink_foreign_log");
    const sink = sinkAt(place());
    await sink.open(SCOPE, feed.place(12));
    const batch = feed.batch(SCOPE, 12, 14);
    const otherPast = { ...batch, after: { ...batch.after, chain: "0".repeat(64) } };
    expect((await refusal(sink.apply(otherPast, NO_SIGNAL)))?.code).toBe("sink_foreign_log");
    await sink.apply(batch, NO_SIGNAL);
  });

  test("a folder that cannot be one is told, with what to do", async ({ onTestFinished }) => {
    const { root } = bed(onTestFinished);
    writeFileSync(join(root, "file"), "");
    for (const folder of [join(root, "file"), join(root, "file", "below"), join(root, "x".repeat(300))]) {
      const error = await refusal(sinkAt(new FilePlace(folder)).open(SCOPE, feed.place(0)));
      expect([error?.code, error?.definite]).toEqual(["sink_unusable", true]);
      expect(error?.message).toContain("or give the sink another folder");
    }
  });

  test("leftovers of a crash are removed when they are old, and only those", async ({ onTestFinished }) => {
    const { root, place, write } = bed(onTestFinished);
    await write(4);
    const folder = join(root, FOLDER);
    const old = new Date(Date.now() - 7_200_000);
    for (const name of [".a.json.1.partial", ".b.json.2.partial", "other.partial"])
      writeFileSync(join(folder, name), "x");
    for (const name of [".a.json.1.partial", "other.partial"]) utimesSync(join(folder, name), old, old);
    await sinkAt(place()).open(SCOPE, feed.place(4));
    expect(readdirSync(folder).toSorted()).toEqual([".b.json.2.partial", nameOf(1), "manifest.json", "other.partial"]);
  });

  test("options are strict, and each store has its own", () => {
    const { options, guarantee } = objectsKind;
    expect(guarantee).toBe("exactly once");
    expect(options.parse({ store: "files", folder: "archive" })).toEqual({
      ...{ store: "files", folder: "archive", eventsPerObject: 1_000, bytesPerObject: 4 * 1024 * 1024 },
    });
    const wrong: readonly object[] = [
      {},
      { store: "ftp" },
      { store: "files" },
      { store: "files", folder: "a", bucket: "b" },
      { store: "files", folder: "a", eventsPerObject: 0 },
      { store: "jetstream", bucket: "a.b" },
      { store: "jetstream", prefix: "../up" },
      { store: "jetstream", prefix: "a//b" },
      { store: "s3" },
      { store: "s3", bucket: "bbb", endpoint: "ftp://host" },
      { store: "s3", bucket: "bbb", endpoint: "https://user:secret@host" },
      { store: "s3", bucket: "bbb", credentials: { accessKeyId: "AKIA", secretAccessKey: "in the open" } },
      { store: "s3", bucket: "bbb", timeoutMs: 1 },
    ];
    for (const one of wrong) expect([one, options.safeParse(one).success]).toEqual([one, false]);
  });
});

test("the last of any number of objects is found by pages (seed 99)", async () => {
  const draw = seededNumbers(99);
  for (let round = 0; round < 300; round += 1) {
    const sequences = new Set<number>();
    const span = 10 ** (1 + (draw() % 9));
    for (let count = draw() % 60; count > 0; count -= 1) sequences.add(1 + (draw() % span));
    const rising = [...sequences].toSorted((a, b) => a - b);
    const pageSize = 1 + (draw() % 8);
    let questions = 0;
    const list = async (after: number): Promise<readonly number[]> => {
      questions += 1;
      return rising.filter((sequence) => sequence > after).slice(0, pageSize);
    };
    const upTo = draw() % 3 === 0 ? Number.MAX_SAFE_INTEGER : 1 + (draw() % (2 * span));
    expect(await lastByPages(list, upTo, pageSize)).toBe(rising.findLast((sequence) => sequence <= upTo));
    expect(questions).toBeLessThan(100);
  }
});
