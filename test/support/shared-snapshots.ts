/** The snapshots of shards in the shared store and in data folders, as a test looks at them and spoils them. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { connectNats } from "../../services/jetstream/connect.ts";
import { SnapshotBucket } from "../../services/jetstream/object-snapshots.ts";
import { ObjectSnapshotStore, type SnapshotInfo } from "../../services/persistence/mod.ts";
import type { Cleanup } from "./process.ts";

/** `flipped`: one bit of its contents. `truncated`: its end is missing. `newer`: written by a later release. `foreign`: of another shard. */
export type Damage = "flipped" | "truncated" | "newer" | "foreign";

export interface SharedSnapshots {
  /** Newest first. */
  list(shard: string): Promise<SnapshotInfo[]>;
  /** Puts a damaged object in the place of the shard's `index`th, newest first. */
  spoil(shard: string, index: number, damage: Damage): Promise<void>;
}

export async function sharedSnapshots(servers: string, cleanup: Cleanup): Promise<SharedSnapshots> {
  const connection = await connectNats({ servers, name: "snapshots" });
  const bucket = await SnapshotBucket.open(connection, { replicas: 1, leftovers: "keep" });
  const store = new ObjectSnapshotStore(bucket);
  cleanup(async () => {
    await store.close();
    await connection.close();
  });
  const spoil: SharedSnapshots["spoil"] = async (shard, index, damage) => {
    const object = (await bucket.list(`local/${shard}/`)).toSorted((a, b) => (a.name < b.name ? 1 : -1))[index];
    if (object === undefined) throw new Error(`shard ${shard} has no snapshot ${index}`);
    const pieces: Uint8Array[] = [];
    for await (const piece of bucket.read(object)) pieces.push(piece);
    const bytes = Buffer.concat(pieces);
    const middle = bytes.length >> 1;
    if (damage === "flipped") bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
    const upload = bucket.upload();
    await upload.write(damage === "truncated" ? bytes.subarray(0, middle) : bytes);
    await upload.flush();
    await upload.publish(object.name, spoiltMetadata(object.metadata, shard, damage), object);
  };
  return { list: (shard) => store.list("local", shard), spoil };
}

function spoiltMetadata(metadata: Readonly<Record<string, string>>, shard: string, damage: Damage) {
  const spoilt = { ...metadata };
  if (damage === "newer") spoilt["omnirelay-format"] = "99";
  const label = metadata["omnirelay-label"] ?? "";
  if (damage === "foreign") spoilt["omnirelay-label"] = otherShard(label, shard);
  return spoilt;
}

/** Spoils the shard's `index`th snapshot, newest first, in the data folder of a dispatcher that does not run. */
export function spoilLocal(dataDir: string, shard: string, index: number, damage: Damage): void {
  const db = new Database(join(dataDir, "snapshots.sqlite"));
  const { id, label } = db
    .prepare<[string, number], { id: number; label: string }>(
      "SELECT id, label FROM snapshot WHERE shard = ? ORDER BY sequence DESC LIMIT 1 OFFSET ?",
    )
    .get(shard, index) as { id: number; label: string };
  if (damage === "newer") db.prepare("UPDATE snapshot SET format = 99 WHERE id = ?").run(id);
  if (damage === "foreign") db.prepare("UPDATE snapshot SET label = ? WHERE id = ?").run(otherShard(label, shard), id);
  const chunk = "SELECT data FROM snapshot_chunk WHERE snapshot = ? AND position = 0";
  const { data } = db.prepare<[number], { data: Buffer }>(chunk).get(id) as { data: Buffer };
  const middle = data.length >> 1;
  if (damage === "flipped") data.writeUInt8(data.readUInt8(middle) ^ 1, middle);
  const kept = damage === "truncated" ? data.subarray(0, middle) : data;
  db.prepare("UPDATE snapshot_chunk SET data = ? WHERE snapshot = ? AND position = 0").run(kept, id);
  db.close();
}

const otherShard = (label: string, shard: string): string =>
  label.replace(`"shard":"${shard}"`, `"shard":"another-${shard}"`);
