/** What a subscription to a changefeed takes: checked once, with the names of its fields in what is said about them. */
import { z } from "zod";
import { OutwardType } from "../../contracts/envelope.ts";
import { OperatingError } from "../../contracts/errors.ts";
import { FollowerName } from "../../contracts/followers.ts";
import { RegionName, ResourceType, ShardName } from "../../contracts/ids.ts";
import { RESOURCE_TYPES_PER_FILTER_MAX, TIMESTAMP_MS_MAX } from "../../contracts/limits.ts";
import { changesSubject, resourceToken } from "../../contracts/subjects.ts";

const MIB = 1024 * 1024;

const From = z.union([
  z.enum(["beginning", "now"]),
  z.strictObject({ sequence: z.int().min(1) }),
  z.strictObject({
    time: z
      .union([z.date(), z.int().min(0), z.iso.datetime({ offset: true })])
      .transform((time) => new Date(time).getTime())
      // Also for a number that is no date: that is NaN here.
      .refine((ms) => ms <= TIMESTAMP_MS_MAX, { error: "must not be behind the year 9999" }),
  }),
]);

const Settings = z.strictObject({
  shard: ShardName.describe("Whose events."),
  region: RegionName.optional().describe("Where its changefeed lives; found by itself where one region has it."),
  from: From.default("beginning").describe("Where to begin where no position is kept under `name`."),
  filter: z
    .strictObject({
      eventTypes: z.array(OutwardType).min(1).optional().describe("Only these; all when absent."),
      resourceTypes: z
        .array(ResourceType)
        .min(1)
        .max(RESOURCE_TYPES_PER_FILTER_MAX)
        .optional()
        .describe("Only events of these; all when absent."),
    })
    .default({}),
  name: FollowerName.optional().describe("Keeps the position under this name; nothing is kept when absent."),
  commitIntervalMs: z.int().min(1).max(60_000).default(100).describe("How often the position is kept at most. ms."),
  bufferBytesMax: z
    .int()
    .min(1)
    .max(1_024 * MIB)
    .default(4 * MIB)
    .describe("Size of what waits to be asked for at which the server is held. Bytes."),
});
export type ChangesSettings = Readonly<z.output<typeof Settings>>;
export type ChangesStart = ChangesSettings["from"];

/**
 * `beginning`: with the oldest event that is kept. `now`: with what comes. `sequence`: with that event. `time`: with the first event of that log time
 * or a later one; text in ISO 8601, or ms since 1970.
 */
export type ChangesFrom =
  | "beginning"
  | "now"
  | { readonly sequence: number }
  | { readonly time: Date | number | string };

export interface ChangesFilter {
  /** Only these; all when absent. */
  readonly eventTypes?: readonly OutwardType[] | undefined;
  /** Only events of these; all when absent. At most 64. */
  readonly resourceTypes?: readonly string[] | undefined;
}

export interface ChangesOptions {
  readonly shard: string;
  /** Where the changefeed lives. Found by itself where one region has a changefeed of the shard. */
  readonly region?: string | undefined;
  /** Where to begin; `beginning` by default. Without effect where a position is kept under `name`. */
  readonly from?: ChangesFrom | undefined;
  readonly filter?: ChangesFilter | undefined;
  /** Keeps the position in `omnirelay-checkpoints` under this name (`[a-z0-9-]`): the next subscription of the name goes on there. */
  readonly name?: string | undefined;
  /** How often the position is kept at most. ms; 100 by default. */
  readonly commitIntervalMs?: number | undefined;
  /** Size of what waits to be asked for at which the server is held; up to its flow-control window (32 MiB) may come on top. Bytes; 4 MiB by default. */
  readonly bufferBytesMax?: number | undefined;
  /** Ends the subscription: what waits for the next event gets its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Throws: OperatingError `invalid_options` (definite). */
export function changesSettings({ signal: _signal, ...given }: ChangesOptions): ChangesSettings {
  const named = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  const parsed = Settings.safeParse(named);
  if (parsed.success) return parsed.data;
  throw new OperatingError("invalid_options", z.prettifyError(parsed.error), { definite: true });
}

/** What the server is to send; undefined for all. It may be more than is wanted: resource types share tokens. */
export function filterSubjects(region: string, { shard, filter }: ChangesSettings): readonly string[] | undefined {
  const { eventTypes, resourceTypes } = filter;
  if (eventTypes === undefined && resourceTypes === undefined) return undefined;
  const types = new Set<string>(eventTypes ?? ["*"]);
  const tokens = new Set(resourceTypes?.map(resourceToken) ?? ["*"]);
  return [...types].flatMap((type) => [...tokens].map((token) => changesSubject(region, shard, type, token)));
}
