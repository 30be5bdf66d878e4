/** Opens connections to NATS with the settings that the mesh relies on, and tells in plain words why one could not be opened. */
import { readFileSync } from "node:fs";
import {
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  errors,
  type NatsConnection,
  type TlsOptions,
} from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import { watchOf } from "./connection-watch.ts";
import { crashOnThrow } from "./crash.ts";

/** Half-open links are noticed after interval times two; the client's own default would take minutes. ms. */
const PING_INTERVAL_MS = 2_000;
const PINGS_OUT_MAX = 2;
const RECONNECT_WAIT_MS = 100;
const RECONNECT_JITTER_MS = 100;
const NATS_PORT_DEFAULT = "4222";
/** How long one server may take to greet us. ms. */
const DIAL_TIMEOUT_MS = 5_000;

export interface NatsOptions {
  /** One URL or several, `nats://host:port`. User and password may stand in the URL. */
  readonly servers: string | readonly string[];
  /** Name of the connection, as `nats server report connections` shows it. */
  readonly name: string;
  /** Prefix of the subjects that answers come on; `_INBOX` when absent. With per-user inbox rights it must be the permitted one. */
  readonly inboxPrefix?: string | undefined;
  readonly user?: string | undefined;
  readonly pass?: string | undefined;
  readonly token?: string | undefined;
  /** Path of a credentials file (user JWT and seed). */
  readonly creds?: string | undefined;
  readonly tls?: TlsOptions | undefined;
}

/**
 * Connects, or says why not.
 *
 * Result: a connection that reconnects for ever and notices a dead link after about 4 s.
 * Throws: `nats_unreachable` (no server answers), `nats_unauthorized` (credentials refused), `nats_options` (a credentials file or URL that
 * cannot be read); all definite.
 */
export async function connectNats(options: NatsOptions): Promise<NatsConnection> {
  const servers = typeof options.servers === "string" ? [options.servers] : [...options.servers];
  try {
    const connection = await connect(connectionOptions(servers, options));
    // The watch must hear everything from the start on.
    watchOf(connection);
    keepAll(connection, servers);
    return connection;
  } catch (error) {
    throw asConnectError(error, servers);
  }
}

/** nats.js forgets every server that did not answer before the first one did: it may be the one that is left when that one goes. */
function keepAll(connection: NatsConnection, servers: readonly string[]): void {
  const known = connection.getServers().map(({ listen }) => listen);
  const forgotten = servers.map(withoutLogin).filter((server) => !known.includes(addressOf(server)));
  if (forgotten.length > 0) connection.setServers([...known, ...forgotten]);
}

/** How often the servers are put in a new order until another one comes first. */
const ORDERS_MAX = 50;

/**
 * Drops the connection and dials another server first. Answers whether there is one; without effect while the connection is down or closing.
 * Requests under way end as when a server dies.
 */
export function leaveServer(connection: NatsConnection): boolean {
  if (connection.isClosed() || connection.isDraining()) return false;
  const current = connection.getServer();
  const servers = connection.getServers().map(({ listen }) => listen);
  if (servers.every((server) => server === current)) return false;
  // nats.js shuffles what it is given, and dials the first.
  for (let order = 0; order < ORDERS_MAX && connection.getServers()[0]?.listen === current; order += 1)
    connection.setServers(servers);
  void connection.reconnect().catch((error: unknown) => {
    // Closed in this very moment.
    if (!connection.isClosed() && !connection.isDraining())
      crashOnThrow(() => {
        throw error;
      });
  });
  return true;
}

function connectionOptions(servers: readonly string[], options: NatsOptions): ConnectionOptions {
  const login = loginOf(servers, options);
  const { name, inboxPrefix, tls } = options;
  return {
    servers: servers.map(withoutLogin),
    name,
    ...login,
    ...(inboxPrefix === undefined ? {} : { inboxPrefix }),
    ...(tls === undefined ? {} : { tls }),
    pingInterval: PING_INTERVAL_MS,
    maxPingOut: PINGS_OUT_MAX,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_WAIT_MS,
    reconnectJitter: RECONNECT_JITTER_MS,
    reconnectJitterTLS: RECONNECT_JITTER_MS,
    timeout: DIAL_TIMEOUT_MS,
    waitOnFirstConnect: false,
    // An account server or a reload may refuse us for a while; giving up would need a restart of the process.
    ignoreAuthErrorAbort: true,
    noAsyncTraces: true,
  };
}

function loginOf(servers: readonly string[], options: NatsOptions): Partial<ConnectionOptions> {
  const { user, pass, token, creds } = options;
  if (creds !== undefined) return { authenticator: credsAuthenticator(readCreds(creds)) };
  if (token !== undefined) return { token };
  if (user !== undefined) return pass === undefined ? { user } : { user, pass };
  // nats.js ignores what stands before the @ of a URL.
  for (const server of servers) {
    const url = parseUrl(server);
    if (url === undefined || url.username === "") continue;
    const name = decodeURIComponent(url.username);
    return url.password === "" ? { token: name } : { user: name, pass: decodeURIComponent(url.password) };
  }
  return {};
}

function readCreds(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw credsUnreadable(path, error);
  }
}

function credsUnreadable(path: string, cause: unknown): OperatingError {
  const message = `the credentials file ${path} cannot be read; check the path and its rights`;
  return new OperatingError("nats_options", message, { definite: true, cause });
}

function parseUrl(server: string): URL | undefined {
  const text = server.includes("://") ? server : `nats://${server}`;
  return URL.canParse(text) ? new URL(text) : undefined;
}

/** Host and port as nats.js keeps them. */
function addressOf(server: string): string {
  const url = parseUrl(server);
  return url === undefined ? server : `${url.hostname}:${url.port === "" ? NATS_PORT_DEFAULT : url.port}`;
}

/** A server's URL without user, password and token, fit for messages. */
export function withoutLogin(server: string): string {
  const url = parseUrl(server);
  if (url === undefined) return server.replace(/^[^@]*@/, "");
  return `${url.protocol}//${url.host}`;
}

function asConnectError(error: unknown, servers: readonly string[]): OperatingError {
  if (error instanceof OperatingError) return error;
  const where = servers.map(withoutLogin).join(", ");
  const cause = error instanceof Error ? error : new Error(String(error));
  if (cause instanceof errors.AuthorizationError || cause.cause instanceof errors.AuthorizationError)
    return new OperatingError(
      "nats_unauthorized",
      `NATS at ${where} refuses the credentials; check user and password, token or credentials file`,
      { definite: true, cause },
    );
  return new OperatingError(
    "nats_unreachable",
    `no NATS server answers at ${where} (${reasonOf(cause)}); start one, or name another with --nats-url`,
    { definite: true, cause, details: { servers: servers.map(withoutLogin) } },
  );
}

/** The innermost reason that has words: nats.js wraps system errors, and some have only a code. */
function reasonOf(error: Error): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (error.message !== "") return error.message;
  return code ?? error.name;
}
