/** The sinks of files against kills at many moments, a cut of the power, and a volume that is full. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { missingRight } from "../../chaos/disk/rights.ts";
import { Volume } from "../../chaos/disk/volume.ts";
import { seededNumbers } from "../../services/runtime/seeded-numbers.ts";
import { type Cleanup, type RunningProcess, startProcess } from "../support/process.ts";
import { killedFeed } from "./killed-feed.ts";
import { INTERVAL_SINK, KILLED_SINKS, type KilledSink } from "./killed-sinks.ts";

const EVENTS = 8_000;
const KILLS = 20;
const SEED = 3;
const VOLUME_BYTES = 64 * 1024 * 1024;

const feed = killedFeed(EVENTS);

function start({ name }: KilledSink, folder: string, cleanup: Cleanup): RunningProcess {
  return startProcess("test/replication/sink-process.ts", [name, folder, String(EVENTS)], cleanup);
}

/** What counted as done, by the process's own word. */
const appliedBy = ({ lines }: RunningProcess): number =>
  Number(
    lines
      .findLast((line) => /^(batch|open)/.test(line))
      ?.split(" ")
      .at(-1),
  );

function requireWhole(subject: KilledSink, folder: string, atLeast: number): void {
  const delivered = subject.delivered(folder);
  expect(delivered.length).toBeGreaterThanOrEqual(atLeast);
  expect(delivered).toEqual(feed.events.slice(0, delivered.length));
}

function makeFolder(cleanup: (dispose: () => void) => void): string {
  const folder = mkdtempSync(join(tmpdir(), "killed-sink-"));
  cleanup(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test.for(KILLED_SINKS)(
  `the $name sink is killed ${KILLS} times and has each event once (seed ${SEED})`,
  async (subject, { onTestFinished }) => {
    const folder = makeFolder(onTestFinished);
    const draw = seededNumbers(SEED);
    let kills = 0;
    while (kills < KILLS) {
      const running = start(subject, folder, onTestFinished);
      await running.line(`batch ${1 + (draw() % 16)} `);
      await running.signal("SIGKILL");
      await running.ended;
      kills += 1;
      requireWhole(subject, folder, appliedBy(running));
    }
    const last = start(subject, folder, onTestFinished);
    await last.line("done");
    expect(subject.delivered(folder)).toEqual(feed.events);
  },
);

test.for([...KILLED_SINKS, INTERVAL_SINK].flatMap((subject) => [5, 90].map((batch) => ({ ...subject, batch }))))(
  "a cut of the power during batch $batch loses nothing of the $name sink that was on the disk, and leaves no gap",
  async (subject, { onTestFinished, skip }) => {
    const reason = await missingRight("volume");
    if (reason !== undefined) skip(reason);
    const volume = await Volume.create(makeFolder(onTestFinished), "events", VOLUME_BYTES);
    onTestFinished(() => volume.close());
    const running = start(subject, volume.folder, onTestFinished);
    await running.line(`batch ${subject.batch} `);
    await running.signal("SIGSTOP");
    await volume.cut();
    await running.signal("SIGKILL");
    await running.ended;
    const applied = appliedBy(running);
    await volume.restore();
    const next = start(subject, volume.folder, onTestFinished);
    const opened = await next.line("open ");
    console.log(`${subject.name}: ${applied} had counted as done, the place behind the cut: ${opened}`);
    await next.line("batch 3 ");
    await next.signal("SIGKILL");
    await next.ended;
    const wasDurable = subject.name === INTERVAL_SINK.name ? 0 : applied;
    requireWhole(subject, volume.folder, Math.max(wasDurable, appliedBy(next)));
  },
);

test.for(KILLED_SINKS)(
  "a full volume stops the $name sink with a typed error, and room lets it go on without a loss",
  async (subject, { onTestFinished, skip }) => {
    const reason = await missingRight("volume");
    if (reason !== undefined) skip(reason);
    const volume = await Volume.create(makeFolder(onTestFinished), "events", VOLUME_BYTES);
    onTestFinished(() => volume.close());
    const running = start(subject, volume.folder, onTestFinished);
    await running.line("batch 20 ");
    volume.fill(0);
    expect(await running.line("error ")).toMatch(/^error (sink|store)_full$/);
    requireWhole(subject, volume.folder, 0);
    volume.makeRoom();
    await running.line("done");
    expect(subject.delivered(volume.folder)).toEqual(feed.events);
  },
);
