/**
 * Real nats-servers for tests and drills: one, or a cluster, in temporary folders, with a check that none is left running.
 *
 * Knows nothing of vitest, so drills use it too. A test hands over its cleanup hook, or uses `await using`:
 *
 *     beforeEach(skipWithoutNats);
 *     afterEach(failOnLeakedServers);
 *     test("...", async ({ onTestFinished }) => {
 *       const server = await natsServer({ cleanup: onTestFinished });
 *     });
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startNatsCluster, waitForMetaLeader } from "../../infra/nats-server/cluster.ts";
import { type NatsServer, type NatsServerOptions, startNatsServer } from "../../infra/nats-server/embedded.ts";
import { type ProvisionedServer, provisionNatsServer } from "../../infra/nats-server/provision.ts";

/** Takes what must run when the test is over: vitest's `onTestFinished`, or anything like it. */
type Cleanup = (dispose: () => Promise<void>) => void;

interface TestLifetime {
  /** Stops the servers and removes their folder when the test is over. Absent: the caller disposes (`await using`, `afterAll`). */
  readonly cleanup?: Cleanup;
  /** Set for a server that a whole file shares: `failOnLeakedServers` then leaves it to `failOnLeakedSuiteServers`. */
  readonly scope?: "suite";
}

export type TestServerOptions = TestLifetime & Partial<NatsServerOptions>;

export interface TestClusterOptions extends TestLifetime {
  /** Text in nats-server's own format for every member. */
  readonly extraConfig?: string;
  /** Default `always`. */
  readonly syncInterval?: string;
}

/** Servers that form one JetStream cluster. Each node can be killed, paused and restarted on its own. */
export interface TestCluster extends AsyncDisposable {
  readonly nodes: readonly NatsServer[];
  readonly urls: readonly string[];
  /**
   * Waits until the given nodes (default: those that run) agree on one of them as meta leader and it sees all of them up to date: a stream
   * with as many replicas can be made then. Throws when that takes too long. Leave paused nodes out of `among`.
   */
  metaLeader(among?: readonly NatsServer[]): Promise<NatsServer>;
}

type NatsAvailability =
  | { readonly available: true; readonly server: ProvisionedServer }
  | { readonly available: false; readonly reason: string };

interface Started {
  readonly server: NatsServer;
  /** Where the test started it. */
  readonly place: string;
  /** Whether something else than the test's own body ends it. */
  readonly isLookedAfter: boolean;
  readonly dispose: () => Promise<void>;
}

const started = new Set<Started>();
let provisioned: Promise<ProvisionedServer> | undefined;

/** For `beforeEach`: skips the test, with the reason, where no real server can be had. */
export async function skipWithoutNats(context: { readonly skip: (reason: string) => unknown }): Promise<void> {
  const availability = await natsAvailability();
  if (!availability.available) context.skip(availability.reason);
}

/** Whether a real server can be had here, found out once per process. For `beforeAll`, benchmarks and drills. */
export async function natsAvailability(): Promise<NatsAvailability> {
  try {
    return { available: true, server: await provisionOnce() };
  } catch (error) {
    return { available: false, reason: error instanceof Error ? error.message : String(error) };
  }
}

/** Starts one server: a folder of its own, a free port, `sync_interval: always`, unless the options say otherwise. */
export async function natsServer(options: TestServerOptions = {}): Promise<NatsServer> {
  const { cleanup: _cleanup, scope: _scope, ...serverOptions } = options;
  const place = callerOf();
  const { path: binary } = await provisionOnce();
  const folder = await temporaryFolder();
  const server = await startNatsServer({ binary, storeDir: folder, ...serverOptions }).catch(async (error: unknown) => {
    await rm(folder, { recursive: true, force: true });
    throw error;
  });
  const dispose = register([server], folder, options, place);
  return Object.assign(server, { [Symbol.asyncDispose]: dispose });
}

/** Starts a cluster of `size` servers and waits for its meta leader, which takes a few seconds. */
export async function cluster(size: number, options: TestClusterOptions = {}): Promise<TestCluster> {
  const place = callerOf();
  const folder = await temporaryFolder();
  try {
    const { path: binary } = await provisionOnce();
    const nodes = await startNatsCluster({ ...options, size, folder, binary });
    const dispose = register(nodes, folder, options, place);
    const metaLeader = (among = nodes.filter((node) => node.running)) => waitForMetaLeader(among);
    const result = { nodes, urls: nodes.map((node) => node.url), metaLeader, [Symbol.asyncDispose]: dispose };
    await metaLeader().catch(async (error: unknown) => {
      await dispose();
      throw error;
    });
    return result;
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** For `afterEach`: fails the test that left a server running which nothing else will end, and ends it. */
export async function failOnLeakedServers(): Promise<void> {
  await failOn([...started].filter((entry) => !entry.isLookedAfter));
}

/** For `afterAll`: fails when any server still runs, and ends it. Register it before the hook that disposes: vitest runs those last to first. */
export async function failOnLeakedSuiteServers(): Promise<void> {
  await failOn([...started]);
}

async function failOn(suspects: readonly Started[]): Promise<void> {
  const leaked = suspects.filter((entry) => entry.server.running);
  const lines = leaked.map(({ server, place }) => `  ${server.serverName} (pid ${server.pid}), started ${place}`);
  for (const entry of suspects) await entry.dispose();
  if (leaked.length > 0) throw new Error(`${leaked.length} nats-server(s) were left running:\n${lines.join("\n")}`);
}

function provisionOnce(): Promise<ProvisionedServer> {
  provisioned ??= provisionNatsServer();
  return provisioned;
}

/** Kills at the end: the data is thrown away with the folder, so an orderly stop would only cost time. */
function register(
  servers: readonly NatsServer[],
  folder: string,
  lifetime: TestLifetime,
  place: string,
): () => Promise<void> {
  const isLookedAfter = lifetime.cleanup !== undefined || lifetime.scope === "suite";
  const entries: Started[] = servers.map((server) => ({ server, place, isLookedAfter, dispose: () => dispose() }));
  const dispose = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.kill()));
    for (const entry of entries) started.delete(entry);
    await rm(folder, { recursive: true, force: true });
  };
  for (const entry of entries) started.add(entry);
  lifetime.cleanup?.(dispose);
  return dispose;
}

function temporaryFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "omnirelay-test-nats-"));
}

/** The first line of the stack outside this file. */
function callerOf(): string {
  const lines = new Error("for its stack").stack?.split("\n").slice(1) ?? [];
  return lines.find((line) => !line.includes("test/support/nats.ts"))?.trim() ?? "at an unknown place";
}
