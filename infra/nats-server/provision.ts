/** Finds or fetches a nats-server binary that the mesh may use; the one door, so that every process applies the same order and policy. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OperatingError } from "../../contracts/errors.ts";
import { cachedServers, installIntoCache, serverCacheFolder } from "./cache.ts";
import { isExecutableFile, programsNamed, runCommand } from "./command.ts";
import { downloadFromDistribution } from "./debian.ts";
import { downloadRelease } from "./release.ts";
import {
  judgeServerVersion,
  parseServerVersion,
  SERVER_VERSION_PINNED,
  type ServerVersion,
  type VersionDemand,
} from "./version.ts";

/**
 * Where a binary came from, in the order in which they are asked.
 *
 * `environment`: OMNIRELAY_NATS_SERVER names it; when it is set nothing else is tried. `path`: found on the PATH. `cache`: fetched earlier by
 * this function. `release`: the pinned release. `distribution`: a package of a newer suite of the machine's own Debian or Ubuntu mirror.
 */
const PROVISION_SOURCES = ["environment", "path", "cache", "release", "distribution"] as const;
type ProvisionSource = (typeof PROVISION_SOURCES)[number];

export interface ProvisionOptions extends VersionDemand {
  /** Default `process.env`. Reads OMNIRELAY_NATS_SERVER, PATH, XDG_CACHE_HOME and HOME; apt gets all of it. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Takes one line of progress or warning. Default: standard error. */
  readonly report?: (line: string) => void;
  /** Which sources may be asked. Default all. Without `release` and `distribution` nothing is downloaded. */
  readonly sources?: readonly ProvisionSource[];
  /** See `ReleaseRequest`. Default: the project's releases on GitHub. */
  readonly releasesUrl?: string;
  /** See `ReleaseRequest`. Default: the SHA256SUMS published beside the release. */
  readonly archiveSha256?: string;
  /** Folders searched after those of the PATH. Default: the ones of daemons, which an ordinary user's PATH often leaves out. */
  readonly daemonFolders?: readonly string[];
  /** Where apt is configured. Default `/etc`. */
  readonly etcFolder?: string;
}

export interface ProvisionedServer {
  readonly path: string;
  /** As the binary itself reports it, without the leading `v`. */
  readonly version: string;
  readonly source: ProvisionSource;
}

/** One way that did not lead to a server, for the error. */
interface ProvisionAttempt {
  readonly source: ProvisionSource;
  readonly reason: string;
}

/** Longest time for `nats-server --version`. ms. */
const VERSION_TIMEOUT_MS = 10_000;
/** Longest time for one apt command; an index is about 10 MB. ms. */
const APT_TIMEOUT_MS = 120_000;
const DAEMON_FOLDERS = ["/usr/local/sbin", "/usr/sbin"];

/**
 * Returns a nats-server that satisfies the version policy, fetching one into the user's cache if need be. Nothing is installed system-wide.
 *
 * Throws: OperatingError `nats_server_not_provisioned` (definite), whose message and `details.attempts` list what was tried, why each way
 * failed, and what to do. Source: toolchain.md; nats-notes.md sections 3b and 12b for the floors.
 */
export async function provisionNatsServer(options: ProvisionOptions = {}): Promise<ProvisionedServer> {
  const context = contextOf(options);
  const attempts: ProvisionAttempt[] = [];
  const errors: unknown[] = [];
  for (const source of PROVISION_SOURCES) {
    if (options.sources !== undefined && !options.sources.includes(source)) continue;
    try {
      return { ...(await FINDERS[source](context)), source };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      attempts.push({ source, reason });
      errors.push(error);
      if (source === "release") context.report(`the release cannot be had (${reason})`);
    }
    // A path that somebody set and that does not work is a mistake to report, not one to work around.
    if (source === "environment" && isSet(context.env["OMNIRELAY_NATS_SERVER"])) break;
  }
  throw notProvisioned(attempts, errors);
}

/**
 * Runs `--version` on a binary and applies the version policy; a warning goes to `report`.
 *
 * Throws: an Error that names the binary, when it does not run here, is another program, or is refused.
 */
export async function inspectServerBinary(
  path: string,
  demand: VersionDemand,
  report: (line: string) => void,
): Promise<ServerVersion> {
  const output = await runCommand(path, ["--version"], { timeoutMs: VERSION_TIMEOUT_MS });
  // Other programs print a version too: without the name, a wrong path would pass for a very new server.
  const version = output.startsWith("nats-server:") ? parseServerVersion(output) : undefined;
  if (version === undefined) {
    throw new Error(`${path} is not a nats-server: its --version says ${JSON.stringify(output.slice(0, 80))}`);
  }
  const verdict = judgeServerVersion(version, demand);
  if (verdict.kind === "refused") throw new Error(`${verdict.message} (${path})`);
  if (verdict.kind === "warned") report(`warning: ${verdict.message} (${path})`);
  return version;
}

/** Writes one line to standard error: progress must not mix with what a program prints as its result. */
export function reportToStandardError(line: string): void {
  process.stderr.write(`${line}\n`);
}

interface Context {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly report: (line: string) => void;
  readonly options: ProvisionOptions;
  readonly inspect: (path: string) => Promise<ServerVersion>;
}

type Found = Omit<ProvisionedServer, "source">;

const FINDERS: Readonly<Record<ProvisionSource, (context: Context) => Promise<Found>>> = {
  environment: findNamedByEnvironment,
  path: findOnPath,
  cache: findInCache,
  release: (context) => fetchIntoCache(context, (workFolder) => fetchRelease(context, workFolder)),
  distribution: (context) => fetchIntoCache(context, (workFolder) => fetchPackage(context, workFolder)),
};

async function findNamedByEnvironment(context: Context): Promise<Found> {
  const path = context.env["OMNIRELAY_NATS_SERVER"];
  if (path === undefined || path === "") throw new Error("OMNIRELAY_NATS_SERVER is not set");
  if (!(await isExecutableFile(path))) {
    throw new Error(`OMNIRELAY_NATS_SERVER is ${path}, which is not a file that this user may execute`);
  }
  return { path, version: (await context.inspect(path)).text };
}

async function findOnPath(context: Context): Promise<Found> {
  const folders = context.options.daemonFolders ?? DAEMON_FOLDERS;
  const candidates = await programsNamed("nats-server", context.env["PATH"], folders);
  return firstAcceptable(context, candidates, "no nats-server is on the PATH");
}

async function findInCache(context: Context): Promise<Found> {
  const folder = serverCacheFolder(context.env);
  return firstAcceptable(context, await cachedServers(folder), `no nats-server is in ${folder}`);
}

async function firstAcceptable(context: Context, candidates: readonly string[], whenNone: string): Promise<Found> {
  const reasons: string[] = [];
  for (const path of candidates) {
    try {
      return { path, version: (await context.inspect(path)).text };
    } catch (error) {
      reasons.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw new Error(reasons.length === 0 ? whenNone : reasons.join("; "));
}

async function fetchIntoCache(context: Context, fetchBinary: (workFolder: string) => Promise<string>): Promise<Found> {
  const workFolder = await mkdtemp(join(tmpdir(), "omnirelay-nats-server-"));
  try {
    const binary = await fetchBinary(workFolder);
    let version = "";
    const path = await installIntoCache(serverCacheFolder(context.env), binary, async (copy) => {
      const inspected = await context.inspect(copy);
      version = inspected.text;
      return inspected;
    });
    context.report(`nats-server ${version} is now at ${path}`);
    return { path, version };
  } finally {
    await rm(workFolder, { recursive: true, force: true });
  }
}

function fetchRelease(context: Context, workFolder: string): Promise<string> {
  const { releasesUrl, archiveSha256 } = context.options;
  return downloadRelease({
    version: SERVER_VERSION_PINNED,
    workFolder,
    report: context.report,
    platform: process.platform,
    architecture: process.arch,
    ...(releasesUrl === undefined ? {} : { releasesUrl }),
    ...(archiveSha256 === undefined ? {} : { archiveSha256 }),
  });
}

function fetchPackage(context: Context, workFolder: string): Promise<string> {
  return downloadFromDistribution({
    workFolder,
    etcFolder: context.options.etcFolder ?? "/etc",
    env: context.env,
    report: context.report,
    timeoutMs: APT_TIMEOUT_MS,
  });
}

function contextOf(options: ProvisionOptions): Context {
  const report = options.report ?? reportToStandardError;
  return {
    env: options.env ?? process.env,
    report,
    options,
    inspect: (path) => inspectServerBinary(path, options, report),
  };
}

function notProvisioned(attempts: readonly ProvisionAttempt[], errors: readonly unknown[]): OperatingError {
  const tried = attempts.map(({ source, reason }) => `  ${source}: ${reason}`).join("\n");
  const message =
    `no usable nats-server was found. Tried:\n${tried}\n` +
    `What to do: install nats-server ${SERVER_VERSION_PINNED} or newer and put it on the PATH, ` +
    "or set OMNIRELAY_NATS_SERVER to the path of one.";
  const cause = new AggregateError(errors, "every source failed");
  return new OperatingError("nats_server_not_provisioned", message, { definite: true, cause, details: { attempts } });
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== "";
}
