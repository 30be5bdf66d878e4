/** Leases as runs of OpenLineage: each grant is a run, the resource is its dataset. Pure; made by the schema 2-0-2 of openlineage.io. */
import { createHash } from "node:crypto";
import type { ReplicationEvent } from "../../../contracts/envelope.ts";
import { RELEASE_VERSION } from "../../../contracts/version.ts";
import type { SinkScope } from "../sink.ts";

type RunState = "START" | "RUNNING" | "COMPLETE" | "ABORT" | "FAIL";
/** A run event as it is sent. */
export type RunEvent = Readonly<Record<string, unknown>>;

export interface LineageNames {
  /** Namespace of the jobs. */
  readonly namespace: string;
  /** URI of who tells this. */
  readonly producer: string;
}
/** What of a lease its heartbeats do not say. */
export interface LeasedResource {
  readonly resourceType: string;
  readonly resourceId: string;
}

const SPEC = "https://openlineage.io/spec";
const RUN_EVENT_SCHEMA = `${SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent`;
const FACET_SCHEMAS = {
  errorMessage: `${SPEC}/facets/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet`,
  processing_engine: `${SPEC}/facets/1-1-1/ProcessingEngineRunFacet.json#/$defs/ProcessingEngineRunFacet`,
  jobType: `${SPEC}/facets/2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet`,
  omnirelay_lease: "urn:omnirelay:1:openlineage:OmniRelayLeaseRunFacet",
} as const;
/** Names the runs of all meshes: version 5 UUIDs are made of a namespace and a name. */
const RUN_NAMESPACE = Buffer.from("8d9f2c3e5b1a4e70a6c4d2f1e0b39785", "hex");

const STATES: Readonly<Record<string, RunState>> = {
  ...{ LeaseGranted: "START", Completed: "COMPLETE", Failed: "FAIL", Expired: "FAIL", Released: "ABORT" },
};

/** A grant is known by its token: no other grant of the log has it. The same lease is the same run, whoever tells it and how often. */
export function runIdOf(logId: string, itemId: string, token: number): string {
  const hash = createHash("sha1").update(RUN_NAMESPACE).update(`${logId}/${itemId}/${token}`).digest().subarray(0, 16);
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x50, 6);
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8);
  return hash.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** The run event of an event that begins or ends a lease; undefined for any other. */
export function runEventOf(event: ReplicationEvent, scope: SinkScope, names: LineageNames): RunEvent | undefined {
  const state = STATES[event.eventType];
  const { itemId, ownershipToken: token, resourceType, resourceId, details = {} } = event;
  if (state === undefined || itemId === undefined || token === undefined) return undefined;
  if (resourceType === undefined || resourceId === undefined) return undefined;
  // What ends because that was asked for has not failed.
  const eventType = details["outcome"] === "cancelled" ? "ABORT" : state;
  const lease = { itemId, token, ...(event.ownerPeerId === undefined ? {} : { peerId: event.ownerPeerId }) };
  return runEvent(event, { eventType, lease, resource: { resourceType, resourceId } }, scope, names);
}

/** A run event for each lease that a heartbeat renews and whose resource is known. */
export function runningEventsOf(
  event: ReplicationEvent,
  scope: SinkScope,
  names: LineageNames,
  resourceOf: (token: number) => LeasedResource | undefined,
): readonly RunEvent[] {
  const leases = event.details?.["leases"];
  if (event.eventType !== "Heartbeat" || !Array.isArray(leases)) return [];
  return (leases as readonly Readonly<Record<string, unknown>>[]).flatMap((renewed) => {
    const { itemId, token, progress } = renewed;
    if (typeof itemId !== "string" || typeof token !== "number") return [];
    const resource = resourceOf(token);
    const lease = { itemId, token, ...(progress === undefined ? {} : { progress }) };
    return resource === undefined ? [] : [runEvent(event, { eventType: "RUNNING", lease, resource }, scope, names)];
  });
}

interface RunParts {
  readonly eventType: RunState;
  readonly lease: { readonly itemId: string; readonly token: number };
  readonly resource: LeasedResource;
}

function runEvent(
  { timestamp, sequenceNumber: sequence, metadata, error, details = {} }: ReplicationEvent,
  { eventType, lease, resource: { resourceType, resourceId } }: RunParts,
  { region, shard, logId }: SinkScope,
  { namespace, producer }: LineageNames,
): RunEvent {
  const facet = (name: keyof typeof FACET_SCHEMAS, fields: object): object => ({
    [name]: { _producer: producer, _schemaURL: FACET_SCHEMAS[name], ...fields },
  });
  const { "rpc.principal": principal, "trace.parent": traceParent } = metadata;
  const { attempt, outcome } = details;
  const told = Object.entries({ principal, traceParent, attempt, outcome }).filter(([, value]) => value !== undefined);
  return {
    eventType,
    eventTime: timestamp,
    producer,
    schemaURL: RUN_EVENT_SCHEMA,
    run: {
      runId: runIdOf(logId, lease.itemId, lease.token),
      facets: {
        ...facet("processing_engine", { name: "OmniRelay", version: RELEASE_VERSION }),
        ...facet("omnirelay_lease", { region, shard, logId, sequence, ...lease, ...Object.fromEntries(told) }),
        ...(error === undefined
          ? {}
          : facet("errorMessage", { message: `${error.code}: ${error.message}`, programmingLanguage: "UNKNOWN" })),
      },
    },
    job: {
      namespace,
      name: resourceType,
      facets: facet("jobType", { processingType: "BATCH", integration: "OMNIRELAY", jobType: "LEASE" }),
    },
    inputs: [],
    outputs: [{ namespace: resourceType, name: resourceId }],
  };
}
