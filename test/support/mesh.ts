/** A real server with real dispatcher processes, for tests of the whole way. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { natsServer } from "./nats.ts";
import { type Cleanup, type RunningProcess, startProcess } from "./process.ts";

export interface TestMesh {
  readonly server: NatsServer;
  readonly folder: string;
  /** Starts a dispatcher and waits until it serves; `until` names another line to wait for. */
  dispatcher(peerId: string, args?: readonly string[], until?: string): Promise<RunningProcess>;
}

export async function testMesh(cleanup: Cleanup): Promise<TestMesh> {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-mesh-"));
  cleanup(async () => rmSync(folder, { recursive: true, force: true }));
  const server = await natsServer({ cleanup });
  return {
    server,
    folder,
    dispatcher: async (peerId, args = [], until = '"msg":"ready"') => {
      const dispatcher = startProcess(
        "services/dispatcher/main.ts",
        ["--nats-url", server.url, "--peer-id", peerId, "--data-dir", join(folder, peerId), ...args],
        cleanup,
      );
      await dispatcher.line(until);
      return dispatcher;
    },
  };
}
