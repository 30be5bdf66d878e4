/** Opens a client for one command and closes it however the command ends. */
import { LeaseClient } from "../client/lease-client.ts";
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
