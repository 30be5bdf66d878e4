/** Renders the configuration file of one embedded nats-server; pure, so that what a server is told can be read in a test. */
import assert from "node:assert/strict";

/** A server's place in a cluster. Every member lists the routes of all members, itself included. */
export interface ClusterSettings {
  readonly name: string;
  /** Port on `host` for the other members. */
  readonly port: number;
  /** `nats-route://host:port` of each member. */
  readonly routes: readonly string[];
  /** Whether the server tells clients and members of addresses that they were not given. Default true; false where all must pass proxies. */
  readonly advertises?: boolean;
}

/** Nobody listens there: a member that must not be found by others' word says that it is here. */
const NOWHERE = "127.0.0.1:1";

export interface ServerSettings {
  readonly serverName: string;
  readonly host: string;
  readonly port: number;
  /** Absolute. The server keeps its streams in `<storeDir>/jetstream`. */
  readonly storeDir: string;
  /** The server writes its `nats-server_<pid>.ports` file here once it listens. */
  readonly portsFolder: string;
  /** When the server calls fsync: `always`, before each acknowledgement, or an interval such as `2m`, which loses that much in a power cut. */
  readonly syncInterval: string;
  /** Largest message. Bytes. Absent: the server's default, 1 MiB. */
  readonly maxPayloadBytes?: number;
  /** Port on `host` for monitoring over HTTP. Absent: none. */
  readonly httpPort?: number;
  readonly cluster?: ClusterSettings;
  /** Text in nats-server's own format, appended as it is. */
  readonly extraConfig?: string;
}

/** The configuration file's text. */
export function renderServerConfig(settings: ServerSettings): string {
  const { serverName, host, port, storeDir, portsFolder, syncInterval, maxPayloadBytes, httpPort, cluster } = settings;
  assert(
    /^(always|(\d+(\.\d+)?(ns|us|ms|s|m|h))+)$/.test(syncInterval),
    `syncInterval ${syncInterval}: not a duration`,
  );
  assert(!/\s/.test(serverName), `serverName "${serverName}": nats-server refuses white space in a name`);
  const lines = [
    `server_name: ${quoted(serverName)}`,
    `host: ${quoted(host)}`,
    `port: ${port}`,
    `ports_file_dir: ${quoted(portsFolder)}`,
  ];
  if (maxPayloadBytes !== undefined) lines.push(`max_payload: ${maxPayloadBytes}`);
  if (httpPort !== undefined) lines.push(`http: ${quoted(`${host}:${httpPort}`)}`);
  lines.push("jetstream {", `  store_dir: ${quoted(storeDir)}`, `  sync_interval: ${quoted(syncInterval)}`, "}");
  if (cluster !== undefined) {
    lines.push(
      "cluster {",
      `  name: ${quoted(cluster.name)}`,
      `  listen: ${quoted(`${host}:${cluster.port}`)}`,
      `  routes: [${cluster.routes.map(quoted).join(", ")}]`,
      ...(cluster.advertises === false ? ["  no_advertise: true", `  advertise: ${quoted(NOWHERE)}`] : []),
      "}",
    );
  }
  if (settings.extraConfig !== undefined) lines.push(settings.extraConfig);
  return `${lines.join("\n")}\n`;
}

/** nats-server's strings know only a few escapes, and none for control characters, which have no business in a path or a name. */
function quoted(text: string): string {
  assert(
    [...text].every((character) => character >= " " && character !== "\u007f"),
    "no control characters",
  );
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
