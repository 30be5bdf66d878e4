/** A real server with real dispatcher processes, for tests of the whole way. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { LeaseClient, type LeaseClientOptions } from "../../services/client/mod.ts";
import { natsServer, type TestServerOptions } from "./nats.ts";
import { type Cleanup, type RunningProcess, startProcess } from "./process.ts";

/** How a process of the mesh is started; absent: alone against the test's server. */
interface StartOptions {
  /** Its data folder, when not that of its peer id. */
  readonly dataDir?: string;
  readonly servers?: string;
}

export interface TestMesh {
  readonly server: NatsServer;
  readonly folder: string;
  /** Starts a dispatcher and waits until it serves; `until` names another line to wait for. */
  dispatcher(peerId: string, args?: readonly string[], until?: string): Promise<RunningProcess>;
  /** Starts a dispatcher and waits for nothing. */
  start(peerId: string, args?: readonly string[], options?: StartOptions): RunningProcess;
  /** The data folder of a peer. */
  dataDir(peerId: string): string;
  client(shard: string, options?: Partial<LeaseClientOptions>): Promise<LeaseClient>;
}

export async function testMesh(cleanup: Cleanup, serverOptions: TestServerOptions = {}): Promise<TestMesh> {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-mesh-"));
  cleanup(async () => rmSync(folder, { recursive: true, force: true }));
  const server = await natsServer({ ...serverOptions, cleanup });
  const dataDir = (peerId: string): string => join(folder, peerId);
  const start: TestMesh["start"] = (peerId, args = [], options = {}) =>
    startProcess(
      "services/dispatcher/main.ts",
      [
        ...["--nats-url", options.servers ?? server.url, "--peer-id", peerId],
        ...["--data-dir", options.dataDir ?? dataDir(peerId), ...args],
      ],
      cleanup,
    );
  return {
    server,
    folder,
    dataDir,
    start,
    dispatcher: async (peerId, args = [], until = '"msg":"ready"') => {
      const dispatcher = start(peerId, args);
      await dispatcher.line(until);
      return dispatcher;
    },
    client: async (shard, options = {}) => {
      const client = await LeaseClient.connect({ servers: server.url, shard, principal: "load", ...options });
      cleanup(() => client.close());
      return client;
    },
  };
}
