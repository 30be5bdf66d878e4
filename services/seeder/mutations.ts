/** The synthetic lakehouse: an endless, repeatable story of tables being made, altered, committed to and vacuumed. Pure. */
import { createHash } from "node:crypto";
import type { LakehouseMutation } from "../catalog/mod.ts";
import { seededNumbers } from "../runtime/seeded-numbers.ts";

export interface MutationSpace {
  /** The same seed tells the same story. */
  readonly seed: string;
  readonly catalogs: number;
  /** Per catalog. */
  readonly tables: number;
}

const NAMESPACES = ["sales", "ops", "web", "finance"] as const;
const COLUMNS_FIRST = ["id", "at", "region", "amount"] as const;
/** Out of 100 mutations of a table that exists; the rest are snapshots, as in a real lakehouse. */
const ALTER_PERCENT = 10;
const VACUUM_PERCENT = 8;
const FILES_PER_SNAPSHOT_MAX = 8;
const FILE_BYTES_MAX = 64 * 1024 * 1024;
const SNAPSHOTS_KEPT_MAX = 5;

/** The mutations in order, for ever. The n-th depends on the space and n only. */
export function* mutations(space: MutationSpace): Generator<LakehouseMutation, never, void> {
  const draw = drawFrom(space.seed);
  /** Columns added so far per table that was made. */
  const columnsAdded = new Map<string, number>();
  while (true) {
    const table = tableName(draw(space.catalogs), draw(space.tables));
    const added = columnsAdded.get(table);
    if (added === undefined) {
      columnsAdded.set(table, 0);
      yield { kind: "CreateTable", table, columns: [...COLUMNS_FIRST], partitionColumns: ["region"] };
      continue;
    }
    const chance = draw(100);
    if (chance < ALTER_PERCENT) {
      columnsAdded.set(table, added + 1);
      yield { kind: "AlterSchema", table, add: [`attribute_${added + 1}`] };
    } else if (chance < ALTER_PERCENT + VACUUM_PERCENT)
      yield { kind: "Vacuum", table, keep: 1 + draw(SNAPSHOTS_KEPT_MAX) };
    else {
      const files = 1 + draw(FILES_PER_SNAPSHOT_MAX);
      yield { kind: "CommitSnapshot", table, files, bytes: files * (1 + draw(FILE_BYTES_MAX)) };
    }
  }
}

/** `lake1.sales.table_0001`: catalog, namespace, table. */
function tableName(catalog: number, table: number): string {
  const namespace = NAMESPACES[table % NAMESPACES.length];
  return `lake${catalog + 1}.${namespace}.table_${String(table + 1).padStart(4, "0")}`;
}

/** Draws whole numbers below a limit from a seed. */
function drawFrom(seed: string): (limit: number) => number {
  const next = seededNumbers(createHash("sha256").update(seed).digest().readUInt32LE(0));
  return (limit) => next() % limit;
}

/** The shard of a table: always the same, for order holds within a shard only. */
export function shardOfTable(table: string, shards: readonly string[]): string {
  const [first = ""] = shards;
  return shards[createHash("sha256").update(table).digest().readUInt32LE(0) % shards.length] ?? first;
}
