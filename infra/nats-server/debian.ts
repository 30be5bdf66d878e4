/** Gets nats-server as a package from a newer suite of the machine's own Debian or Ubuntu mirror, without installing anything. */
import { chmod, glob, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { findProgram, isExecutableFile, runCommand } from "./command.ts";
import {
  type AptSource,
  type Distribution,
  type DistributionMirror,
  distributionMirrors,
  parseDeb822Sources,
  parseOneLineSources,
  readDistribution,
  renderMirrorSource,
} from "./source-list.ts";

export interface DistributionRequest {
  /** An empty folder that the caller removes. */
  readonly workFolder: string;
  /** Where apt's and the distribution's configuration stand. `/etc` outside tests. */
  readonly etcFolder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly report: (line: string) => void;
  /** Longest time for one apt command. ms. */
  readonly timeoutMs: number;
}

/** Debian puts the server beside the daemons, and an ordinary user's PATH does not name that folder. */
const BINARY_PLACES = ["usr/sbin/nats-server", "usr/bin/nats-server"];
const SYSTEM_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/**
 * Downloads and unpacks the package, and returns the path of the binary in `workFolder`.
 *
 * apt checks the signature of the index with the machine's own keys and the hash of the package against it. Its lists, cache and state
 * are all in `workFolder`, so it needs no root and changes nothing on the machine. Each mirror is tried alone, because one that lacks
 * the suite would make `apt-get update` fail for all.
 * Throws: an Error that says, per mirror, why it did not work.
 */
export async function downloadFromDistribution(request: DistributionRequest): Promise<string> {
  const programs = await aptPrograms(request.env);
  const distribution = await readDistributionOf(request.etcFolder);
  const mirrors = distributionMirrors(await configuredSources(request.etcFolder), distribution);
  if (mirrors.length === 0) {
    throw new Error(`apt's configuration in ${join(request.etcFolder, "apt")} names no mirror of the distribution`);
  }
  const failures: string[] = [];
  for (const [index, mirror] of mirrors.entries()) {
    const folder = join(request.workFolder, `mirror-${index}`);
    request.report(`asking the configured mirror for nats-server in ${distribution.suite}`);
    try {
      return await downloadFromMirror(mirror, distribution, folder, programs, request);
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw new Error(failures.join("; "));
}

interface AptPrograms {
  readonly aptGet: string;
  readonly dpkgDeb: string;
}

async function downloadFromMirror(
  mirror: DistributionMirror,
  distribution: Distribution,
  folder: string,
  programs: AptPrograms,
  request: DistributionRequest,
): Promise<string> {
  const packages = join(folder, "packages");
  await prepareAptFolder(folder, renderMirrorSource(mirror, distribution));
  const options = { cwd: packages, timeoutMs: request.timeoutMs, env: { ...request.env, LC_ALL: "C" } };
  const config = ["-q", "-c", join(folder, "apt.conf")];
  await runCommand(programs.aptGet, [...config, "update"], options);
  await runCommand(programs.aptGet, [...config, "download", "nats-server"], options);
  for await (const archive of glob("nats-server_*.deb", { cwd: packages })) {
    const unpacked = join(folder, "unpacked");
    await runCommand(programs.dpkgDeb, ["-x", join(packages, archive), unpacked], options);
    for (const place of BINARY_PLACES) {
      if (await isExecutableFile(join(unpacked, place))) return join(unpacked, place);
    }
    throw new Error(`the package ${archive} holds no nats-server binary`);
  }
  throw new Error("apt-get download left no nats-server package");
}

async function prepareAptFolder(folder: string, source: string): Promise<void> {
  for (const name of ["lists/partial", "cache/archives/partial", "packages", "unpacked"]) {
    await mkdir(join(folder, name), { recursive: true });
  }
  // As root, apt fetches as its own unprivileged user; that user must be able to reach the lists.
  await chmod(dirname(folder), 0o755);
  await chmod(folder, 0o755);
  await writeFile(join(folder, "mirror.sources"), source);
  await writeFile(join(folder, "status"), "");
  await writeFile(join(folder, "apt.conf"), renderAptConfiguration(folder));
}

/** apt's settings for one download. The machine's own settings stay in force (proxy, certificates) except the ones listed here. */
function renderAptConfiguration(folder: string): string {
  return `
Dir::Etc::sourcelist "${folder}/mirror.sources";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "-";
Dir::State::Lists "${folder}/lists";
Dir::State::status "${folder}/status";
Dir::Cache "${folder}/cache";
APT::Default-Release "";
APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
// Hooks of the machine would run for an update that is not one of the machine, and fail for an ordinary user.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
`.trimStart();
}

async function configuredSources(etcFolder: string): Promise<readonly AptSource[]> {
  const apt = join(etcFolder, "apt");
  const sources: AptSource[] = [];
  for (const pattern of ["sources.list", "sources.list.d/*.list", "sources.list.d/*.sources"]) {
    const names: string[] = [];
    for await (const name of glob(pattern, { cwd: apt })) names.push(name);
    for (const name of names.toSorted()) {
      // A file that this user may not read (it may hold a password) is as good as absent.
      const text = await readFile(join(apt, name), "utf8").catch(() => "");
      sources.push(...(name.endsWith(".sources") ? parseDeb822Sources(text) : parseOneLineSources(text)));
    }
  }
  return sources;
}

async function readDistributionOf(etcFolder: string): Promise<Distribution> {
  const text = await readFile(join(etcFolder, "os-release"), "utf8").catch(() => "");
  const distribution = readDistribution(text);
  if (distribution === undefined) throw new Error("this machine runs neither Debian nor Ubuntu");
  return distribution;
}

async function aptPrograms(env: Readonly<Record<string, string | undefined>>): Promise<AptPrograms> {
  const aptGet = await findProgram("apt-get", env["PATH"], SYSTEM_FOLDERS);
  const dpkgDeb = await findProgram("dpkg-deb", env["PATH"], SYSTEM_FOLDERS);
  if (aptGet === undefined) throw new Error("there is no apt-get on this machine");
  if (dpkgDeb === undefined) throw new Error("there is no dpkg-deb on this machine");
  return { aptGet, dpkgDeb };
}
