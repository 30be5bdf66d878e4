/** What objects promise beyond the suite of all sinks: names, bounds, gaps, damage, and puts whose outcome is not known. On files. */
import { createHash } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { encodeObject } from "../../services/replication/sinks/objects-format.ts";
import { NO_SIGNAL, type ObjectPlace, objectName } from "../../services/replication/sinks/objects-place.ts";
import { EventFeed } from "../../services/testing/mod.ts";
import { bed, feed, nameOf, refusal, through } from "./objects-bed.ts";
import { FOLDER, listener, readAll, SCOPE, sinkAt } from "./objects-subject.ts";

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
