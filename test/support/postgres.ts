/** A real PostgreSQL server for tests that need several processes at one database: a temporary folder, a free port, ended with the test. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chownSync, existsSync, globSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import pg from "pg";
import { pickFreePort } from "../../infra/nats-server/free-port.ts";
import type { Cleanup } from "./process.ts";

/** PostgreSQL refuses to run as root: `nobody` exists everywhere and owns nothing. */
const NOBODY = 65_534;
const START_TRIES = 200;
const RETRY_MS = 50;

/** The folder of its programs; undefined where it is not installed. Debian keeps them off the PATH. */
function programs(): string | undefined {
  const onPath = (process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "initdb"));
  const found = [...onPath, ...globSync("/usr/lib/postgresql/*/bin/initdb").toSorted().reverse()].find(existsSync);
  return found === undefined ? undefined : dirname(found);
}

/** Why there is no server here; undefined where there is one. */
export const postgresNote: string | undefined =
  programs() === undefined ? "PostgreSQL is not installed (Debian: postgresql)" : undefined;

/** Starts a server, and returns the URL of its database. */
export async function postgresServer(cleanup: Cleanup): Promise<string> {
  const bin = programs() ?? "";
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-postgres-"));
  const as = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  if (as.uid !== undefined) chownSync(folder, as.uid, as.gid);
  const data = join(folder, "data");
  const options = { ...as, cwd: folder, stdio: "ignore" } as const;
  execFileSync(
    join(bin, "initdb"),
    ["-D", data, "-U", "test", "-A", "trust", "-N", "-E", "UTF8", "--no-locale"],
    options,
  );
  const port = await pickFreePort("127.0.0.1");
  const settings = [`port=${port}`, "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"];
  const server = spawn(join(bin, "postgres"), ["-D", data, ...settings.flatMap((one) => ["-c", one])], options);
  cleanup(async () => {
    await end(server);
    rmSync(folder, { recursive: true, force: true });
  });
  const url = `postgres://test@127.0.0.1:${port}/postgres`;
  await untilReady(url, server);
  return url;
}

async function end(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  server.kill("SIGQUIT"); // at once, with its children
  await once(server, "exit");
}

async function untilReady(url: string, server: ChildProcess): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    const client = new pg.Client(url);
    try {
      await client.connect();
      await client.end();
      return;
    } catch (error) {
      if (tries === START_TRIES || server.exitCode !== null) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
