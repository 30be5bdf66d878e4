/** Who did what to which item, when, and what it was before and after: a table of audit records, derived from events alone. */
import assert from "node:assert/strict";
import type { Database, Statement } from "better-sqlite3";
import { z } from "zod";
import type { ReplicationEvent } from "../../../contracts/envelope.ts";
import type { Checkpoint } from "../../../contracts/followers.ts";
import type { Sink, SinkBatch, SinkKind, SinkScope } from "../sink.ts";
import { type AuditedItem, type AuditStep, auditSteps, isEnd } from "./audit-steps.ts";
import { PlacedDatabase, placedFields } from "./placed-database.ts";
import { eventsBehind, placeIn } from "./places.ts";

const GovernanceOptions = z.strictObject({
  ...placedFields,
  heartbeats: z
    .boolean()
    .default(false)
    .describe("Whether heartbeats are recorded too, one record for each lease. They change neither status nor owner."),
  itemsMax: z
    .int()
    .min(1_000)
    .max(100_000_000)
    .default(10_000_000)
    .describe(
      "Items that are remembered between their events, on disk. Beyond it what was before is told only as far as the event says it.",
    ),
});
type GovernanceOptions = Readonly<z.infer<typeof GovernanceOptions>>;

export const governanceKind: SinkKind<GovernanceOptions> = {
  kind: "governance",
  summary: "Records who did what to which item, when, and what it was before and after, in a table on SQLite.",
  guarantee: "exactly once",
  options: GovernanceOptions,
  create: (options) => new GovernanceSink(options),
};

/** `audit_record` is there to be read by others. `audit_item` is the memory that it is derived with: it can be made again from the events. */
const TABLES = `
  CREATE TABLE IF NOT EXISTS audit_record (
    sink TEXT NOT NULL,
    region TEXT NOT NULL,
    shard TEXT NOT NULL,
    log_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    part INTEGER NOT NULL,
    at TEXT NOT NULL,
    action TEXT NOT NULL,
    principal TEXT,
    peer TEXT,
    item_id TEXT,
    resource_type TEXT,
    resource_id TEXT,
    before_status TEXT,
    before_owner TEXT,
    before_attempt INTEGER,
    after_status TEXT,
    after_owner TEXT,
    after_attempt INTEGER,
    code TEXT,
    reason TEXT,
    trace TEXT,
    details TEXT,
    PRIMARY KEY (sink, region, shard, sequence, part)
  ) STRICT;
  CREATE INDEX IF NOT EXISTS audit_record_of_resource ON audit_record (resource_type, resource_id, sequence);
  CREATE INDEX IF NOT EXISTS audit_record_of_principal ON audit_record (principal, sequence);
  CREATE TABLE IF NOT EXISTS audit_item (
    sink TEXT NOT NULL,
    region TEXT NOT NULL,
    shard TEXT NOT NULL,
    item_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    status TEXT NOT NULL,
    owner TEXT,
    attempt INTEGER,
    resource_type TEXT,
    resource_id TEXT,
    PRIMARY KEY (sink, region, shard, item_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS audit_item_by_age ON audit_item (sink, region, shard, sequence);
`;
const OF_SCOPE = "sink = ? AND region = ? AND shard = ?";
type Key = [sink: string, region: string, shard: string];

/** Events that say nothing of who did what. */
const UNTOLD: ReadonlySet<string> = new Set(["StateHash"]);

class GovernanceSink implements Sink {
  readonly #options: GovernanceOptions;
  #placed: PlacedDatabase | undefined;
  #tables: AuditTables | undefined;

  constructor(options: GovernanceOptions) {
    this.#options = options;
  }

  /** Throws: as `PlacedDatabase.open`. */
  async open(scope: SinkScope, checkpoint: Checkpoint | undefined): Promise<Checkpoint | undefined> {
    this.#placed = PlacedDatabase.open(this.#options, scope, (db) => db.exec(TABLES));
    this.#tables = new AuditTables(this.#placed.db, scope, this.#options.itemsMax);
    return this.#placed.place ?? (checkpoint && placeIn(checkpoint));
  }

  /** Throws: OperatingError `sink_taken`, and those of the store. */
  async apply(batch: SinkBatch, signal: AbortSignal): Promise<void> {
    const tables = this.#tables;
    assert(this.#placed !== undefined && tables !== undefined, "apply comes after open");
    const { heartbeats } = this.#options;
    this.#placed.apply(batch, signal, (place) => {
      for (const event of eventsBehind(batch.events, place?.sequence ?? 0)) {
        if (UNTOLD.has(event.eventType) || (event.eventType === "Heartbeat" && !heartbeats)) continue;
        const steps = auditSteps(event, (itemId) => tables.item(itemId));
        for (const [part, step] of steps.entries()) tables.put(event, part, step);
      }
      tables.forgetOldest();
    });
  }

  /** What comes again finds its records. Of items only what was remembered at the place is; where events are left out, nothing is. */
  async seek(to: Checkpoint): Promise<void> {
    const tables = this.#tables;
    assert(this.#placed !== undefined && tables !== undefined, "seek comes after open");
    this.#placed.seek(to, (place) => tables.forgetBehind(to.sequence <= (place?.sequence ?? 0) ? to.sequence : -1));
  }

  async close(): Promise<void> {
    this.#placed?.close();
  }
}

/** The statements of one scope. They belong into a transaction of the caller. */
class AuditTables {
  readonly #scope: SinkScope;
  readonly #key: Key;
  readonly #itemsMax: number;
  readonly #addRecord: Statement<unknown[]>;
  readonly #findItem: Statement<[...Key, string], AuditedItem>;
  readonly #putItem: Statement<unknown[]>;
  readonly #dropItem: Statement<[...Key, string]>;
  readonly #dropBehind: Statement<[...Key, number]>;
  readonly #dropOldest: Statement<[...Key, ...Key, number]>;
  readonly #count: Statement<Key, number>;
  /** Rows of `audit_item` at most: counted once, and one more for each that was written since. */
  #itemsAtMost: number;

  constructor(db: Database, scope: SinkScope, itemsMax: number) {
    this.#scope = scope;
    this.#key = [scope.sink, scope.region, scope.shard];
    this.#itemsMax = itemsMax;
    const places = (count: number): string => Array.from({ length: count }, () => "?").join(", ");
    this.#addRecord = db.prepare(`INSERT INTO audit_record VALUES (${places(23)}) ON CONFLICT DO NOTHING`);
    this.#findItem = db.prepare(
      `SELECT status, owner, attempt, resource_type AS resourceType, resource_id AS resourceId
       FROM audit_item WHERE ${OF_SCOPE} AND item_id = ?`,
    );
    this.#putItem = db.prepare(
      `INSERT INTO audit_item VALUES (${places(10)}) ON CONFLICT (sink, region, shard, item_id) DO UPDATE SET
       sequence = excluded.sequence, status = excluded.status, owner = excluded.owner, attempt = excluded.attempt,
       resource_type = excluded.resource_type, resource_id = excluded.resource_id`,
    );
    this.#dropItem = db.prepare(`DELETE FROM audit_item WHERE ${OF_SCOPE} AND item_id = ?`);
    this.#dropBehind = db.prepare(`DELETE FROM audit_item WHERE ${OF_SCOPE} AND sequence > ?`);
    this.#dropOldest = db.prepare(
      `DELETE FROM audit_item WHERE ${OF_SCOPE} AND item_id IN
       (SELECT item_id FROM audit_item WHERE ${OF_SCOPE} ORDER BY sequence LIMIT ?)`,
    );
    this.#count = db.prepare<Key, number>(`SELECT count(*) FROM audit_item WHERE ${OF_SCOPE}`).pluck();
    this.#itemsAtMost = this.#count.get(...this.#key) ?? 0;
  }

  item(itemId: string): AuditedItem | undefined {
    return this.#findItem.get(...this.#key, itemId);
  }

  put(event: ReplicationEvent, part: number, step: AuditStep): void {
    const { itemId, resourceType, resourceId, before, after } = step;
    const { metadata, error, details } = event;
    const reason = error?.message ?? details?.["reason"];
    this.#addRecord.run(
      ...[...this.#key, this.#scope.logId, event.sequenceNumber, part, event.timestamp, event.eventType],
      ...[metadata["rpc.principal"] ?? null, metadata["rpc.peer"] ?? null, itemId, resourceType, resourceId],
      ...[before?.status ?? null, before?.owner ?? null, before?.attempt ?? null],
      ...[after?.status ?? null, after?.owner ?? null, after?.attempt ?? null],
      ...[error?.code ?? null, typeof reason === "string" ? reason : null, metadata["trace.parent"] ?? null],
      // What happens to a shard is told by its details; to an item, by before and after.
      itemId === null && details !== undefined ? JSON.stringify(details) : null,
    );
    if (itemId === null || after === null) return;
    if (isEnd(after.status)) this.#dropItem.run(...this.#key, itemId);
    else {
      const { status, owner, attempt } = after;
      this.#putItem.run(...this.#key, itemId, event.sequenceNumber, status, owner, attempt, resourceType, resourceId);
      this.#itemsAtMost += 1;
    }
  }

  forgetBehind(sequence: number): void {
    this.#dropBehind.run(...this.#key, sequence);
  }

  /** Keeps the memory bounded, also where a filter lets no ends of items through. A tenth more goes than has to, so that this is seldom done. */
  forgetOldest(): void {
    if (this.#itemsAtMost <= this.#itemsMax) return;
    this.#itemsAtMost = this.#count.get(...this.#key) ?? 0;
    if (this.#itemsAtMost <= this.#itemsMax) return;
    // Counted again the next time: this may be rolled back.
    this.#dropOldest.run(...this.#key, ...this.#key, this.#itemsAtMost - Math.floor(this.#itemsMax * 0.9));
  }
}
