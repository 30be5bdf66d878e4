/** The sinks whose processes are killed: how they are made, and what stands at their places. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import { openSqlite } from "../../services/persistence/sqlite.ts";
import type { Sink, SinkDeps } from "../../services/replication/sink.ts";
import { jsonLinesKind } from "../../services/replication/sinks/json-lines-sink.ts";
import { sqliteKind } from "../../services/replication/sinks/sqlite-sink.ts";
import { createClock } from "../../services/runtime/clock.ts";
import { SCOPE } from "./killed-feed.ts";

const ROTATE_BYTES = 64 * 1024;
const FILE = "events.db";
const INTERVAL_MS = 50;

export interface KilledSink {
  readonly name: string;
  make(folder: string, deps: SinkDeps): Sink;
  /** What stands there, in order. Nobody writes meanwhile. */
  delivered(folder: string): readonly ReplicationEvent[];
}

export const KILLED_SINKS: readonly KilledSink[] = [
  {
    name: "json-lines",
    make: (path, deps) =>
      jsonLinesKind.create(jsonLinesKind.options.parse({ folder: path, rotateBytes: ROTATE_BYTES, gzip: true }), deps),
    delivered: readLines,
  },
  {
    name: "sqlite",
    make: (folder, deps) => sqliteKind.create(sqliteKind.options.parse({ path: join(folder, FILE) }), deps),
    delivered: readRows,
  },
];

/** What counts as done with it may be lost with the power, and must come again then. */
export const INTERVAL_SINK: KilledSink = {
  name: "json-lines by interval",
  make: (path, deps) =>
    jsonLinesKind.create(
      jsonLinesKind.options.parse({ folder: path, rotateBytes: ROTATE_BYTES, fsync: "interval", fsyncMs: INTERVAL_MS }),
      deps,
    ),
  delivered: readLines,
};

/** What these sinks use of a process; `warn` takes the names of warnings. */
export const depsOf = (warn: (event: string) => void): SinkDeps => {
  const reporter = { info: () => undefined, warn, error: warn };
  return { reporter, clock: createClock() } as unknown as SinkDeps;
};

function readLines(folder: string): ReplicationEvent[] {
  const below = join(folder, SCOPE.region, SCOPE.shard);
  const names = readdirSync(below).filter((name) => /\.jsonl(\.gz)?$/.test(name));
  // Of a file that was being compressed both forms may be there; the compressed one is whole.
  const kept = names.filter((name) => !names.includes(`${name}.gz`)).sort();
  return kept.flatMap((name) => {
    const bytes = readFileSync(join(below, name));
    const text = (name.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8");
    // What is behind the last end of line is torn, and is nobody's.
    return text
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  });
}

function readRows(folder: string): ReplicationEvent[] {
  const db = openSqlite(join(folder, FILE));
  try {
    const rows = db.prepare<[], string>("SELECT event FROM events ORDER BY rowid").pluck().all();
    return rows.map((row) => JSON.parse(row));
  } finally {
    db.close();
  }
}
