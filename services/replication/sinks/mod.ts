/** Every kind of sink that ships. */
import { SinkKinds } from "../sink-kinds.ts";
import { memoryKind } from "./memory-sink.ts";

/** A registry with our kinds; others may be registered beside them. */
export function createSinkKinds(): SinkKinds {
  return new SinkKinds().register(memoryKind);
}
