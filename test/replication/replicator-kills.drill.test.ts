/** A hundred thousand events while the replicator is killed twenty times: no sink has a hole, a double or a torn file, and its memory stays bounded. */
import { createReadStream, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { createGunzip } from "node:zlib";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readCheckpoints } from "../../services/jetstream/checkpoints.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { openSqlite } from "../../services/persistence/mod.ts";
import { createIds } from "../../services/runtime/ids.ts";
import { seededNumbers } from "../../services/runtime/seeded-numbers.ts";
import { writeLog } from "../bench/recovery-log.ts";
import { failOnLeakedServers, natsServer, skipWithoutNats } from "../support/nats.ts";
import { type RunningProcess, startProcess } from "../support/process.ts";
import { readAll } from "./changefeed-bed.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

const EVENTS = 100_000;
const KILLS = 20;
const SHARD = "killed";
const RSS_MIB_MAX = 600;

test("after twenty kills each sink holds every event, in order", async ({ onTestFinished }) => {
  const cleanup = (end: () => Promise<void>): void => onTestFinished(end);
  const seed = Number.parseInt(createIds().id("seed").replace(/\D/g, "").slice(0, 8) || "7", 10);
  console.log(`replicator-kills: seed ${seed}`);
  const draw = seededNumbers(seed);
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-kills-"));
  cleanup(async () => rmSync(folder, { recursive: true, force: true }));
  const server = await natsServer({ cleanup });
  mkdirSync(join(folder, "written"));
  const plan = {
    url: server.url,
    region: "local",
    shard: SHARD,
    peerId: "writer",
    mix: "life" as const,
    snapshotAt: 1,
  };
  const written = await writeLog({
    ...plan,
    events: EVENTS,
    dataDir: join(folder, "written"),
    progress: () => undefined,
  });
  const database = join(folder, "events.db");
  const sinks = [
    { name: "rows", kind: "sqlite", options: { path: database } },
    {
      name: "lines",
      kind: "json-lines",
      options: { folder: join(folder, "lines"), rotateBytes: 1_000_000, gzip: true },
    },
    { name: "objects", kind: "objects", options: { store: "files", folder: join(folder, "objects") } },
    { name: "feed", kind: "changefeed", options: {} },
  ].map((sink) => ({ ...sink, register: false, batch: { events: 500 } }));
  const start = (): RunningProcess =>
    startProcess(
      "services/replicator/main.ts",
      [
        ...["--nats-url", server.url, "--shards", SHARD, "--data-dir", join(folder, "data"), "--log-level", "warn"],
        ...["--sinks", JSON.stringify(sinks)],
      ],
      cleanup,
    );
  const connection = await connectNats({ servers: server.url, name: "witness" });
  cleanup(() => connection.close());
  const sequences = async (): Promise<number[]> => {
    const checkpoints = await readCheckpoints(connection, "local", [SHARD]);
    return sinks.map(({ name }) => checkpoints.find(({ follower }) => follower === name)?.checkpoint?.sequence ?? 0);
  };
  const reached: string[] = [];
  let rssMib = 0;
  for (let kill = 1; kill <= KILLS; kill += 1) {
    const replicator = start();
    const goal = ((kill - 0.5) * written.sequence) / KILLS;
    // Killed somewhere on its way, at the latest when the slowest sink has its share.
    const endMs = performance.now() + 400 + (draw() % 2_000);
    while (performance.now() < endMs || Math.min(...(await sequences())) < goal) {
      await delay(20);
      rssMib = Math.max(rssMib, rssOf(replicator));
      if (replicator.child.exitCode !== null) throw new Error(replicator.lines.join("\n"));
      if (performance.now() > endMs + 20_000) throw new Error(`no progress: ${replicator.lines.join("\n")}`);
    }
    await replicator.signal("SIGKILL");
    reached.push(String(Math.min(...(await sequences()))));
  }
  const last = start();
  while (Math.min(...(await sequences())) < written.sequence) await delay(50);
  await last.signal("SIGTERM");
  console.log(`reached at the kills: ${reached.join(", ")}; at most ${rssMib} MiB`);
  expect(rssMib).toBeLessThan(RSS_MIB_MAX);

  const db = openSqlite(database);
  const rows = db.prepare("SELECT count(*) AS count, min(sequence) AS first, max(sequence) AS last FROM events").get();
  db.close();
  expect(rows).toEqual({ count: written.sequence, first: 1, last: written.sequence });
  expectAll("json-lines", await linesOf(folder), written.sequence);
  expectAll("objects", objectsOf(folder), written.sequence);
  const feed = await readAll(connection, { region: "local", shard: SHARD });
  expectAll(
    "changefeed",
    feed.map(({ event }) => event.sequenceNumber),
    written.sequence,
  );
});

function rssOf({ child }: RunningProcess): number {
  try {
    const [, kib = "0"] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8")) ?? [];
    return Math.round(Number(kib) / 1_024);
  } catch {
    return 0; // it has just ended
  }
}

async function linesOf(folder: string): Promise<number[]> {
  const files = globSync("lines/**/*.jsonl*", { cwd: folder }).sort();
  const sequences: number[] = [];
  for (const file of files) {
    const bytes = createReadStream(join(folder, file));
    const input = file.endsWith(".gz") ? bytes.pipe(createGunzip()) : bytes;
    for await (const line of createInterface({ input })) sequences.push(JSON.parse(line).sequenceNumber);
  }
  return sequences;
}

function objectsOf(folder: string): number[] {
  const files = globSync("objects/**/*.json", { cwd: folder }).filter((name) => !name.endsWith("manifest.json"));
  return files.sort().flatMap((name) => {
    const { events } = JSON.parse(readFileSync(join(folder, name), "utf8")) as { events: { sequenceNumber: number }[] };
    return events.map(({ sequenceNumber }) => sequenceNumber);
  });
}

function expectAll(what: string, sequences: readonly number[], last: number): void {
  const wrong = sequences.findIndex((sequence, index) => sequence !== index + 1);
  expect({ what, count: sequences.length, wrong }).toEqual({ what, count: last, wrong: -1 });
}
