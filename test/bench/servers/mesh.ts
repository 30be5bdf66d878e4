/** The servers of OmniRelay in a bed: one NATS server and the dispatchers of its shards. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { logStream, rpcSubject } from "../../../contracts/subjects.ts";
import { DISPATCHER_NODE_FLAGS } from "../../../services/runtime/node-flags.ts";
import { type BoundServer, startBoundServer } from "../../support/bound-server.ts";
import type { Bed, LogSurvey, PeerServer } from "../peers/peer.ts";
import { startNats } from "./nats.ts";

/** How long one look at a shard may take while its dispatcher starts. ms. */
const LOOK_MS = 250;

export interface MeshBed {
  readonly shards: readonly string[];
  readonly dispatcherCount: number;
  /** Whose dispatcher runs. */
  readonly checkout: string;
  readonly shardOptions: string;
}

export async function serveMesh(bed: Bed, mesh: MeshBed): Promise<PeerServer> {
  const server = await startNats(bed);
  let dispatchers: readonly BoundServer[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(dispatchers.map((dispatcher) => dispatcher.end("SIGTERM")));
    await server.stop();
  };
  try {
    dispatchers = await startDispatchers(bed, server.url, mesh);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url: server.url,
    version: `nats-server ${server.version}`,
    get processes() {
      const all = dispatchers.map(({ pid }) => ({ name: "dispatcher", pid }));
      return [{ name: "nats-server", pid: server.pid }, ...all];
    },
    stop,
    crash: async () => {
      await Promise.all([...dispatchers.map((dispatcher) => dispatcher.end("SIGKILL")), server.kill()]);
      await server.restart();
      dispatchers = await startDispatchers(bed, server.url, mesh);
    },
    survey: () => survey(server.url, mesh.shards),
  };
}

/** Each dispatcher hosts its part of the shards. */
async function startDispatchers(bed: Bed, url: string, mesh: MeshBed): Promise<readonly BoundServer[]> {
  const { shards, dispatcherCount, checkout, shardOptions } = mesh;
  const connection = await connect({ servers: url });
  try {
    return await Promise.all(
      Array.from({ length: dispatcherCount }, (_, index) => {
        const hosted = shards.filter((_shard, place) => place % dispatcherCount === index);
        const folder = join(bed.folder, `dispatcher-${index}`);
        mkdirSync(folder, { recursive: true });
        return startBoundServer({
          command: process.execPath,
          folder,
          args: [
            ...DISPATCHER_NODE_FLAGS,
            ...[join(checkout, "services/dispatcher/main.ts"), "--nats-url", url, "--data-dir", join(folder, "data")],
            ...["--shards", hosted.join(","), "--peer-id", `dispatcher--${index}`, "--shard-options", shardOptions],
          ],
          ready: async () => {
            await Promise.all(hosted.map((shard) => look(connection, shard)));
          },
        });
      }),
    );
  } finally {
    await connection.close();
  }
}

async function look(connection: NatsConnection, shard: string): Promise<void> {
  const reply = await connection.request(rpcSubject(shard, "stats", "bench"), "{}", { timeout: LOOK_MS });
  const { error } = reply.json<{ error?: { message: string } }>();
  if (error !== undefined) throw new Error(error.message);
}

/** All that the shards' logs hold; nothing has been trimmed from them unless the shard's options ask for it. */
async function survey(url: string, shards: readonly string[]): Promise<LogSurvey> {
  const connection = await connect({ servers: url });
  try {
    const manager = await jetstreamManager(connection);
    const infos = await Promise.all(shards.map((shard) => manager.streams.info(logStream("local", shard))));
    return {
      frames: infos.reduce((sum, { state }) => sum + state.messages, 0),
      bytes: infos.reduce((sum, { state }) => sum + state.bytes, 0),
    };
  } finally {
    await connection.close();
  }
}
