/**
 * The promise: whatever moment a dispatcher is killed at, `ingest delta` ends with the right catalog, each commit applied once.
 * Faults: SIGKILL of the only dispatcher, at moments drawn from a seed and met by what stands in the log; started again at once.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { connectNats } from "../../services/jetstream/connect.ts";
import { readLogMessages } from "../../services/jetstream/read-log.ts";
import { decodeFrame } from "../../services/runtime/frame-codec.ts";
import { type TestMesh, testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, natsAvailability } from "../support/nats.ts";
import type { RunningProcess } from "../support/process.ts";
import { startCli } from "./cli-process.ts";
import { ingestInput } from "./golden-tables.ts";

const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
const KILLS = 3;
const nats = await natsAvailability();
const skipNote = nats.available ? "" : `, skipped: ${nats.reason}`;
const input = ingestInput();

/** mulberry32: small, and the same everywhere. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Kinds of events whose count is the moment of a kill: in the middle of enqueuing, of granting, of settling. */
const MOMENTS = ["enqueued", "leased", "completed"] as const;

/** Follows the log and kills the dispatcher at each moment; returns the one that runs in the end. */
async function killAtMoments(mesh: TestMesh, first: RunningProcess, seed: number): Promise<void> {
  const random = randomOf(seed);
  const moments = Array.from({ length: KILLS }, () => ({
    type: MOMENTS[Math.floor(random() * MOMENTS.length)],
    count: 1 + Math.floor(random() * (input.items - 1)),
  }));
  const counts = new Map<string, number>();
  const connection = await connectNats({ servers: mesh.server.url, name: "test" });
  onTestFinished(() => connection.close());
  let dispatcher = first;
  for await (const message of readLogMessages(connection, { region: "local", shard: "default", live: true })) {
    const decoded = decodeFrame(message.payload);
    if (decoded.kind === "void") continue;
    for (const { type } of decoded.frame.events) counts.set(type, (counts.get(type) ?? 0) + 1);
    const due = moments.findIndex(({ type = "", count }) => (counts.get(type) ?? 0) >= count);
    if (due === -1) continue;
    moments.splice(due, 1);
    await dispatcher.signal("SIGKILL");
    dispatcher = await mesh.dispatcher("d1");
    if (moments.length === 0) return;
  }
}

afterEach(failOnLeakedServers);

describe.skipIf(!nats.available)(`ingest delta while the dispatcher is killed${skipNote}`, () => {
  test.each(SEEDS)("ends with the right catalog, seed %i", { timeout: 120_000 }, async (seed) => {
    const mesh = await testMesh(onTestFinished);
    const dispatcher = await mesh.dispatcher("d1");
    const dataDir = mkdtempSync(join(tmpdir(), "omnirelay-kill-"));
    onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
    const args = ["ingest", "delta", input.folder, "--nats-url", mesh.server.url, "--data-dir", dataDir, "--json"];
    const killing = killAtMoments(mesh, dispatcher, seed);
    const first = await startCli(args, onTestFinished).ended;
    await killing;
    expect({ code: first.code, notes: first.notes }).toEqual({ code: 0, notes: "" });
    const result = { tables: input.tables, items: input.items, completed: input.items };
    expect(JSON.parse(first.out)).toEqual({ ...result, duplicates: 0 });
    const second = await startCli(args, onTestFinished).ended;
    expect(JSON.parse(second.out)).toEqual({ ...result, duplicates: input.items });
    const audit = await startCli(["log", "verify", "--nats-url", mesh.server.url, "--json"], onTestFinished).ended;
    expect(JSON.parse(audit.out)).toMatchObject({
      ok: true,
      eventsByType: { enqueued: input.items, completed: input.items },
      terms: Array.from({ length: KILLS + 1 }, (_, index) => ({ term: index + 1 })),
      counts: { pending: 0, active: 0, deadLettered: 0, completed: input.items },
    });
  });
});
