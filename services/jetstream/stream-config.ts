/** The configuration of a shard's stream: what we create, what we can live with, and what would break the log. */
import { FRAME_SCHEMA, SERVER_MAX_PAYLOAD_MIN } from "../../contracts/limits.ts";
import { logStream, logSubject } from "../../contracts/subjects.ts";
import { asRecord, isRecord } from "./api.ts";
import type { Finding } from "./server-check.ts";

const NS_PER_MS = 1_000_000;
/** The least the server takes; ids of messages are not used, so nothing is ever kept in the window. ms. */
const DUPLICATE_WINDOW_MS = 100;

/** Something that exists in another shape than was asked for. It is left as it is. */
export interface Difference {
  readonly where: "stream" | "options" | "registry";
  readonly name: string;
  readonly wanted: unknown;
  readonly found: unknown;
}

export interface StreamShape {
  readonly region: string;
  readonly shard: string;
  readonly replicas: number;
  /** -1 for no limit. Bytes. */
  readonly maxBytes: number;
}

export type StreamConfig = Readonly<Record<string, unknown>>;

/** The configuration that provisioning creates. */
export function streamConfig({ region, shard, replicas, maxBytes }: StreamShape): StreamConfig {
  return {
    name: logStream(region, shard),
    description: `OmniRelay log of shard ${shard} in region ${region}; one frame per message`,
    subjects: [logSubject(region, shard)],
    retention: "limits",
    storage: "file",
    // A full log refuses; `old` would silently drop its beginning.
    discard: "new",
    max_bytes: maxBytes,
    max_msgs: -1,
    max_msgs_per_subject: -1,
    max_age: 0,
    max_msg_size: SERVER_MAX_PAYLOAD_MIN,
    max_consumers: -1,
    num_replicas: replicas,
    duplicate_window: DUPLICATE_WINDOW_MS * NS_PER_MS,
    compression: "none",
    allow_direct: true,
    mirror_direct: false,
    deny_delete: true,
    // A trim is a purge; the right to purge is a matter of permissions.
    deny_purge: false,
    allow_rollup_hdrs: false,
    metadata: { "omnirelay.schema": String(FRAME_SCHEMA), "omnirelay.region": region, "omnirelay.shard": shard },
  };
}

/** Where an existing stream's configuration is not the wanted one. Names and texts are left out: they change nothing. */
export function streamDifferences(wanted: StreamConfig, found: StreamConfig): readonly Difference[] {
  const differences: Difference[] = [];
  for (const [name, value] of Object.entries(wanted)) {
    if (name === "description" || name === "metadata") continue;
    const there = found[name] ?? absentValue(value);
    if (JSON.stringify(there) !== JSON.stringify(value))
      differences.push({ where: "stream", name, wanted: value, found: there });
  }
  return differences;
}

/** The server leaves out what is off. */
function absentValue(value: unknown): unknown {
  return typeof value === "boolean" ? false : undefined;
}

interface Requirement {
  readonly code: string;
  readonly severity: Finding["severity"];
  readonly isMet: (config: StreamConfig) => boolean;
  readonly message: string;
  readonly fix: string;
}

const isUnlimited = (value: unknown): boolean => value === undefined || value === -1 || value === 0;
const isOff = (value: unknown): boolean => value === undefined || value === false;
const EDIT = "nats stream edit";

/** What the log's correctness rests on, in the order in which it is told. */
const REQUIREMENTS: readonly Requirement[] = [
  {
    code: "stream_retention",
    severity: "refuse",
    isMet: (config) => config["retention"] === "limits",
    message: "the stream's retention is not `limits`: reading or acknowledging would delete history",
    fix: "recreate the stream from a backup with retention limits",
  },
  {
    code: "stream_discard",
    severity: "refuse",
    isMet: (config) => config["discard"] === "new",
    message: "the stream discards old messages when it is full: the beginning of the log would vanish",
    fix: `${EDIT} --discard new`,
  },
  {
    code: "stream_expiry",
    severity: "refuse",
    isMet: (config) =>
      isUnlimited(config["max_age"]) &&
      isUnlimited(config["max_msgs"]) &&
      isUnlimited(config["max_msgs_per_subject"]) &&
      isOff(config["allow_msg_ttl"]),
    message: "the stream limits age, number or lifetime of messages: the log would lose frames by itself",
    fix: `${EDIT} --max-age 0 --max-msgs -1 --max-msgs-per-subject -1; per-message TTL cannot be turned off again`,
  },
  {
    code: "stream_rewrites",
    severity: "refuse",
    isMet: (config) => isOff(config["allow_rollup_hdrs"]) && config["subject_transform"] === undefined,
    message:
      "the stream allows rollups or transforms subjects: a publisher could erase the log, or checks see other subjects",
    fix: `${EDIT} --no-allow-rollup, without a subject transform`,
  },
  {
    code: "stream_schedules",
    severity: "refuse",
    isMet: (config) => isOff(config["allow_msg_schedules"]) && isOff(config["allow_msg_counter"]),
    message: "the stream has schedules or counters: the server itself would write into the log",
    fix: "recreate the stream without allow_msg_schedules and allow_msg_counter",
  },
  {
    code: "stream_mirror",
    severity: "refuse",
    isMet: (config) =>
      config["mirror"] === undefined && !(Array.isArray(config["sources"]) && config["sources"].length > 0),
    message: "the stream is a mirror or has sources: it is not this region's own log",
    fix: "point the dispatcher at the home region, or promote the mirror",
  },
  {
    code: "stream_persist_mode",
    severity: "refuse",
    isMet: (config) => config["persist_mode"] !== "async" && config["storage"] === "file",
    message: "the stream acknowledges before it writes, or keeps its messages in memory only",
    fix: "recreate the stream with file storage and the default persist mode",
  },
  {
    code: "stream_sealed",
    severity: "refuse",
    isMet: (config) => isOff(config["sealed"]),
    message: "the stream is sealed: nothing can be appended",
    fix: "restore the log into a stream that is not sealed",
  },
  {
    code: "stream_deletes",
    severity: "warn",
    isMet: (config) => config["deny_delete"] === true,
    message: "single messages of the stream can be deleted: one deletion halts every reader",
    fix: "recreate the stream with deny_delete, or forbid $JS.API.STREAM.MSG.DELETE by permissions",
  },
];

/** What is wrong with the configuration of a shard's stream. */
export function streamFindings(region: string, shard: string, config: StreamConfig): readonly Finding[] {
  const findings = REQUIREMENTS.filter((requirement) => !requirement.isMet(config)).map(
    ({ code, severity, message, fix }): Finding => ({
      code,
      severity,
      message: `${logStream(region, shard)}: ${message}`,
      fix,
    }),
  );
  const subject = logSubject(region, shard);
  const subjects = config["subjects"];
  if (Array.isArray(subjects) && subjects.length === 1 && subjects[0] === subject) return findings;
  const message = `${logStream(region, shard)}: it takes ${JSON.stringify(subjects)} instead of only ${subject}`;
  return [...findings, { code: "stream_subjects", severity: "refuse", message, fix: `${EDIT} --subjects ${subject}` }];
}

/** The configuration in an answer of the stream API. */
export function configOf(value: Readonly<Record<string, unknown>>): StreamConfig {
  const config = value["config"];
  return isRecord(config) ? config : asRecord(undefined);
}
