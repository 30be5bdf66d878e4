/** The PostgreSQL server of a bed, in the durability class that is asked for. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { isAlive } from "../../../infra/nats-server/process-state.ts";
import { postgresNote, startPostgres } from "../../support/postgres.ts";
import type { Bed, PeerServer } from "../peers/peer.ts";
import { treeOf } from "./processes.ts";

/** https://www.postgresql.org/docs/15/wal-async-commit.html */
const COMMIT = { D1: "off", D2: "on" } as const;
const POLL_MS = 5;

export const postgresMissing = async (): Promise<string | undefined> =>
  postgresNote === undefined ? undefined : `${postgresNote.replace(/:/, ": apt-get install")}`;

export async function servePostgres({ folder, durability }: Bed): Promise<PeerServer> {
  const home = join(folder, "postgres");
  mkdirSync(home);
  const settings = [
    ...["fsync=on", "full_page_writes=on", "wal_writer_delay=200ms", `synchronous_commit=${COMMIT[durability]}`],
    // Sizes as its makers advise for a machine of this kind, so that no checkpoint falls into a run for want of room.
    ...["shared_buffers=1GB", "max_wal_size=4GB", "checkpoint_timeout=15min", "autovacuum=on", "jit=off"],
    "max_connections=200",
  ];
  let server = await startPostgres(home, settings);
  const port = Number(new URL(server.url).port);
  return {
    url: server.url,
    version: `PostgreSQL ${server.version}`,
    get processes() {
      return [{ name: "postgres", pid: server.pid }];
    },
    stop: () => server.stop(),
    crash: async () => {
      // Its children would go on until they notice, and a new server waits for them.
      const tree = treeOf(server.pid);
      for (const pid of tree) if (isAlive(pid)) process.kill(pid, "SIGKILL");
      await server.stop();
      while (tree.some(isAlive)) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      server = await startPostgres(home, settings, port);
    },
  };
}
