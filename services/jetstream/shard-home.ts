/**
 * One home region per shard: both of two would answer the shard's requests, whose subject names no region. The registry keeps them apart,
 * by writes that are conditional on the entries of all regions.
 */
import { OperatingError } from "../../contracts/errors.ts";
import type { Kv } from "../../contracts/ports.ts";
import { REGISTRY_BUCKET, registryKey } from "../../contracts/subjects.ts";
import {
  API_CODES,
  API_READ_TIMEOUT_MS,
  type ApiOutcome,
  apiFailure,
  askApiAsync,
  asRecord,
  publishAsync,
} from "./api.ts";
import { headerBlock } from "./header-block.ts";
import type { Inbox } from "./inbox.ts";
import { encodeEntry, type RegistryEntry, readEntry } from "./registry.ts";
import { storedMessage } from "./stored-message.ts";

const STREAM = `KV_${REGISTRY_BUCKET}`;
const EXPECTED_SEQUENCE_HEADER = "Nats-Expected-Last-Subject-Sequence";
/** Makes the server compare with the newest message under a filter instead of the key's own. */
const EXPECTED_FILTER_HEADER = "Nats-Expected-Last-Subject-Sequence-Subject";

const subjectOf = (region: string, shard: string): string => `$KV.${REGISTRY_BUCKET}.${registryKey(region, shard)}`;

/**
 * Makes sure that no other region is the shard's home.
 *
 * Result: where the entries of all regions stand, for `registerHome`; 0 when there were never any.
 * Throws: `shard_home_taken` (definite), `registry_entry`, and what JetStream answers.
 */
export async function requireHome(inbox: Inbox, kv: Kv, region: string, shard: string): Promise<number> {
  const filter = subjectOf("*", shard);
  // Read before the entries: whatever comes between makes the write that is conditional on it fail.
  const newest = await askApiAsync(inbox, `STREAM.MSG.GET.${STREAM}`, { last_by_subj: filter }, API_READ_TIMEOUT_MS);
  if (isNone(newest)) return 0;
  if (newest.kind !== "ok") throw apiFailure(newest, `looking for the home of shard ${shard}`, true);
  const listed = await askApiAsync(inbox, `STREAM.INFO.${STREAM}`, { subjects_filter: filter }, API_READ_TIMEOUT_MS);
  if (listed.kind !== "ok") throw apiFailure(listed, `listing the homes of shard ${shard}`, true);
  for (const subject of Object.keys(asRecord(asRecord(listed.value["state"])["subjects"]))) {
    const other = subject.split(".").at(-2) ?? "";
    if (other === region || subject !== subjectOf(other, shard)) continue;
    const record = await readEntry(kv, other, shard);
    if (record !== undefined) throw homeTaken(record.entry, region);
  }
  return storedMessage(newest.value)?.streamSequence ?? 0;
}

/** Writes a shard's first entry on the condition that those of all regions still stand at `place`. Answers whether it did. */
export async function registerHome(inbox: Inbox, entry: RegistryEntry, place: number): Promise<boolean> {
  const { region, shard } = entry;
  const headers = headerBlock([
    { name: EXPECTED_SEQUENCE_HEADER, value: String(place) },
    { name: EXPECTED_FILTER_HEADER, value: subjectOf("*", shard) },
  ]);
  const written = await publishAsync(inbox, subjectOf(region, shard), encodeEntry(entry), headers);
  if (written.kind === "ok") return true;
  const errCode = written.kind === "api_error" ? written.error.errCode : 0;
  if (errCode === API_CODES.wrongLastSequence || errCode === API_CODES.wrongLastSequenceUnknown) return false;
  throw apiFailure(written, `registering shard ${shard} in region ${region}`, false);
}

/** Nothing was ever written for the shard, or there is no registry yet. */
function isNone(outcome: ApiOutcome): boolean {
  if (outcome.kind !== "api_error") return false;
  const { errCode } = outcome.error;
  return errCode === API_CODES.noMessage || errCode === API_CODES.streamMissing;
}

function homeTaken({ region: home, shard, logId }: RegistryEntry, region: string): OperatingError {
  const key = registryKey(home, shard);
  return new OperatingError(
    "shard_home_taken",
    `shard ${shard} has its home in region ${home} (log ${logId}), and a dispatcher of region ${region} would answer the same requests from ` +
      `another log: start it with --region ${home}, or give its shard another name. If region ${home} has given the shard up for good, remove its ` +
      `entry first: nats kv del ${REGISTRY_BUCKET} ${key}`,
    { definite: true, details: { shard, region, home } },
  );
}
