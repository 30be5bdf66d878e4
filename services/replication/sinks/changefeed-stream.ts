/** The stream of a changefeed: what is created, what of an existing one is refused, and where its last batch ends. */
import { z } from "zod";
import { ENVELOPE_VERSION } from "../../../contracts/envelope.ts";
import { OperatingError } from "../../../contracts/errors.ts";
import { Checkpoint } from "../../../contracts/followers.ts";
import { Sequence } from "../../../contracts/ids.ts";
import { SERVER_MAX_PAYLOAD_MIN } from "../../../contracts/limits.ts";
import { changesStream, changesSubscription, PLACE_HEADER } from "../../../contracts/subjects.ts";
import { API_CODES, API_TIMEOUT_MS, apiFailure, askApiAsync, asRecord } from "../../jetstream/api.ts";
import { headerValue } from "../../jetstream/header-block.ts";
import type { Inbox } from "../../jetstream/inbox.ts";
import { readStored } from "../../jetstream/read-stored.ts";
import { type Difference, type StreamConfig, streamDifferences } from "../../jetstream/stream-config.ts";
import { type StreamState, stateOfStream } from "../../jetstream/stream-info.ts";
import type { SinkScope } from "../sink.ts";
import { foreignLog } from "./sink-errors.ts";

const NS_PER_MS = 1_000_000;
/** The least the server takes; ids of messages are not used. ms. */
const DUPLICATE_WINDOW_MS = 100;
/** Messages of strangers behind our last one that are stepped over; more than these are no accident. */
const STRANGERS_MAX = 1_000;
const LOG_METADATA = "omnirelay.log";

export interface StreamLimits {
  readonly replicas: number;
  /** 0 for none. ms. */
  readonly maxAgeMs: number;
  /** -1 for none. Bytes. */
  readonly maxBytes: number;
}

/** How far the stream reaches: in a header of a batch's last message, so that a batch and its place are stored together or not at all. */
const Place = z.looseObject({
  writer: z.string().min(1).max(64).describe("The instance that wrote it."),
  sequence: Sequence.describe("Of the last event in the stream; it never falls. 0: none."),
  checkpoint: Checkpoint,
});
export type Place = Readonly<z.infer<typeof Place>>;

/** Where a stream ends. */
export interface Tail {
  /** Its last stream sequence. */
  readonly last: number;
  /** Of the last message that has one; undefined when nothing in the stream has. */
  readonly place: Place | undefined;
  /** Stream sequence of that message; 0 for none. */
  readonly placeAt: number;
}

function changefeedConfig(scope: SinkScope, { replicas, maxAgeMs, maxBytes }: StreamLimits): StreamConfig {
  const { region, shard, logId } = scope;
  return {
    name: changesStream(region, shard),
    description: `OmniRelay changefeed of shard ${shard} in region ${region}; one event per message`,
    subjects: [changesSubscription(region, shard)],
    retention: "limits",
    storage: "file",
    // History goes by age and size; the log is what keeps.
    discard: "old",
    max_bytes: maxBytes,
    max_msgs: -1,
    max_msgs_per_subject: -1,
    max_age: maxAgeMs * NS_PER_MS,
    max_msg_size: -1,
    max_consumers: -1,
    num_replicas: replicas,
    duplicate_window: DUPLICATE_WINDOW_MS * NS_PER_MS,
    compression: "none",
    allow_direct: true,
    mirror_direct: false,
    allow_atomic: true,
    deny_delete: true,
    deny_purge: false,
    allow_rollup_hdrs: false,
    metadata: {
      "omnirelay.schema": String(ENVELOPE_VERSION),
      "omnirelay.region": region,
      "omnirelay.shard": shard,
      [LOG_METADATA]: logId,
    },
  };
}

export interface EnsuredStream {
  /** When it was made: one that was deleted and made anew has another. */
  readonly created: string;
  /** In what it is not as wanted, without harm. */
  readonly differences: readonly Difference[];
}

/**
 * The stream as it stands, created where it is missing and `limits` are given.
 * Throws: OperatingError `stream_missing`, `sink_stream_config`, `sink_foreign_log` (definite), and what JetStream answers.
 */
export async function ensureChangefeed(
  inbox: Inbox,
  scope: SinkScope,
  limits: StreamLimits | undefined,
): Promise<EnsuredStream> {
  const stream = changesStream(scope.region, scope.shard);
  const state =
    (await stateOfStream(inbox, stream, API_TIMEOUT_MS)) ??
    (limits === undefined ? undefined : await createdStream(inbox, stream, changefeedConfig(scope, limits)));
  if (state === undefined) throw missingStream(stream);
  requireFit(scope, state.config);
  const log = asRecord(state.config["metadata"])[LOG_METADATA];
  if (typeof log === "string" && log !== scope.logId) throw foreignLog(scope, `the stream ${stream}`, log);
  const differences = limits === undefined ? [] : streamDifferences(changefeedConfig(scope, limits), state.config);
  return { created: state.created, differences };
}

async function createdStream(inbox: Inbox, stream: string, config: StreamConfig): Promise<StreamState | undefined> {
  const created = await askApiAsync(inbox, `STREAM.CREATE.${stream}`, config);
  // Another instance was first.
  const isTaken = created.kind === "api_error" && created.error.errCode === API_CODES.streamNameInUse;
  if (created.kind !== "ok" && !isTaken) throw apiFailure(created, `creating ${stream}`, false);
  return stateOfStream(inbox, stream, API_TIMEOUT_MS);
}

/** Configuration name, whether its value is one that the changefeed can live with, and what would happen. */
type Requirement = readonly [name: string, isMet: (value: unknown) => boolean, message: string];

const isOff = (value: unknown): boolean => value === undefined || value === false;
const isAbsent = (value: unknown): boolean => value === undefined || (Array.isArray(value) && value.length === 0);
const isUnlimited = (value: unknown): boolean => value === undefined || value === -1 || value === 0;

const REQUIREMENTS: readonly Requirement[] = [
  ["allow_atomic", (value) => value === true, "batches cannot be appended as one (nats stream edit --allow-batch)"],
  ["retention", (value) => value === "limits", "one reader would take events from the others"],
  ["persist_mode", (value) => value !== "async", "it acknowledges before it writes"],
  ["storage", (value) => value === "file", "a restart of the server would empty it"],
  ["max_msgs_per_subject", isUnlimited, "events would go by their subject instead of their age"],
  ["allow_rollup_hdrs", isOff, "a publisher could erase it"],
  ["allow_msg_schedules", isOff, "the server itself would write into it"],
  ["allow_msg_counter", isOff, "it holds counters"],
  ["subject_transform", isAbsent, "consumers would see other subjects"],
  ["mirror", isAbsent, "it is a copy of another stream"],
  ["sources", isAbsent, "other streams flow into it"],
  ["sealed", isOff, "nothing can be appended"],
  [
    "max_msg_size",
    (value) => isUnlimited(value) || Number(value) >= SERVER_MAX_PAYLOAD_MIN,
    `events of up to ${SERVER_MAX_PAYLOAD_MIN} bytes would not fit`,
  ],
];

function requireFit({ region, shard }: SinkScope, config: StreamConfig): void {
  const problems = REQUIREMENTS.filter(([name, isMet]) => !isMet(config[name])).map(
    ([name, , message]) => `${name} is ${JSON.stringify(config[name])}: ${message}`,
  );
  const subjects = JSON.stringify(config["subjects"]);
  const wanted = JSON.stringify([changesSubscription(region, shard)]);
  if (subjects !== wanted) problems.push(`subjects are ${subjects} instead of ${wanted}`);
  if (problems.length === 0) return;
  const stream = changesStream(region, shard);
  throw new OperatingError(
    "sink_stream_config",
    `${stream} cannot hold a changefeed: ${problems.join("; ")}. Correct it with nats stream edit, or remove it: it is then made anew`,
    { definite: true, details: { stream, problems } },
  );
}

/**
 * Where the stream ends; `above`: nothing at or below that stream sequence is looked at.
 * Throws: `stream_missing`; `sink_foreign_log` when what it holds is not of this log, or nobody's changefeed at all.
 */
export async function readTail(inbox: Inbox, scope: SinkScope, above = 0): Promise<Tail> {
  const stream = changesStream(scope.region, scope.shard);
  const state = await stateOfStream(inbox, stream, API_TIMEOUT_MS);
  if (state === undefined) throw missingStream(stream);
  const { firstSequence, lastSequence: last, messages } = state.info;
  const end = messages === 0 ? last + 1 : Math.max(firstSequence, above + 1, 1);
  for (let at = last; at >= end; at -= 1) {
    if (last - at >= STRANGERS_MAX)
      throw foreignStream(stream, `its last ${STRANGERS_MAX} messages are of somebody else`);
    const message = await readStored(inbox, stream, { seq: at }, API_TIMEOUT_MS);
    const place = message === undefined ? undefined : placeOf(headerValue(message.headers, PLACE_HEADER));
    if (place === undefined) continue;
    if (place.checkpoint.logId === scope.logId) return { last, place, placeAt: at };
    throw foreignLog(scope, `the stream ${stream}`, place.checkpoint.logId);
  }
  const isOurs = asRecord(state.config["metadata"])[LOG_METADATA] === scope.logId;
  if (above === 0 && messages > 0 && !isOurs)
    throw foreignStream(stream, "it holds messages, but none of a changefeed");
  return { last, place: undefined, placeAt: 0 };
}

function placeOf(header: string): Place | undefined {
  if (header === "") return undefined;
  try {
    return Place.safeParse(JSON.parse(header)).data;
  } catch {
    // A stranger's header.
    return undefined;
  }
}

function missingStream(stream: string): OperatingError {
  const message = `there is no stream ${stream}: create it, or let the sink do so with the option provision`;
  return new OperatingError("stream_missing", message, { definite: true, details: { stream } });
}

function foreignStream(stream: string, what: string): OperatingError {
  const message = `${stream} is nobody's changefeed: ${what}; remove them (nats stream purge ${stream}) if they may go`;
  return new OperatingError("sink_foreign_log", message, { definite: true, details: { stream } });
}
