/** What tests of the objects sink share: a folder of objects, what is done to it, and places that misbehave. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OperatingError } from "../../contracts/errors.ts";
import { FilePlace } from "../../services/replication/sinks/objects-files.ts";
import { NO_SIGNAL, type ObjectPlace, objectName } from "../../services/replication/sinks/objects-place.ts";
import { EventFeed } from "../../services/testing/mod.ts";
import type { Cleanup } from "../support/process.ts";
import { FOLDER, SCOPE, sinkAt, temporaryFolder } from "./objects-subject.ts";

export const feed = new EventFeed({ seed: 5, count: 60, logId: SCOPE.logId });

/** A folder of objects, and what a test does to it. */
export function bed(cleanup: Cleanup) {
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

export async function refusal(attempt: Promise<unknown>): Promise<OperatingError | undefined> {
  try {
    await attempt;
    return undefined;
  } catch (error) {
    if (error instanceof OperatingError) return error;
    throw error;
  }
}

/** A place that does what it is told to, and then, or before, something else. */
export function through(place: ObjectPlace, more: Partial<ObjectPlace>): ObjectPlace {
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

export function nameOf(first = 0): string {
  return objectName("", first).slice(1);
}

/** The text with a checksum that fits it. */
export function resealed(text: string): string {
  const lines = text.split("\n").slice(0, -2);
  const before = lines.map((line) => `${line}\n`).join("");
  return `${before}],"sha256":"${createHash("sha256").update(before).digest("hex")}"}\n`;
}
