/** The NATS server of a mesh that was given none: a child process with its streams in the mesh's data folder. */
import { join } from "node:path";
import { OperatingError } from "../../contracts/errors.ts";
import type { Reporter } from "../../contracts/ports.ts";
import { type NatsServer, startNatsServer } from "../../infra/nats-server/embedded.ts";
import { pickFreePort } from "../../infra/nats-server/free-port.ts";

const HOST = "127.0.0.1";
const ATTEMPTS_MAX = 3;

export interface EmbeddedNatsSettings {
  readonly dataDir: string;
  readonly syncInterval: string;
}

/** Starts the server with monitoring, so that the server check can read its real `sync_interval`. Throws what `startNatsServer` throws. */
export async function startEmbeddedNats(
  { dataDir, syncInterval }: EmbeddedNatsSettings,
  reporter: Reporter,
): Promise<NatsServer> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startNatsServer({
        host: HOST,
        storeDir: join(dataDir, "nats"),
        syncInterval,
        httpPort: await pickFreePort(HOST),
        report: (line) => reporter.info("nats_server", { line }),
      });
    } catch (error) {
      // Somebody may take the port between its picking and its use.
      const isPassing =
        error instanceof OperatingError && error.code === "nats_server_port_taken" && attempt < ATTEMPTS_MAX;
      if (!isPassing) throw error;
    }
  }
}
