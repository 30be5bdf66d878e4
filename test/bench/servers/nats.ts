/** The NATS server of a bed, in the durability class that is asked for. */
import { join } from "node:path";
import { type NatsServer, startNatsServer } from "../../../infra/nats-server/embedded.ts";
import { provisionNatsServer } from "../../../infra/nats-server/provision.ts";
import type { Bed, PeerServer } from "../peers/peer.ts";

/** As Redis and PostgreSQL are told in class D1: on the disk within about a second. */
const SYNC_INTERVAL = { D1: "1s", D2: "always" } as const;

/** Why there is no server here; undefined where there is one. */
export async function natsMissing(): Promise<string | undefined> {
  try {
    await provisionNatsServer({ report: () => {} });
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

export const startNats = ({ folder, durability }: Bed): Promise<NatsServer> =>
  startNatsServer({ storeDir: join(folder, "nats"), syncInterval: SYNC_INTERVAL[durability], report: () => {} });

/** A server alone, for peers that need nothing else. */
export async function serveNats(bed: Bed): Promise<PeerServer> {
  const server = await startNats(bed);
  return {
    url: server.url,
    version: `nats-server ${server.version}`,
    get processes() {
      return [{ name: "nats-server", pid: server.pid }];
    },
    stop: () => server.stop(),
    crash: async () => {
      await server.kill();
      await server.restart();
    },
  };
}
