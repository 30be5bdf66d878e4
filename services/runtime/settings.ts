/**
 * The registry of every setting of every process: one schema, one sentence and one default each, whichever process reads it. It is
 * one list so that a name means the same everywhere, a typo is told from a setting of another process, and the docs are generated.
 *
 * Names follow from the key: `natsUrl` in a file is OMNIRELAY_NATS_URL in the environment and --nats-url as a flag.
 */
import { z } from "zod";
import { PeerId, Principal, RegionName, ShardName } from "../../contracts/ids.ts";
import { ENTRIES_PER_REQUEST_MAX } from "../../contracts/limits.ts";
import { ShardOptionsPatch } from "../../contracts/options.ts";
import { LOG_LEVELS } from "./logger.ts";

/** Where a role that is not in the mesh host looks for a server unless it is told. */
export const NATS_URL_DEFAULT = "nats://127.0.0.1:4222";
export const HTTP_PORT_DEFAULT = 5_158;
const PORT_MAX = 65_535;
const ITEMS_MAX = 10_000_000;
const STOP_TIMEOUT_MS_MAX = 600_000;
const SEED_NAME = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const NATS_SERVER_URL = /^((nats|tls|ws|wss):\/\/)?([^\s/@]+@)?(\[[0-9a-f:]+\]|[A-Za-z0-9._-]+)(:(?<port>\d{1,5}))?$/i;

/** Roles of the mesh, in the order in which they start; they stop in the reverse order. */
const ROLE_NAMES = ["dispatcher", "control-plane", "replicator", "worker", "seeder"] as const;

interface SettingMeta {
  readonly description: string;
  /** What stands for the value in the help, for example `URL`. */
  readonly value: string;
  /** Shown in place of the schema's default where the process or the machine decides. */
  readonly defaultText?: string;
  /** Masked wherever settings are shown. */
  readonly secret?: boolean;
}

const metaOf = new WeakMap<z.ZodType, SettingMeta>();

/** Keeps the sentence of a setting beside its schema. Not zod's own registry: `.optional()` and `.default()` would lose it. */
function setting<Schema extends z.ZodType>(schema: Schema, meta: SettingMeta): Schema {
  metaOf.set(schema, meta);
  return schema;
}

function isNatsServer(url: string): boolean {
  const match = NATS_SERVER_URL.exec(url);
  if (match === null) return false;
  const port = match.groups?.["port"];
  return port === undefined || (Number(port) >= 1 && Number(port) <= PORT_MAX);
}

/** The servers that a `natsUrl` names. */
export const natsServers = (natsUrl: string): string[] => natsUrl.split(",").map((url) => url.trim());

const uniqueList = <Entry extends z.ZodType>(entry: Entry) =>
  z
    .array(entry)
    .min(1)
    .max(64)
    .refine((list) => new Set(list).size === list.length, { error: "names something twice" });

const shared = {
  natsUrl: setting(
    z.string().refine((text) => natsServers(text).every(isNatsServer), { error: "is no NATS address" }),
    {
      description: "NATS servers, comma-separated. The mesh starts a server of its own when it is absent.",
      value: "URL",
      defaultText: `${NATS_URL_DEFAULT}; none in the mesh`,
    },
  ),
  region: setting(RegionName.default("local"), {
    description: "Region that the shards' streams live in.",
    value: "NAME",
  }),
  shards: setting(uniqueList(ShardName).default(["default"]), {
    description: "Shards that the process hosts or uses.",
    value: "NAME,…",
  }),
  peerId: setting(PeerId, {
    description:
      "Identity of this process: a principal, or a principal, `--` and a name. Two processes must not share one: give the second dispatcher or worker its own.",
    value: "PEER",
    defaultText: "name of the process",
  }),
  principal: setting(Principal, {
    description: "Identity that requests are sent under: the last token of the RPC subject.",
    value: "NAME",
    defaultText: "name of the process",
  }),
  dataDir: setting(z.string().min(1), {
    description: "Folder of everything that the process keeps on disk. Made when it is missing.",
    value: "FOLDER",
    defaultText: ".omnirelay; a temporary folder with --exit",
  }),
  logLevel: setting(z.enum(LOG_LEVELS).default("info"), {
    description: "Least important line that is logged.",
    value: "LEVEL",
  }),
  stopTimeoutMs: setting(z.int().min(100).max(STOP_TIMEOUT_MS_MAX).default(10_000), {
    description: "How long an orderly stop may take; then the process exits with code 1. ms.",
    value: "MS",
  }),
};

const dispatcher = {
  provision: setting(z.boolean().default(true), {
    description: "Make streams and buckets that are missing. A missing stream under a known log id still halts.",
    value: "",
  }),
  replicas: setting(z.union([z.literal(1), z.literal(3), z.literal(5)]).default(1), {
    description: "Replicas of streams that this process makes. More than 1 needs a cluster.",
    value: "COUNT",
  }),
  shardOptions: setting(ShardOptionsPatch.default({}), {
    description:
      "Options that a shard made by this process begins with, as name=value,…; those of an existing shard are changed by `configure` only, a difference is reported.",
    value: "NAME=VALUE,…",
  }),
  syncInterval: setting(
    z
      .string()
      .regex(/^(always|[1-9]\d{0,8}(ms|s|m))$/)
      .default("always"),
    {
      description:
        "How often the embedded server syncs its files: always, or a duration such as 2m. Only `always` keeps what was acknowledged through a loss of power.",
      value: "always|DURATION",
    },
  ),
  natsMonitorUrl: setting(
    z
      .string()
      .refine((text) => text.split(",").every((url) => /^https?:\/\/[^\s/,]+\/?$/.test(url)), {
        error: "is no http address, nor several with commas between",
      })
      .optional(),
    {
      description:
        "Monitoring addresses of the NATS servers, one or several with commas between, for the settings that a client cannot ask for, such as sync_interval.",
      value: "URL",
    },
  ),
  snapshotEvents: setting(z.int().min(1).max(1_000_000_000).default(100_000), {
    description:
      "Events after which each dispatcher takes the next snapshot of a shard; four for each of its items and records where these are more than 10,000.",
    value: "COUNT",
  }),
  snapshotMs: setting(z.int().min(0).max(86_400_000).default(30_000), {
    description: "Time between two snapshots of a shard at least, however many events there are. ms.",
    value: "MS",
  }),
  logBytesMax: setting(z.int().min(-1).max(Number.MAX_SAFE_INTEGER).default(-1), {
    description: "Byte limit of the stream of a shard made by this process; -1 for none.",
    value: "BYTES",
  }),
  allowUnsafeServer: setting(z.boolean().default(false), {
    description:
      "Serve although the server check refuses the server, for example because its version has known holes in fencing.",
    value: "",
  }),
};

const controlPlane = {
  httpHost: setting(z.string().min(1).max(255).default("127.0.0.1"), {
    description: "Address that the control plane listens on. It has no authentication yet: keep it on loopback.",
    value: "HOST",
  }),
  httpPort: setting(z.int().min(0).max(PORT_MAX).default(HTTP_PORT_DEFAULT), {
    description: "Port of the control plane; 0 takes a free one, which the log names.",
    value: "PORT",
    defaultText: `${HTTP_PORT_DEFAULT}; a free one with --exit`,
  }),
};

const replicator = {
  // What stands in each is checked with the kinds of sinks, which may come from modules, so that all that is wrong is told at once.
  sinks: setting(z.array(z.looseObject({})).max(64).default([]), {
    description:
      "Sinks that the replicator runs: name, kind, options of the kind, and what to do with failures. A JSON list, or tables of the file; see docs/replication.md.",
    value: "JSON",
  }),
  sinkModules: setting(z.array(z.string().min(1)).max(64).default([]), {
    description: "Modules that export `sinkKinds`, a list of kinds of sinks that are not ours.",
    value: "FILE,…",
  }),
};

const lakehouse = {
  items: setting(z.int().min(1).max(ITEMS_MAX).optional(), {
    description: "How many items the seeder enqueues; absent means for ever.",
    value: "COUNT",
  }),
  rate: setting(z.int().min(1).max(1_000_000).optional(), {
    description:
      "Items per second that the seeder enqueues at most; absent means 20 without --items, no limit with it.",
    value: "COUNT",
  }),
  batch: setting(z.int().min(1).max(ENTRIES_PER_REQUEST_MAX).default(100), {
    description: "Items per enqueue request of the seeder.",
    value: "COUNT",
  }),
  seed: setting(z.string().max(64).regex(SEED_NAME).default("demo"), {
    description: "Name that the synthetic mutations follow from: the same seed gives the same items and request ids.",
    value: "NAME",
  }),
  catalogs: setting(z.int().min(1).max(100).default(2), {
    description: "Catalogs that the seeder writes to.",
    value: "COUNT",
  }),
  tables: setting(z.int().min(1).max(10_000).default(50), { description: "Tables per catalog.", value: "COUNT" }),
  workers: setting(z.int().min(1).max(64).default(2), {
    description: "Workers in the mesh host.",
    value: "COUNT",
  }),
  concurrency: setting(z.int().min(1).max(1_000).default(16), {
    description: "Items that one worker handles at once.",
    value: "COUNT",
  }),
  prefetch: setting(z.int().min(0).max(10_000).default(64), {
    description: "Leases that one worker holds beyond those it handles, so that none waits for a round trip.",
    value: "COUNT",
  }),
};

const mesh = {
  roles: setting(uniqueList(z.enum(ROLE_NAMES)).default([...ROLE_NAMES]), {
    description: "Roles that the mesh host runs.",
    value: "NAME,…",
  }),
  exit: setting(z.boolean().default(false), {
    description: "Exit when all --items are completed: code 0 when each was applied exactly once.",
    value: "",
  }),
  json: setting(z.boolean().default(false), {
    description: "Print one JSON result on standard output; log lines go to standard error.",
    value: "",
  }),
};

export const SETTINGS = Object.freeze({
  ...shared,
  ...dispatcher,
  ...controlPlane,
  ...replicator,
  ...lakehouse,
  ...mesh,
});
export type SettingName = keyof typeof SETTINGS;

/** Settings that are read before the others, or by others than `loadSettings`: known names, so that they are no typos. */
export const OTHER_ENVIRONMENT: Readonly<Record<string, string>> = Object.freeze({
  OMNIRELAY_CONFIG: "Settings file, the same as --config.",
  OMNIRELAY_NATS_SERVER: "Path of a nats-server binary for the embedded server.",
});

/** Variables of the tests, which processes that they start inherit. */
const TEST_ENVIRONMENT_PREFIX = "OMNIRELAY_TEST_";

/** Whether a variable begins like ours and is read by `loadSettings`, or else is a typo of one that is. */
export function isSettingVariable(name: string): boolean {
  return (
    name.startsWith("OMNIRELAY_") &&
    !name.startsWith(TEST_ENVIRONMENT_PREFIX) &&
    !Object.hasOwn(OTHER_ENVIRONMENT, name)
  );
}

export const isSettingName = (name: string): name is SettingName => Object.hasOwn(SETTINGS, name);
export const environmentName = (name: string): string => `OMNIRELAY_${name.replace(/[A-Z]/g, "_$&").toUpperCase()}`;
export const flagName = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

export function settingMeta(name: SettingName): SettingMeta {
  const meta = metaOf.get(SETTINGS[name]);
  if (meta === undefined) throw new Error(`the setting ${name} has no description`);
  return meta;
}
