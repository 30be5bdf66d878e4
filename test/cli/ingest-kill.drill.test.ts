/**
 * The promise: whatever moment a dispatcher is killed at, `ingest delta` ends with the right catalog, each commit applied once.
 * Faults: SIGKILL of the only dispatcher, at moments drawn from a seed and met by what stands in the log; started again at once.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connectNats } from "../../services/jetstream/connect.ts";
import { readLogMessages } from "../../services/jetstream/read-log.ts";
import { decodeFrame } from "../../services/runtime/frame-codec.ts";
import { seededNumbers } from "../../services/runtime/seeded-numbers.ts";
import { addLine, deltaFolder, temporaryFolder } from "../catalog/delta-folder.ts";
import { type TestMesh, testMesh } from "../support/mesh.ts";
import { failOnLeakedSuiteServers, natsAvailability } from "../support/nats.ts";
import type { Cleanup, RunningProcess } from "../support/process.ts";
import { cli } from "./fake-terminal.ts";

const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
const KILLS = 3;
const nats = await natsAvailability();
const skipNote = nats.available ? "" : `, skipped: ${nats.reason}`;
const TABLES = 6;
const COMMITS = 12;
const ITEMS = TABLES * COMMITS;
const disposers: (() => Promise<void>)[] = [];
let mesh: TestMesh;

afterAll(failOnLeakedSuiteServers);
afterAll(async () => {
  for (const dispose of disposers) await dispose();
});
beforeAll(async () => {
  if (nats.available) mesh = await testMesh((dispose) => void disposers.unshift(dispose), { scope: "suite" });
});

/** Each seed has a shard and a dispatcher of its own. */
const shardOf = (seed: number): string => `seed-${seed}`;

/** Tables that each get one file more with each commit, and what the catalog must say of them. */
function lakehouse(end: Cleanup) {
  const names = Array.from({ length: TABLES }, (_, table) => `t${table}`);
  const commits = Array.from({ length: COMMITS }, (_, version) => addLine(`f${version}`, version + 1));
  const folder = deltaFolder(Object.fromEntries(names.map((name) => [name, commits])), (dispose) =>
    end(async () => dispose()),
  );
  const activeBytes = (COMMITS * (COMMITS + 1)) / 2;
  const table = { version: COMMITS - 1, activeFiles: COMMITS, activeBytes, columns: null, partitionColumns: [] };
  return { folder, tables: Object.fromEntries(names.map((name) => [name, table])) };
}

/** Kinds of events whose count is the moment of a kill: in the middle of enqueuing, of granting, of settling. */
const MOMENTS = ["enqueued", "leased", "completed"] as const;

/** Follows the log and kills the dispatcher at each moment. */
async function killAtMoments(seed: number, dispatcher: () => Promise<RunningProcess>, end: Cleanup): Promise<void> {
  const next = seededNumbers(seed);
  const random = (): number => next() / 2 ** 32;
  const moments = Array.from({ length: KILLS }, () => ({
    type: MOMENTS[Math.floor(random() * MOMENTS.length)],
    count: 1 + Math.floor(random() * (ITEMS - 1)),
  }));
  const counts = new Map<string, number>();
  const connection = await connectNats({ servers: mesh.server.url, name: "test" });
  end(() => connection.close());
  let running = await dispatcher();
  for await (const message of readLogMessages(connection, { region: "local", shard: shardOf(seed), live: true })) {
    const decoded = decodeFrame(message.payload);
    if (decoded.kind === "void") continue;
    for (const { type } of decoded.frame.events) counts.set(type, (counts.get(type) ?? 0) + 1);
    const due = moments.findIndex(({ type = "", count }) => (counts.get(type) ?? 0) >= count);
    if (due === -1) continue;
    moments.splice(due, 1);
    await running.signal("SIGKILL");
    running = await dispatcher();
    if (moments.length === 0) return;
  }
}

describe.skipIf(!nats.available)(`ingest delta while the dispatcher is killed${skipNote}`, { concurrent: true }, () => {
  test.for(SEEDS)("ends with the right catalog, seed %i", { timeout: 120_000 }, async (seed, { onTestFinished }) => {
    const dataDir = temporaryFolder(onTestFinished);
    const { folder, tables } = lakehouse(onTestFinished);
    const place = ["--nats-url", mesh.server.url, "--shard", shardOf(seed), "--json"];
    const ingest = () => cli("ingest", "delta", folder, "--data-dir", dataDir, ...place);
    const dispatcher = () => mesh.dispatcher(`d${seed}`, ["--shards", shardOf(seed)]);
    const killing = killAtMoments(seed, dispatcher, onTestFinished);
    const first = await ingest();
    await killing;
    expect({ code: first.code, notes: first.notes }).toEqual({ code: 0, notes: "" });
    const result = { tables, items: ITEMS, completed: ITEMS };
    expect(JSON.parse(first.out)).toEqual({ ...result, duplicates: 0 });
    const second = await ingest();
    expect(JSON.parse(second.out)).toEqual({ ...result, duplicates: ITEMS });
    const audit = await cli("log", "verify", ...place);
    expect(JSON.parse(audit.out)).toMatchObject({
      ok: true,
      eventsByType: { enqueued: ITEMS, completed: ITEMS },
      terms: Array.from({ length: KILLS + 1 }, (_, index) => ({ term: index + 1 })),
      counts: { pending: 0, active: 0, deadLettered: 0, completed: ITEMS },
    });
  });
});
