/** The public entry of replication: what users import as `omnirelay/replication`. */
export { type HubOptions, ReplicationHub } from "./hub.ts";
export { type ParkedEvent, Parking, parkedEvents } from "./parking.ts";
export { Pump, type PumpOptions, type PumpStatus } from "./pump.ts";
export { ReplicationMetrics, type SinkLag, type SinkMetrics } from "./replication-metrics.ts";
export type { Sink, SinkBatch, SinkDeps, SinkGuarantee, SinkKind, SinkScope } from "./sink.ts";
export { type SeekTarget, type SinkAddress, type SinkWish, wishOfSink } from "./sink-control.ts";
export { type PlannedSink, SinkKinds } from "./sink-kinds.ts";
export { type ChildSink, composite, filtered } from "./sinks/decorators.ts";
export { createSinkKinds } from "./sinks/mod.ts";
export { isSignatureValid, SIGNATURE_HEADER } from "./sinks/webhook-signature.ts";
