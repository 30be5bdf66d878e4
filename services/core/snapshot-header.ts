/** Reads and checks the first and the last line of a snapshot. */
import { z } from "zod";
import { DrainFields, ENDED_DRAINS_MAX, EndedDrain } from "../../contracts/drain.ts";
import { OperatingError } from "../../contracts/errors.ts";
import { FollowersPatch } from "../../contracts/followers.ts";
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import { optionProblems, ShardOptions } from "../../contracts/options.ts";
import { QuotasPatch } from "../../contracts/quotas.ts";
import { digest64 } from "./hash.ts";
import { damaged, SNAPSHOT_FORMAT, type SnapshotHeader } from "./snapshot-format.ts";
import { isCount } from "./snapshot-row.ts";

const COUNTS = [
  "logVersion",
  "sequence",
  "at",
  "term",
  "tokenEpoch",
  "horizon",
  "pending",
  "active",
  "deadLettered",
  "enqueuedTotal",
  "completedTotal",
  "bodyBytes",
  "records",
  "leaseRequests",
] as const satisfies readonly (keyof SnapshotHeader)[];
const TEXTS = ["logId", "hash", "leader"] as const satisfies readonly (keyof SnapshotHeader)[];

const Drains = z.object({
  drain: DrainFields.optional(),
  endedDrains: z.array(EndedDrain).max(ENDED_DRAINS_MAX).optional(),
});

/** Throws: OperatingError snapshot_version (a newer release wrote it) or snapshot_damaged, both definite. */
export function readHeader(value: unknown): SnapshotHeader {
  if (!isObject(value) || value["kind"] !== "state") throw damaged(1, "it does not begin with a header");
  // The version first: of a newer header nothing else is known.
  checkVersion("format", value["format"], SNAPSHOT_FORMAT);
  checkVersion("logVersion", value["logVersion"], LOG_VERSION_MAX);
  if (value["format"] === 0) throw damaged(1, "format is 0");
  for (const name of COUNTS)
    if (!isCount(value[name])) throw damaged(1, `${name} of the header is not a non-negative integer`);
  for (const name of TEXTS)
    if (typeof value[name] !== "string") throw damaged(1, `${name} of the header is not a text`);
  if (typeof value["paused"] !== "boolean") throw damaged(1, "paused of the header is not true or false");
  const options = ShardOptions.safeParse(value["options"]);
  const problem = options.success ? optionProblems(options.data)[0] : "they do not fit their schema";
  if (problem !== undefined) throw damaged(1, `options of the header: ${problem}`);
  const followers = FollowersPatch.safeParse(value["followers"] ?? {});
  if (!followers.success) throw damaged(1, "followers of the header: they do not fit their schema");
  const quotas = QuotasPatch.safeParse(value["quotas"] ?? {});
  if (!quotas.success) throw damaged(1, "quotas of the header: they do not fit their schema");
  const removedTotal = value["removedTotal"] ?? 0;
  if (!isCount(removedTotal)) throw damaged(1, "removedTotal of the header is not a non-negative integer");
  const drains = Drains.safeParse({ drain: value["drain"], endedDrains: value["endedDrains"] });
  if (!drains.success) throw damaged(1, "drains of the header: they do not fit their schema");
  for (const name of ["schedules", "pressedAt"] as const)
    if (!isCount(value[name] ?? 0)) throw damaged(1, `${name} of the header is not a non-negative integer`);
  const read = { options: options.data, followers: followers.data, quotas: quotas.data, removedTotal, ...drains.data };
  const header = { ...value, ...read } as unknown as SnapshotHeader;
  const { pending, active, deadLettered, completedTotal, enqueuedTotal, records } = header;
  const accounted = pending + active + deadLettered + completedTotal + removedTotal;
  if (accounted !== enqueuedTotal)
    throw damaged(1, `${enqueuedTotal} items were enqueued, the header accounts for ${accounted}`);
  if (records > header.options.recordsMax)
    throw damaged(1, `${records} records, the options allow ${header.options.recordsMax}`);
  return header;
}

/** Checks the last line. `line`: its number; so many less one stand before it. */
export function checkFooter(value: unknown, line: number, headerLine: string): void {
  if (!isObject(value) || value["kind"] !== "end") throw damaged(line, "neither a row nor the end");
  if (value["lines"] !== line - 1)
    throw damaged(line, `the end counts ${JSON.stringify(value["lines"])} lines before it, there are ${line - 1}`);
  if (value["header"] !== digest64(headerLine)) throw damaged(1, "the header is not the one that the end tells of");
}

/** Throws: OperatingError snapshot_version for a version above what is supported, snapshot_damaged for none. */
export function checkVersion(name: string, version: unknown, supported: number): void {
  if (!isCount(version)) throw damaged(1, `${name} of the header is not a non-negative integer`);
  if (version <= supported) return;
  throw new OperatingError(
    "snapshot_version",
    `the snapshot has ${name} ${version}; this release reads up to ${supported}: upgrade, or use an older snapshot`,
    { definite: true, details: { [name]: version, supported } },
  );
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
