/** What sinks promise when their process is killed: what counted as done is there, each event once, and the next one goes on. */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startProcess } from "../support/process.ts";
import { FAST_FOLDER } from "./fast-folder.ts";
import { killedFeed, SCOPE } from "./killed-feed.ts";
import { depsOf, KILLED_SINKS } from "./killed-sinks.ts";

const EVENTS = 1_500;

test.for(KILLED_SINKS)("the $name sink is killed and has each event once", async (subject, { onTestFinished }) => {
  const folder = mkdtempSync(join(FAST_FOLDER, "killed-sink-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const feed = killedFeed(EVENTS);
  const args = [subject.name, folder, String(EVENTS)];
  const running = startProcess("test/replication/sink-process.ts", args, onTestFinished);
  await running.line("batch 17 ");
  const sink = subject.make(
    folder,
    depsOf(() => undefined),
  );
  await running.signal("SIGKILL");
  await running.ended;
  const applied = Number(
    running.lines
      .findLast((line) => line.startsWith("batch"))
      ?.split(" ")
      .at(-1),
  );
  const delivered = subject.delivered(folder);
  expect(delivered.length).toBeGreaterThanOrEqual(applied);
  expect(delivered).toEqual(feed.events.slice(0, delivered.length));
  const place = await sink.open(SCOPE, feed.place(0));
  expect(place?.sequence).toBeGreaterThanOrEqual(applied);
  await sink.apply(feed.batch(SCOPE, place?.sequence ?? 0, EVENTS), new AbortController().signal);
  await sink.close();
  expect(subject.delivered(folder)).toEqual(feed.events.slice(0, EVENTS));
});
