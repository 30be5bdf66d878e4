/** A file of the SQLite sink as a subject of the suite, with what a test does to it. */
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Database } from "better-sqlite3";
import { openSqlite } from "../../services/persistence/sqlite.ts";
import type { SinkScope } from "../../services/replication/sink.ts";
import { SqliteSink, sqliteKind } from "../../services/replication/sinks/sqlite-sink.ts";
import { createClock } from "../../services/runtime/clock.ts";
import type { SinkUnderTest } from "../../services/testing/mod.ts";
import { FAST_FOLDER } from "./fast-folder.ts";

export const SCOPE: SinkScope = { sink: "sql", region: "eu", shard: "orders", logId: "the-log" };

export interface EventRow {
  readonly region: string;
  readonly shard: string;
  readonly sequence: number;
  readonly timestamp: string;
  readonly event_type: string;
  readonly item_id: string | null;
  readonly resource_type: string | null;
  readonly resource_id: string | null;
  readonly owner_peer_id: string | null;
  readonly ownership_token: number | null;
  readonly event: string;
}

/** A file, and the sinks of any number of processes on it. */
export class SqliteBed {
  readonly root: string;
  readonly #sinks: SqliteSink[] = [];
  #other: Database | undefined;

  static async make(): Promise<SqliteBed> {
    return new SqliteBed(await mkdtemp(join(FAST_FOLDER, "sqlite-sink-")));
  }

  private constructor(root: string) {
    this.root = root;
  }

  get path(): string {
    return join(this.root, "below", "events.db");
  }

  /** Another process's connection to the file, which exists. */
  get other(): Database {
    this.#other ??= openSqlite(this.path);
    return this.#other;
  }

  sink(options: Readonly<Record<string, unknown>> = {}, clock: SqliteClock = createClock()): SqliteSink {
    const sink = new SqliteSink(sqliteKind.options.parse({ path: this.path, busyMs: 0, ...options }), { clock });
    this.#sinks.push(sink);
    return sink;
  }

  /** By shard and sequence; table `events` unless another one is named. */
  rows(table = "events"): EventRow[] {
    return this.other.prepare<[], EventRow>(`SELECT * FROM "${table}" ORDER BY region, shard, sequence`).all();
  }

  sequences(shard: string = SCOPE.shard): number[] {
    return this.rows().flatMap((row) => (row.shard === shard ? [row.sequence] : []));
  }

  async close(): Promise<void> {
    for (const sink of this.#sinks) await sink.close();
    this.#other?.close();
    await rm(this.root, { recursive: true, force: true });
  }
}
type SqliteClock = ConstructorParameters<typeof SqliteSink>[1]["clock"];

export async function sqliteSubject(): Promise<SinkUnderTest> {
  const bed = await SqliteBed.make();
  return {
    make: () => bed.sink(),
    scope: SCOPE,
    guarantee: sqliteKind.guarantee,
    isFenced: true,
    // In the order in which they were written.
    delivered: async () => {
      const rows = bed.other.prepare<[], EventRow>("SELECT * FROM events ORDER BY rowid").all();
      return rows.map(({ sequence, event }) => {
        const body: unknown = JSON.parse(event).resourceLeaseItemPayload?.body;
        return { sequenceNumber: sequence, ...(typeof body === "string" ? { body } : {}) };
      });
    },
    interrupt: async () => void bed.other.exec("BEGIN IMMEDIATE"),
    restore: async () => void bed.other.exec("ROLLBACK"),
    close: () => bed.close(),
  };
}
