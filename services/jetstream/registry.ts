/** The shard registry: one entry per shard in a KV bucket, which holds what a shard's log must be and, as a hint, who leads it. */
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import { LogId, LogTimeMs, PeerId, RegionName, ShardName } from "../../contracts/ids.ts";
import type { Kv, KvOutcome } from "../../contracts/ports.ts";
import { REGISTRY_BUCKET, registryKey } from "../../contracts/subjects.ts";

/** Unknown fields are kept: an older process must not erase what a newer one has written. */
export const RegistryEntry = z.looseObject({
  logId: LogId,
  region: RegionName,
  shard: ShardName,
  createdAt: LogTimeMs,
  /** Peer id of the last known leader, and its term. Advisory: never decides anything. */
  leader: PeerId.optional(),
  term: z.int().min(0).optional(),
});
export type RegistryEntry = Readonly<z.infer<typeof RegistryEntry>>;

export interface RegistryRecord {
  readonly entry: RegistryEntry;
  readonly revision: number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function encodeEntry(entry: RegistryEntry): Uint8Array {
  return encoder.encode(JSON.stringify(entry));
}

/** Reads an entry's bytes. Throws `registry_entry` (definite) for anything that is none: nobody may guess a log's identity. */
function decodeEntry(value: Uint8Array, key: string): RegistryEntry {
  const parsed = RegistryEntry.safeParse(parseJson(value));
  if (parsed.success) return parsed.data;
  throw new OperatingError(
    "registry_entry",
    `the entry ${key} of the bucket ${REGISTRY_BUCKET} cannot be read (${z.prettifyError(parsed.error)}); correct it by hand`,
    { definite: true },
  );
}

function parseJson(value: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(value));
  } catch {
    return undefined;
  }
}

/** The entry of a shard; undefined when there is none. Throws what the bucket's stream answers, and `registry_entry`. */
export async function readEntry(kv: Kv, region: string, shard: string): Promise<RegistryRecord | undefined> {
  const key = registryKey(region, shard);
  const found = await settled(
    (done: (outcome: KvOutcome<{ value: Uint8Array; revision: number } | undefined>) => void) => kv.get(key, done),
  );
  if (found.kind === "failed") throw found.error;
  if (found.kind === "conflict" || found.value === undefined) return undefined;
  return { entry: decodeEntry(found.value.value, key), revision: found.value.revision };
}

function settled<Outcome>(start: (done: (outcome: Outcome) => void) => void): Promise<Outcome> {
  return new Promise((resolve) => start(resolve));
}
