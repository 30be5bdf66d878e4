/** Opens a client, or a connection, for one command and closes it however the command ends. */
import type { NatsConnection } from "@nats-io/transport-node";
import { LeaseClient } from "../client/lease-client.ts";
import { connectNats } from "../jetstream/connect.ts";
import { natsServers } from "../runtime/settings.ts";
import type { MeshOptions } from "./arguments.ts";

/** Options of a command that asks one shard. */
export interface AskOptions extends MeshOptions {
  readonly timeoutMs: number;
}

export async function withClient<T>(options: AskOptions, use: (client: LeaseClient) => Promise<T>): Promise<T> {
  const { natsUrl, shard, principal, timeoutMs } = options;
  const client = await LeaseClient.connect({ servers: natsServers(natsUrl), shard, principal, timeoutMs });
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

export async function withConnection<T>(natsUrl: string, use: (connection: NatsConnection) => Promise<T>): Promise<T> {
  const connection = await connectNats({ servers: natsServers(natsUrl), name: "omnirelay cli" });
  try {
    return await use(connection);
  } finally {
    await connection.close();
  }
}
