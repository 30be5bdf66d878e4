/** Brings events to a hub that is killed again and again while they are on their way, and says what has become of them: shared by the test and its drill. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import type { Sink } from "../../services/replication/sink.ts";
import { grpcKind } from "../../services/replication/sinks/grpc-kind.ts";
import { seededNumbers } from "../../services/runtime/seeded-numbers.ts";
import { EventFeed } from "../../services/testing/mod.ts";
import { type Cleanup, type RunningProcess, startProcess } from "../support/process.ts";
import { folder, makeSink } from "./outside-bed.ts";

const BATCH_MAX = 40;
/** Turns of the event loop between a batch that is sent and the kill: none, up to well behind its acknowledgement. */
const TURNS_MAX = 400;

/** Answers how many of the killed batches were acknowledged, stored without an acknowledgement, and lost. */
export async function killHubs(kills: number, seed: number, cleanup: Cleanup) {
  const draw = seededNumbers(seed);
  const path = join(folder(cleanup), "hub.db");
  const start = async (listen: string): Promise<{ hub: RunningProcess; address: string }> => {
    const hub = startProcess("test/replication/hub-process.ts", [listen, path], cleanup);
    const port = (await hub.line("listening ")).split(" ")[1];
    return { hub, address: `127.0.0.1:${port}` };
  };
  let { hub, address } = await start("127.0.0.1:0");
  const feed = new EventFeed({ seed, count: kills * BATCH_MAX * 3, bodyLength: 200 });
  const scope = feed.scope("to-hub");
  const counts = { acknowledged: 0, stored: 0, lost: 0 };
  let acknowledged = 0;
  let isAcknowledged = false;
  const bring = async (sink: Sink, from: number): Promise<number> => {
    const upTo = Math.min(feed.lastSequence, from + 1 + (draw() % BATCH_MAX));
    await sink.apply(feed.batch(scope, from, upTo), new AbortController().signal);
    acknowledged = upTo;
    return upTo;
  };
  for (let kill = 0; ; kill += 1) {
    const sink = makeSink(grpcKind, { address, plaintext: true });
    cleanup(() => sink.close());
    const place = (await sink.open(scope, feed.place(acknowledged)))?.sequence ?? 0;
    expect(place, "what was acknowledged is stored").toBeGreaterThanOrEqual(acknowledged);
    if (kill > 0) counts[isAcknowledged ? "acknowledged" : place > acknowledged ? "stored" : "lost"] += 1;
    let sequence = place;
    const isLast = kill === kills;
    for (let batch = 0; isLast ? sequence < feed.lastSequence : batch < 3; batch += 1)
      sequence = await bring(sink, sequence);
    if (isLast) {
      await sink.close();
      break;
    }
    const dying = bring(sink, sequence).catch((error: unknown) => error);
    for (let turns = draw() % TURNS_MAX; turns > 0; turns -= 1) await new Promise((resolve) => setImmediate(resolve));
    await hub.signal("SIGKILL");
    const outcome = await dying;
    isAcknowledged = typeof outcome === "number";
    if (!isAcknowledged) expect(outcome).toBeInstanceOf(OperatingError);
    await sink.close();
    ({ hub, address } = await start(address));
  }
  const db = new Database(path, { readonly: true });
  const rows = db
    .prepare<[], { sequence: number; event: string }>("SELECT sequence, event FROM hub_event ORDER BY rowid")
    .all();
  expect(db.pragma("integrity_check", { simple: true })).toBe("ok");
  db.close();
  expect(rows.map(({ sequence }) => sequence)).toEqual(feed.events.map(({ sequenceNumber }) => sequenceNumber));
  expect(rows.map(({ event }) => JSON.parse(event))).toEqual(JSON.parse(JSON.stringify(feed.events)));
  return counts;
}
