/** The mutations of the synthetic lakehouse: the body of a demo item, written by seeders and applied by workers. */
import { z } from "zod";

/** Resource type of the demo's items. `resourceId` and `partitionKey` are the table's name; exclusivity is `partition`. */
export const LAKEHOUSE_RESOURCE_TYPE = "lakehouse.table";
/** Resource type of the items that `omnirelay ingest delta` enqueues. */
export const DELTA_RESOURCE_TYPE = "delta.table";

const name = z.string().min(1).max(256);
const names = z.array(name).max(1_000);
const count = z.int().min(0);

/** Makes the table. An existing one keeps its files and takes the columns: a repeat changes nothing. */
const CreateTable = z.strictObject({
  kind: z.literal("CreateTable"),
  table: name,
  columns: names,
  partitionColumns: names.optional(),
});
/** Adds columns at the end, then drops some. */
const AlterSchema = z.strictObject({
  kind: z.literal("AlterSchema"),
  table: name,
  add: names.optional(),
  drop: names.optional(),
});
/** A new snapshot: the files of the one before and these. */
const CommitSnapshot = z.strictObject({ kind: z.literal("CommitSnapshot"), table: name, files: count, bytes: count });
/** Forgets all snapshots but the newest ones. */
const Vacuum = z.strictObject({ kind: z.literal("Vacuum"), table: name, keep: z.int().min(1) });

export const LakehouseMutation = z.discriminatedUnion("kind", [CreateTable, AlterSchema, CommitSnapshot, Vacuum]);
export type LakehouseMutation = Readonly<z.infer<typeof LakehouseMutation>>;
export const LAKEHOUSE_MUTATION_KINDS = ["CreateTable", "AlterSchema", "CommitSnapshot", "Vacuum"] as const;
