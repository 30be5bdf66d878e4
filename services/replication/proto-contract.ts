/** The gRPC methods of `contracts/schemas/replication.proto`, loaded from that file: client and hub speak what it says, and nothing else. */
import { fileURLToPath } from "node:url";
import { loadSync, type MethodDefinition, type ServiceDefinition } from "@grpc/proto-loader";
import type { ProtoMessage } from "./proto-messages.ts";

const FILE = fileURLToPath(new URL("../../contracts/schemas/replication.proto", import.meta.url));
const SERVICE = "omnirelay.replication.v1.Replication";

/** One method: its path, and how its messages become bytes. Shapes: as in the file, in camel case; 64-bit numbers as numbers, bytes as `Buffer`. */
type Method = MethodDefinition<ProtoMessage, ProtoMessage>;

export interface ReplicationContract {
  readonly service: ServiceDefinition;
  readonly replicate: Method;
  readonly position: Method;
  readonly seek: Method;
}

let contract: ReplicationContract | undefined;

/** Reads the file at the first call. */
export function replicationContract(): ReplicationContract {
  contract ??= loadContract();
  return contract;
}

function loadContract(): ReplicationContract {
  const service = loadSync(FILE, { longs: Number })[SERVICE] as ServiceDefinition;
  const { Replicate: replicate, Position: position, Seek: seek } = service as Record<string, Method>;
  if (replicate === undefined || position === undefined || seek === undefined)
    throw new Error(`${FILE} does not have the methods of ${SERVICE}`);
  return { service, replicate, position, seek };
}
