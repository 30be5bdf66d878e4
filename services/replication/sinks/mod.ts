/** Every kind of sink that ships. */
import { SinkKinds } from "../sink-kinds.ts";
import { captureKind } from "./capture-sink.ts";
import { grpcKind } from "./grpc-sink.ts";
import { memoryKind } from "./memory-sink.ts";
import { webhookKind } from "./webhook-sink.ts";

/** A registry with our kinds; others may be registered beside them. */
export function createSinkKinds(): SinkKinds {
  return new SinkKinds().register(memoryKind).register(webhookKind).register(grpcKind).register(captureKind);
}
