/** What objects promise beyond the suite of all sinks: names, bounds, gaps, damage, and puts whose outcome is not known. On files. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { FilePlace } from "../../services/replication/sinks/objects-files.ts";
import { encodeObject } from "../../services/replication/sinks/objects-format.ts";
import { objectsKind } from "../../services/replication/sinks/objects-kind.ts";
import { lastByPages } from "../../services/replication/sinks/objects-last.ts";
import { NO_SIGNAL, type ObjectPlace, objectName } from "../../services/replication/sinks/objects-place.ts";
import { seededNumbers } from "../../services/runtime/seeded-numbers.ts";
import { EventFeed } from "../../services/testing/mod.ts";
import type { Cleanup } from "../support/process.ts";
import { FOLDER, listener, readAll, SCOPE, sinkAt, temporaryFolder } from "./objects-subject.ts";

const feed = new EventFeed({ seed: 5, count: 60, logId: SCOPE.logId });

/** A folder of objects, and what a test does to it. */
function bed(cleanup: Cleanup) {
  const root = temporaryFolder(cleanup);
  const file = (first: number): string => join(root, objectName(FOLDER, first));
  return {
    root,
    file,
    place: () => new FilePlace(root),
    names: () => readdirSync(join(root, FOLDER)).toSorted(),
    /** Writes so many events, in batches of four: one object each. */
    write: async (upTo: number): Promise<void> => {
      const sink = sinkAt(new FilePlace(root));
      const own = await sink.open(SCOPE, undefined);
      for (let after = own?.sequence ?? 0; after < upTo; after += 4)
        await sink.apply(feed.batch(SCOPE, after, Math.min(after + 4, upTo)), NO_SIGNAL);
      await sink.close();
    },
    edit: (first: number, change: (text: string) => string): void =>
      writeFileSync(file(first), change(readFileSync(file(first), "utf8"))),
    codeOf: async (checkpoint: number | undefined): Promise<string | undefined> => {
      const opening = sinkAt(new FilePlace(root)).open(
        SCOPE,
        checkpoint === undefined ? undefined : feed.place(checkpoint),
      );
      return (await refusal(opening))?.code;
    },
  };
}

async function refusal(attempt: Promise<unknown>): Promise<OperatingError | undefined> {
  try {
    await attempt;
    return undefined;
  } catch (error) {
    if (error instanceof OperatingError) return error;
    throw error;
  }
}

/** A place that does what it is told to, and then, or before, something else. */
function through(place: ObjectPlace, more: Partial<ObjectPlace>): ObjectPlace {
  return {
    where: place.where,
    prepare: (folder) => place.prepare(folder),
    put: (name, bytes, signal) => place.put(name, bytes, signal),
    get: (name, signal) => place.get(name, signal),
    list: (folder, after, limit) => place.list(folder, after, limit),
    last: (folder, upTo) => place.last(folder, upTo),
    close: () => place.close(),
    ...more,
  };
}

describe("objects", () => {
  test("are named by their first sequence, begin where the one before ended, and keep both bounds", async ({
    onTestFinished,
  }) => {
    const { place, names } = bed(onTestFinished);
    const sink = sinkAt(place(), { eventsPerObject: 4, bytesPerObject: 2_500 });
    await sink.open(SCOPE, feed.place(0));
    await sink.apply(feed.batch(SCOPE, 0, 20), NO_SIGNAL);
    await sink.apply(feed.batch(SCOPE, 20, 31), NO_SIGNAL);
    const objects = await readAll(place());
    expect(names()).toEqual([...objects.map(({ events }) => nameOf(events[0]?.sequenceNumber)), "manifest.json"]);
    expect(objects.flatMap(({ events }) => events)).toEqual(feed.events.slice(0, 31));
    for (const { events, count } of objects) {
      const bytes = events.reduce((sum, event) => sum + Buffer.byteLength(JSON.stringify(event)), 0);
      expect(count).toBeLessThanOrEqual(4);
      if (count > 1) expect(bytes).toBeLessThanOrEqual(2_500);
    }
    expect(objects.map(({ count }) => count)).toContain(4);
    expect(new Set(objects.map(({ count }) => count)).size).toBeGreaterThan(1);
    expect(objects.at(-1)?.upTo).toEqual(feed.place(31));
  });

  test("can be checked with `head` and `sha256sum`, also one without events", async ({ onTestFinished }) => {
    const { file, place } = bed(onTestFinished);
    const sink = sinkAt(place());
    await sink.open(SCOPE, feed.place(0));
    await sink.apply(feed.batch(SCOPE, 0, 4), NO_SIGNAL);
    await sink.apply({ ...feed.batch(SCOPE, 4, 9), events: [] }, NO_SIGNAL);
    for (const [first, count] of [
      [1, 4],
      [5, 0],
    ] as const) {
      const lines = readFileSync(file(first), "utf8").split("\n");
      expect(lines).toHaveLength(count + 3);
      const end = lines.at(-2);
      const before = lines.slice(0, -2).map((line) => `${line}\n`);
      const sha256 = createHash("sha256").update(before.join("")).digest("hex");
      expect(end).toBe(`],"sha256":"${sha256}"}`);
    }
  });

  test("are the same bytes whoever writes them, so that two instances that go on alike both succeed", async ({
    onTestFinished,
  }) => {
    const { place } = bed(onTestFinished);
    const sinks = [sinkAt(place()), sinkAt(place())];
    for (const sink of sinks) await sink.open(SCOPE, feed.place(0));
    for (const [after, upTo] of [
      [0, 6],
      [6, 7],
      [7, 20],
    ] as const)
      await Promise.all(sinks.map((sink) => sink.apply(feed.batch(SCOPE, after, upTo), NO_SIGNAL)));
    expect((await readAll(place())).flatMap(({ events }) => events)).toEqual(feed.events.slice(0, 20));
  });

  test("say what was left out because the sink began later", async ({ onTestFinished }) => {
    const { place, write } = bed(onTestFinished);
    const reporter = listener();
    const sink = sinkAt(place(), {}, reporter);
    expect(await sink.open(SCOPE, { ...feed.place(30), owner: "somebody" })).toEqual(feed.place(30));
    expect(reporter.lines.map(({ event }) => event)).toEqual(["objects_begin_later"]);
    await sink.apply(feed.batch(SCOPE, 30, 33), NO_SIGNAL);
    const [skipped, next, ...others] = await readAll(place());
    expect([skipped?.skipped, skipped?.count, skipped?.upTo, next?.skipped]).toEqual([
      true,
      0,
      feed.place(30),
      undefined,
    ]);
    expect([next?.events.length, others]).toEqual([3, []]);
    await write(40);
    expect((await readAll(place())).at(-1)?.upTo).toEqual(feed.place(40));
  });

  test("are not written for every batch that a filter left empty, and the place is known still", async ({
    onTestFinished,
  }) => {
    const { place, names, codeOf } = bed(onTestFinished);
    const sink = sinkAt(place());
    await sink.open(SCOPE, feed.place(0));
    await sink.apply(feed.batch(SCOPE, 0, 3), NO_SIGNAL);
    for (let after = 3; after < 30; after += 1)
      await sink.apply({ ...feed.batch(SCOPE, after, after + 1), events: [] }, NO_SIGNAL);
    expect(names()).toEqual([nameOf(1), nameOf(4), "manifest.json"]);
    expect(await sinkAt(place()).open(SCOPE, feed.place(30))).toEqual(feed.place(30));
    expect((await sinkAt(place()).open(SCOPE, undefined))?.sequence).toBe(4);
    // So far ahead a place never is without an object.
    const far = { ...feed.place(30), sequence: 4 + 100_000 };
    await sink.apply({ scope: SCOPE, after: feed.place(30), upTo: far, events: [] }, NO_SIGNAL);
    expect(names()).toEqual([nameOf(1), nameOf(4), nameOf(5), "manifest.json"]);
    expect(await codeOf(undefined)).toBe(undefined);
  });
});

describe("resume", () => {
  test("reads what is behind the checkpoint and lists nothing before it", async ({ onTestFinished }) => {
    const { place, write } = bed(onTestFinished);
    await write(48);
    const read: string[] = [];
    const listed: number[] = [];
    const watched = (): ObjectPlace => {
      const real = place();
      return through(real, {
        get: (name, signal) => {
          read.push(name.slice(FOLDER.length + 1));
          return real.get(name, signal);
        },
        list: (folder, after, limit) => {
          listed.push(after, limit);
          return real.list(folder, after, limit);
        },
      });
    };
    expect(await sinkAt(watched()).open(SCOPE, feed.place(40))).toEqual(feed.place(48));
    expect(read).toEqual(["manifest.json", nameOf(37), nameOf(41), nameOf(45), nameOf(49)]);
    expect(listed).toEqual([45, 1]);
    read.length = 0;
    expect(await sinkAt(watched()).open(SCOPE, undefined)).toEqual(feed.place(48));
    expect(read).toEqual(["manifest.json", nameOf(45), nameOf(49)]);
    read.length = 0;
    // A checkpoint in the middle of an object, as a seek to the past makes it.
    expect(await sinkAt(watched()).open(SCOPE, feed.place(42))).toEqual(feed.place(48));
    expect(read).toEqual(["manifest.json", nameOf(41), nameOf(45), nameOf(49)]);
  });

  test("tells a gap behind the checkpoint, and an end below it, by name", async ({ onTestFinished }) => {
    const { place, write, file, codeOf } = bed(onTestFinished);
    await write(20);
    const kept = readFileSync(file(13));
    rmSync(file(13));
    const error = await refusal(sinkAt(place()).open(SCOPE, feed.place(4)));
    expect([error?.code, error?.definite]).toEqual(["object_missing", true]);
    expect(error?.message).toContain(objectName(FOLDER, 13));
    expect(await codeOf(12)).toBe("object_missing");
    // Before the checkpoint nothing is looked at, and what was put back is no gap.
    expect(await codeOf(20)).toBe(undefined);
    writeFileSync(file(13), kept);
    expect(await codeOf(4)).toBe(undefined);
    rmSync(file(17));
    expect(await codeOf(20)).toBe("object_missing");
    expect(await codeOf(16)).toBe(undefined);
    rmSync(file(1));
    expect(await codeOf(2)).toBe("object_missing");
    for (const first of [5, 9, 13]) rmSync(file(first));
    expect(await codeOf(20)).toBe("object_missing");
  });

  test("checks a thousand objects behind the checkpoint, and says that it did not check more", async ({
    onTestFinished,
  }) => {
    const { place, file, write } = bed(onTestFinished);
    const many = new EventFeed({ seed: 6, count: 1_100, logId: SCOPE.logId, bodyLength: 1 });
    await write(0);
    for (let after = 0; after < 1_100; after += 1) {
      const lines = [JSON.stringify(many.events[after])];
      const head = { scope: SCOPE, after: many.place(after), upTo: many.place(after + 1) };
      writeFileSync(file(after + 1), encodeObject(head, lines).bytes);
    }
    const lines = listener();
    expect(await sinkAt(place(), {}, lines).open(SCOPE, many.place(10))).toEqual(many.place(1_100));
    expect(lines.lines.map(({ event }) => event)).toEqual(["objects_unchecked"]);
    expect((await sinkAt(place(), {}, listener()).open(SCOPE, many.place(900)))?.sequence).toBe(1_100);
  });

  test("goes on within a batch of which only some objects were written", async ({ onTestFinished }) => {
    const { place } = bed(onTestFinished);
    let left = 3;
    const dying = through(place(), {
      put: (name, bytes, signal) => {
        left -= 1;
        if (left < 0) throw new OperatingError("planted", "planted", { definite: false });
        return place().put(name, bytes, signal);
      },
    });
    const sink = sinkAt(dying);
    // The manifest, put twice, and one object.
    await sink.open(SCOPE, feed.place(0));
    expect((await refusal(sink.apply(feed.batch(SCOPE, 0, 30), NO_SIGNAL)))?.code).toBe("planted");
    const again = sinkAt(place());
    // Where the log is read on from is where the batch began; what is covered already is its sequence.
    expect(await again.open(SCOPE, feed.place(0))).toEqual({ ...feed.place(0), sequence: 4 });
    await again.apply(feed.batch(SCOPE, 2, 17), NO_SIGNAL);
    await again.apply(feed.batch(SCOPE, 17, 30), NO_SIGNAL);
    expect((await readAll(place())).flatMap(({ events }) => events)).toEqual(feed.events.slice(0, 30));
  });
});

describe("a put whose outcome is not known", () => {
  test("is known again when it came after all, however the events come the next time", async ({ onTestFinished }) => {
    for (const upTo of [8, 10, 12, 6, 7, 9]) {
      const root = bed(onTestFinished);
      const real = root.place();
      let isDeaf = false;
      const sink = sinkAt(
        through(real, {
          put: async (name, bytes, signal) => {
            const outcome = await real.put(name, bytes, signal);
            if (isDeaf) throw new OperatingError("planted", "no answer", { definite: false });
            return outcome;
          },
        }),
        { eventsPerObject: 100 },
      );
      await sink.open(SCOPE, feed.place(0));
      await sink.apply(feed.batch(SCOPE, 0, 5), NO_SIGNAL);
      isDeaf = true;
      expect((await refusal(sink.apply(feed.batch(SCOPE, 5, 9), NO_SIGNAL)))?.code).toBe("planted");
      isDeaf = false;
      await sink.apply(feed.batch(SCOPE, 5, upTo), NO_SIGNAL);
      await sink.apply(feed.batch(SCOPE, upTo, 20), NO_SIGNAL);
      expect((await readAll(real)).flatMap(({ events }) => events)).toEqual(feed.events.slice(0, 20));
    }
  });

  test("that comes late is refused by the place", async ({ onTestFinished }) => {
    const { place } = bed(onTestFinished);
    const real = place();
    const late: (() => Promise<string>)[] = [];
    let isLost = false;
    const sink = sinkAt(
      through(real, {
        put: async (name, bytes, signal) => {
          if (!isLost) return real.put(name, bytes, signal);
          late.push(() => real.put(name, bytes, signal));
          throw new OperatingError("planted", "no answer", { definite: false });
        },
      }),
    );
    await sink.open(SCOPE, feed.place(0));
    isLost = true;
    for (const upTo of [3, 4, 2]) await refusal(sink.apply(feed.batch(SCOPE, 0, upTo), NO_SIGNAL));
    isLost = false;
    await sink.apply(feed.batch(SCOPE, 0, 1), NO_SIGNAL);
    expect(await Promise.all(late.map((put) => put()))).toEqual(["taken", "taken", "taken"]);
    await sink.apply(feed.batch(SCOPE, 1, 5), NO_SIGNAL);
    expect((await readAll(real)).flatMap(({ events }) => events)).toEqual(feed.events.slice(0, 5));
  });
});

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

function nameOf(first = 0): string {
  return objectName("", first).slice(1);
}

/** The text with a checksum that fits it. */
function resealed(text: string): string {
  const lines = text.split("\n").slice(0, -2);
  const before = lines.map((line) => `${line}\n`).join("");
  return `${before}],"sha256":"${createHash("sha256").update(before).digest("hex")}"}\n`;
}
