/** The Redis server of a bed, in the durability class that is asked for. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Redis } from "ioredis";
import { findProgram } from "../../../infra/nats-server/command.ts";
import { pickFreePort } from "../../../infra/nats-server/free-port.ts";
import { type BoundServer, startBoundServer } from "../../support/bound-server.ts";
import type { Bed, PeerServer } from "../peers/peer.ts";

/** https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/ */
const APPEND_FSYNC = { D1: "everysec", D2: "always" } as const;

const program = (): Promise<string | undefined> => findProgram("redis-server", process.env["PATH"], ["/usr/bin"]);

/** Why there is no server here; undefined where there is one. */
export const redisMissing = async (): Promise<string | undefined> =>
  (await program()) === undefined ? "Redis is not installed (Debian: apt-get install redis-server)" : undefined;

export async function serveRedis({ folder, durability }: Bed): Promise<PeerServer> {
  const command = (await program()) ?? "redis-server";
  const home = join(folder, "redis");
  mkdirSync(home);
  const port = await pickFreePort("127.0.0.1");
  let version = "";
  const start = (): Promise<BoundServer> =>
    startBoundServer({
      command,
      folder: home,
      args: [
        ...["--port", String(port), "--bind", "127.0.0.1", "--dir", home, "--save", ""],
        ...["--appendonly", "yes", "--appendfsync", APPEND_FSYNC[durability], "--no-appendfsync-on-rewrite", "no"],
        ...["--maxmemory-policy", "noeviction"], // BullMQ asks for it
      ],
      ready: async () => {
        version = await ask(port);
      },
    });
  let server = await start();
  return {
    url: `redis://127.0.0.1:${port}`,
    version: `Redis ${version}`,
    get processes() {
      return [{ name: "redis-server", pid: server.pid }];
    },
    stop: () => server.end("SIGTERM"),
    crash: async () => {
      await server.end("SIGKILL");
      server = await start();
    },
  };
}

async function ask(port: number): Promise<string> {
  const redis = new Redis({ host: "127.0.0.1", port, lazyConnect: true, retryStrategy: () => null });
  redis.on("error", () => {}); // the call below throws it
  try {
    await redis.connect();
    // While it loads its files it answers nothing else.
    return /redis_version:(\S+)/.exec(await redis.info("server"))?.[1] ?? "";
  } finally {
    redis.disconnect();
  }
}
