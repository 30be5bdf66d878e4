/** Which catalog a shard's Delta commits go into: one, registered on the bus, so that two runs cannot share a table's commits out. */
import { hostname } from "node:os";
import type { NatsConnection } from "@nats-io/transport-node";
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import type { KvEntry, KvOutcome } from "../../contracts/ports.ts";
import { CATALOG_BUCKET, registryKey } from "../../contracts/subjects.ts";
import { Inbox } from "../jetstream/inbox.ts";
import { ensureBucket, NatsKv } from "../jetstream/nats-kv.ts";

/** Unknown fields are kept out of the way: a newer release may write more. */
const Entry = z.looseObject({
  logId: z.string().min(1),
  catalogId: z.string().min(1),
  /** Where the catalog was when it was registered, for people: the file may have been moved since. */
  place: z.string().optional(),
});
type Entry = Readonly<z.infer<typeof Entry>>;

export interface CatalogBinding {
  readonly region: string;
  readonly shard: string;
  readonly logId: string;
  readonly catalogId: string;
  readonly catalogFile: string;
  /** Of the bucket, when it has to be made: as many as the log has. */
  readonly replicas: number;
}

/**
 * Registers the catalog as the one of the shard's log; of a log that has one already it only compares. Compare-and-set: of two that
 * come at once one wins. An entry of an earlier log of the shard is replaced.
 *
 * Throws: OperatingError `catalog_differs` (definite); `catalog_entry` (definite) for an entry that cannot be read; what JetStream answers.
 */
export async function registerCatalog(connection: NatsConnection, binding: CatalogBinding): Promise<void> {
  const inbox = new Inbox(connection);
  const kv = new NatsKv(connection, CATALOG_BUCKET);
  try {
    await ensureBucket(inbox, {
      bucket: CATALOG_BUCKET,
      description: "OmniRelay: which catalog the Delta commits of each shard go into",
      replicas: binding.replicas,
    });
    while (!(await isRegistered(kv, binding)));
  } finally {
    kv.close();
    inbox.close();
  }
}

/** False when another one was first between the look and the write: then it has to be looked at again. */
async function isRegistered(kv: NatsKv, binding: CatalogBinding): Promise<boolean> {
  const { region, shard, logId, catalogId, catalogFile } = binding;
  const key = registryKey(region, shard);
  const found = await settled<KvEntry | undefined>((done) => kv.get(key, done));
  if (found.kind === "failed") throw found.error;
  const entry = found.kind === "ok" ? found.value : undefined;
  const known = entry === undefined ? undefined : decodeEntry(entry.value, key);
  if (known?.logId === logId) {
    if (known.catalogId === catalogId) return true;
    throw differs(binding, known, key);
  }
  const value: Entry = { logId, catalogId, place: `${hostname()}:${catalogFile}` };
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  const written = await settled<number>((done) => kv.put(key, bytes, entry?.revision ?? 0, done));
  if (written.kind === "failed") throw written.error;
  return written.kind === "ok";
}

function settled<T>(start: (done: (outcome: KvOutcome<T>) => void) => void): Promise<KvOutcome<T>> {
  return new Promise((resolve) => start(resolve));
}

function decodeEntry(value: Uint8Array, key: string): Entry {
  const parsed = Entry.safeParse(jsonOf(value));
  if (parsed.success) return parsed.data;
  throw new OperatingError(
    "catalog_entry",
    `the entry ${key} of the bucket ${CATALOG_BUCKET} cannot be read; correct it by hand`,
    { definite: true },
  );
}

function jsonOf(value: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(value));
  } catch {
    return undefined; // undefined is no entry, so it is refused like any other text
  }
}

function differs({ region, shard, catalogFile }: CatalogBinding, known: Entry, key: string): OperatingError {
  const where = known.place === undefined ? "" : `, ${known.place} when it was registered`;
  return new OperatingError(
    "catalog_differs",
    `the Delta commits of shard ${region}/${shard} go into another catalog (${known.catalogId}${where}) than ${catalogFile}: ` +
      `give the --data-dir of that catalog, or another --shard for this one; if that catalog is lost for good, use a new shard: ` +
      `its commits are done on this log (entry ${key} of the bucket ${CATALOG_BUCKET})`,
    { definite: true, details: { region, shard, catalogId: known.catalogId, place: known.place } },
  );
}
