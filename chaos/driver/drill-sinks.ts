/** The sinks of a run's replicator: how each is configured, and how what it holds is read without asking it. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { NatsConnection } from "@nats-io/transport-node";
import Database from "better-sqlite3";
import { ReplicationEvent } from "../../contracts/envelope.ts";
import { changesStream } from "../../contracts/subjects.ts";
import { createSinkKinds, type SinkGuarantee } from "../../services/replication/mod.ts";
import { readLinesFolder } from "../../services/replication/sinks/lines-names.ts";
import { readStream } from "./replica-dump.ts";

export interface SinkPlaces {
  /** Of the sinks' data. */
  readonly folder: string;
  readonly connection: NatsConnection;
  readonly region: string;
  readonly shard: string;
}

interface DrillSink {
  readonly kind: string;
  readonly options: (folder: string) => Readonly<Record<string, unknown>>;
  /** Every event that it holds, in the order in which it holds them. Throws for what is no event. */
  readonly read: (places: SinkPlaces) => Promise<readonly ReplicationEvent[]>;
  /**
   * The highest sequence that it holds at this moment; 0 for none. Absent where an answer may be an old one: a server that is cut off
   * tells of a stream as it was.
   */
  readonly reach?: (places: SinkPlaces) => Promise<number>;
}

const BATCH_EVENTS = 200;
/** Small, so that a run has many files. Bytes. */
const ROTATE_BYTES = 1_048_576;
const STREAM_REPLICAS = 3;

const linesFolder = (folder: string): string => join(folder, "lines");
const rowsFile = (folder: string): string => join(folder, "rows.db");

/** By name. */
export const drillSinks: Readonly<Record<string, DrillSink>> = {
  lines: {
    kind: "json-lines",
    options: (folder) => ({ folder: linesFolder(folder), rotateBytes: ROTATE_BYTES }),
    read: async (places) => (await Promise.all((await lineFiles(places)).map(readLines))).flat(),
    reach: reachOfLines,
  },
  feed: {
    kind: "changefeed",
    options: () => ({ replicas: STREAM_REPLICAS }),
    read: async ({ connection, region, shard }) =>
      (await readStream(connection, changesStream(region, shard))).map(({ payload }) => eventOf(payload)),
  },
  rows: {
    kind: "sqlite",
    options: (folder) => ({ path: rowsFile(folder) }),
    read: async (places) => select<string>(places, "SELECT event FROM events ORDER BY rowid").map(eventOf),
    reach: async (places) => {
      const [tables] = select<number>(places, "SELECT count(*) FROM sqlite_schema WHERE name = 'events'");
      if (tables !== 1) return 0; // it is being made
      return select<number>(places, "SELECT coalesce(max(sequence), 0) FROM events")[0] ?? 0;
    },
  },
};

const kinds = createSinkKinds();
/** What each promises, by its name. */
export const sinkGuarantees: Readonly<Record<string, SinkGuarantee>> = Object.fromEntries(
  Object.entries(drillSinks).map(([name, { kind }]) => [name, guaranteeOf(kind)]),
);

function guaranteeOf(kind: string): SinkGuarantee {
  const found = kinds.all.find((each) => each.kind === kind);
  if (found === undefined) throw new Error(`there is no kind of sink ${kind}`);
  return found.guarantee;
}

/** As `--sinks` takes them. Nothing is registered in the shard: its log is kept whole anyway, and the checker would look for who asked. */
export function sinksFlag(folder: string): string {
  const configs = Object.entries(drillSinks).map(([name, { kind, options }]) => {
    return { name, kind, options: options(folder), batch: { events: BATCH_EVENTS }, register: false };
  });
  return JSON.stringify(configs);
}

const eventOf = (text: string): ReplicationEvent => ReplicationEvent.parse(JSON.parse(text));

/** Paths of the data files in the order of their events. */
async function lineFiles({ folder, region, shard }: SinkPlaces): Promise<readonly string[]> {
  const path = join(linesFolder(folder), region, shard);
  if (!existsSync(path)) return [];
  return (await readLinesFolder(path)).data.map(({ name }) => join(path, name));
}

/** Whole lines; a last one without its end is being written. */
async function wholeLines(path: string): Promise<readonly string[]> {
  return (await readFile(path, "utf8")).split("\n").slice(0, -1);
}

/** An empty file gives way to the next while the sink is at work. */
function emptyIfGone(error: NodeJS.ErrnoException): readonly string[] {
  if (error.code === "ENOENT") return [];
  throw error;
}

async function readLines(path: string): Promise<readonly ReplicationEvent[]> {
  return (await wholeLines(path)).map(eventOf);
}

async function reachOfLines(places: SinkPlaces): Promise<number> {
  for (const path of (await lineFiles(places)).toReversed()) {
    const last = (await wholeLines(path).catch(emptyIfGone)).at(-1);
    if (last !== undefined) return eventOf(last).sequenceNumber;
  }
  return 0;
}

/** The one column of a query. Empty where there is no file yet. */
function select<T>({ folder }: SinkPlaces, sql: string): readonly T[] {
  const path = rowsFile(folder);
  if (!existsSync(path)) return [];
  const db = new Database(path, { readonly: true });
  try {
    return db.prepare<[], T>(sql).pluck().all();
  } finally {
    db.close();
  }
}
