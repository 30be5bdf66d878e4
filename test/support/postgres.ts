/** A real PostgreSQL server for tests and benchmarks: in a folder of theirs, on a free port, ended with them. */
import { execFileSync } from "node:child_process";
import { existsSync, globSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import pg from "pg";
import { pickFreePort } from "../../infra/nats-server/free-port.ts";
import { type BoundServer, giveToNobody, nobody, startBoundServer } from "./bound-server.ts";
import type { Cleanup } from "./process.ts";

/** The folder of its programs; undefined where it is not installed. Debian keeps them off the PATH. */
function programs(): string | undefined {
  const onPath = (process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "initdb"));
  const found = [...onPath, ...globSync("/usr/lib/postgresql/*/bin/initdb").toSorted().reverse()].find(existsSync);
  return found === undefined ? undefined : dirname(found);
}

/** Why there is no server here; undefined where there is one. */
export const postgresNote: string | undefined =
  programs() === undefined ? "PostgreSQL is not installed (Debian: postgresql)" : undefined;

export interface Postgres {
  readonly url: string;
  /** Of the postmaster. */
  readonly pid: number;
  /** `15.18`. */
  readonly version: string;
  /** Ends it at once with its children, its files as a loss of power would leave them. */
  stop(): Promise<void>;
}

/** Starts a server on the folder, made new unless it holds one. `settings` are of postgresql.conf; `name=value`. */
export async function startPostgres(folder: string, settings: readonly string[], port?: number): Promise<Postgres> {
  const bin = programs() ?? "";
  const data = join(folder, "data");
  if (!existsSync(data)) {
    giveToNobody(folder);
    const args = ["-D", data, "-U", "test", "-A", "trust", "-N", "-E", "UTF8", "--no-locale"];
    // PostgreSQL refuses to run as root.
    execFileSync(join(bin, "initdb"), args, { ...nobody(), cwd: folder, stdio: "ignore" });
  }
  const used = port ?? (await pickFreePort("127.0.0.1"));
  const all = [`port=${used}`, "listen_addresses=127.0.0.1", "unix_socket_directories=", ...settings];
  const url = `postgres://test@127.0.0.1:${used}/postgres`;
  let version = "";
  const server: BoundServer = await startBoundServer({
    command: join(bin, "postgres"),
    args: ["-D", data, ...all.flatMap((one) => ["-c", one])],
    folder,
    asNobody: true,
    ready: async () => {
      version = await ask(url);
    },
  });
  return { url, pid: server.pid, version, stop: () => server.end("SIGQUIT") };
}

async function ask(url: string): Promise<string> {
  const client = new pg.Client(url);
  try {
    await client.connect();
    const { rows } = await client.query<{ server_version: string }>("show server_version");
    return rows[0]?.server_version.split(" ")[0] ?? "";
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Starts a server for a test, and returns the URL of its database. */
export async function postgresServer(cleanup: Cleanup): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-postgres-"));
  let server: Postgres | undefined;
  cleanup(async () => {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  server = await startPostgres(folder, ["fsync=off"]);
  return server.url;
}
