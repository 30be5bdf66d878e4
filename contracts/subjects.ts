/** Names on the bus: the only place where a subject, stream, bucket or key is put together. */
import { isPrincipal } from "./ids.ts";

export interface SubjectEntry {
  readonly name: string;
  readonly pattern: string;
  readonly direction: string;
  readonly description: string;
}

/** The reference table of the bus; the docs are generated from it. */
export const SUBJECTS: readonly SubjectEntry[] = [
  row(
    "rpc",
    "resourcelease.<shard>.<verb>.<principal>",
    "request/reply",
    "Commands and queries, answered by the leader only.",
  ),
  row(
    "log",
    "omnirelay.log.<region>.<shard>",
    "JetStream",
    "One frame per message; stream `LEASE_LOG_<region>_<shard>`.",
  ),
  row(
    "changes",
    "omnirelay.changes.<region>.<shard>.<eventType>.<resourceType>",
    "JetStream",
    "One outward event per message; stream `LEASE_CHANGES_<region>_<shard>`. In the resource type every character but A-Z, a-z, 0-9, _ and - is `_`; an event without one has `_`.",
  ),
  row("beat", "omnirelay.ready.<region>.<shard>", "publish", "The leader's beat: term, leader, sequence."),
  row(
    "backpressure",
    "omnirelay.backpressure.<region>.<shard>",
    "publish",
    "Whether the leader refuses items for its watermarks: when its term starts, and at each change.",
  ),
  row(
    "gossip",
    "omnirelay.gossip.<region>.<principal>",
    "publish",
    "A dispatcher's word: which shards it leads and follows, how far, and whether it is stopping.",
  ),
  row(
    "ping",
    "omnirelay.ping.<region>.<peer>",
    "request/reply",
    "Liveness of one process: no responders means that it is gone.",
  ),
  row(
    "registry",
    "$KV.omnirelay-shards.<region>.<shard>",
    "KV",
    "Which log each shard has, and a hint who leads it. A shard has one home: while this entry stands, dispatchers of other regions are refused.",
  ),
  row(
    "checkpoints",
    "$KV.omnirelay-checkpoints.<follower>.<region>.<shard>",
    "KV",
    "How far a registered follower of the shard's log has come: log id, stream sequence, sequence, chain; of a sink also who runs it, its state and what operators wish.",
  ),
  row(
    "parked",
    "omnirelay.parked.<region>.<shard>.<sink>.<log id>.<sequence>",
    "JetStream",
    "Events that a sink refused, each once with the reason; stream `LEASE_PARKED_<region>_<shard>`.",
  ),
  row(
    "positions",
    "$KV.omnirelay-checkpoints.changes.<name>.<region>.<shard>",
    "KV",
    "How far the subscription of that name to a shard's changefeed has come: log id, sequence, stream sequence.",
  ),
  row(
    "catalogs",
    "$KV.omnirelay-catalogs.<region>.<shard>",
    "KV",
    "Which catalog the Delta commits of a shard's log go into (`omnirelay ingest delta`).",
  ),
  row(
    "bodies",
    "$O.omnirelay-bodies.{M,C}.*",
    "object store",
    "Bodies that are too large for an item, by `<region>/<shard>/<principal>/<request id>/<sha256>`; the item refers to its own.",
  ),
  row(
    "micro",
    "$SRV.{PING,INFO,STATS}[.<name>[.<id>]]",
    "request/reply",
    "Discovery of NATS micro services (`nats micro ls`).",
  ),
];

function row(name: string, pattern: string, direction: string, description: string): SubjectEntry {
  return { name, pattern, direction, description };
}

export const VERBS = [
  "enqueue",
  "lease",
  "heartbeat",
  "complete",
  "fail",
  "release",
  "cancel",
  "redrive",
  "purge",
  "pause",
  "resume",
  "drain",
  "restore",
  "discard",
  "evict",
  "configure",
  "handover",
  "get",
  "list",
  "explain",
  "schedule-put",
  "schedule-list",
  "schedule-delete",
  "stats",
  "quotas",
] as const;
export type Verb = (typeof VERBS)[number];
const VERB_SET: ReadonlySet<string> = new Set(VERBS);
export const isVerb = (text: string): text is Verb => VERB_SET.has(text);

export const rpcSubject = (shard: string, verb: Verb, principal: string): string =>
  `resourcelease.${shard}.${verb}.${principal}`;
/** What a leader subscribes to; more tokens than three are refused by the handler, not by silence. */
export const rpcSubscription = (shard: string): string => `resourcelease.${shard}.>`;
export const logStream = (region: string, shard: string): string => `LEASE_LOG_${region}_${shard}`;
export const logSubject = (region: string, shard: string): string => `omnirelay.log.${region}.${shard}`;
export const parkedStream = (region: string, shard: string): string => `LEASE_PARKED_${region}_${shard}`;
export const parkedSubject = (event: {
  readonly region: string;
  readonly shard: string;
  readonly sink: string;
  readonly logId: string;
  readonly sequence: number;
}): string => `omnirelay.parked.${event.region}.${event.shard}.${event.sink}.${event.logId}.${event.sequence}`;
export const beatSubject = (region: string, shard: string): string => `omnirelay.ready.${region}.${shard}`;
export const backpressureSubject = (region: string, shard: string): string =>
  `omnirelay.backpressure.${region}.${shard}`;
export const pingSubject = (region: string, peerId: string): string => `omnirelay.ping.${region}.${peerId}`;
export const changesStream = (region: string, shard: string): string => `LEASE_CHANGES_${region}_${shard}`;
/** What the changefeed's stream of a shard takes. `*` as region: of whatever region. */
export const changesSubscription = (region: string, shard: string): string => `omnirelay.changes.${region}.${shard}.>`;
/** Of an event; `*` as its type stands for all. A resource type that is absent is the token `_`, `*` stands for all. */
export const changesSubject = (region: string, shard: string, eventType: string, resourceToken = "_"): string =>
  `omnirelay.changes.${region}.${shard}.${eventType}.${resourceToken}`;
/** A resource type as a token of a subject. Different types may have one token: whoever filters by it compares the type too. */
export const resourceToken = (resourceType: string): string => resourceType.replace(/[^A-Za-z0-9_-]/g, "_");
/** The beats of a shard's leader, whatever its region. */
export const beatSubscription = (shard: string): string => beatSubject("*", shard);
export const gossipSubject = (region: string, principal: string): string => `omnirelay.gossip.${region}.${principal}`;

export const REGISTRY_BUCKET = "omnirelay-shards";
/** How far each follower of a log has come. */
export const CHECKPOINT_BUCKET = "omnirelay-checkpoints";
export const checkpointKey = (follower: string, region: string, shard: string): string =>
  `${follower}.${region}.${shard}`;
/** Position of a named subscription to a changefeed, in the bucket of the checkpoints: one token longer than theirs. */
export const positionKey = (name: string, region: string, shard: string): string =>
  `changes.${name}.${region}.${shard}`;
/** Which catalog the Delta commits of a shard's log go into; its keys are those of the registry. */
export const CATALOG_BUCKET = "omnirelay-catalogs";
/** Bodies that travel by reference. */
export const BODY_BUCKET = "omnirelay-bodies";
export const registryKey = (region: string, shard: string): string => `${region}.${shard}`;

export const CHAIN_HEADER = "Omnirelay-Chain";
/** Of a message of a changefeed: the event's sequence, and the version of its envelope. */
export const SEQUENCE_HEADER = "Omnirelay-Sequence";
export const SCHEMA_HEADER = "Omnirelay-Schema";
/** Of the last message of each batch in a changefeed: how far it reaches, as JSON. */
export const PLACE_HEADER = "Omnirelay-Place";
export const EXPECTED_SEQUENCE_HEADER = "Nats-Expected-Last-Sequence";
export const SERVICE_ERROR_HEADER = "Nats-Service-Error";
export const SERVICE_ERROR_CODE_HEADER = "Nats-Service-Error-Code";
export const SERVICE_NAME = "resourcelease";

/** Replies go only here: on any other subject a reply would be a publish with our rights. */
const REPLY_PREFIXES = ["_INBOX.", "_R_."] as const;
export function isReplySubjectPermitted(subject: string): boolean {
  return REPLY_PREFIXES.some((prefix) => subject.startsWith(prefix)) && !/[\s*>]|\.\.|\.$/.test(subject);
}

export interface RpcAddress {
  readonly shard: string;
  readonly verb: string;
  readonly principal: string;
}

/** The parts of an RPC subject; undefined when it has not exactly four tokens or its principal is none. */
export function parseRpcSubject(subject: string): RpcAddress | undefined {
  const [root, shard, verb, principal, ...rest] = subject.split(".");
  if (root !== "resourcelease" || shard === undefined || verb === undefined || principal === undefined)
    return undefined;
  if (rest.length > 0 || !isPrincipal(principal)) return undefined;
  return { shard, verb, principal };
}
