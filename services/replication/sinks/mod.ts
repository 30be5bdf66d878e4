/** Every kind of sink that ships. */
import { SinkKinds } from "../sink-kinds.ts";
import { captureKind } from "./capture-sink.ts";
import { changefeedKind } from "./changefeed-sink.ts";
import { governanceKind } from "./governance-sink.ts";
import { grpcKind } from "./grpc-kind.ts";
import { jsonLinesKind } from "./json-lines-sink.ts";
import { memoryKind } from "./memory-sink.ts";
import { objectsKind } from "./objects-kind.ts";
import { openlineageKind } from "./openlineage-sink.ts";
import { sqliteKind } from "./sqlite-sink.ts";
import { webhookKind } from "./webhook-sink.ts";

/** A registry with our kinds; others may be registered beside them. */
export function createSinkKinds(): SinkKinds {
  return new SinkKinds()
    .register(memoryKind)
    .register(jsonLinesKind)
    .register(sqliteKind)
    .register(objectsKind)
    .register(changefeedKind)
    .register(webhookKind)
    .register(grpcKind)
    .register(captureKind)
    .register(governanceKind)
    .register(openlineageKind);
}
