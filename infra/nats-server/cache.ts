/** Keeps nats-server binaries per user and version; the only place that writes there, so that two processes cannot spoil it for each other. */
import { randomUUID } from "node:crypto";
import { copyFile, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { isExecutableFile } from "./command.ts";
import { compareServerVersions, parseServerVersion, SERVER_VERSION_PINNED, type ServerVersion } from "./version.ts";

const BINARY_NAME = "nats-server";

/** `${XDG_CACHE_HOME:-~/.cache}/omnirelay/nats-server`. A relative XDG_CACHE_HOME is ignored, as its specification demands. */
export function serverCacheFolder(env: Readonly<Record<string, string | undefined>>): string {
  const configured = env["XDG_CACHE_HOME"];
  const base = configured?.startsWith("/") ? configured : join(env["HOME"] ?? homedir(), ".cache");
  return join(base, "omnirelay", "nats-server");
}

/** The binaries in the cache: the pinned version first, the others from new to old. */
export async function cachedServers(cacheFolder: string): Promise<readonly string[]> {
  const names = await readdir(cacheFolder).catch(() => []);
  const versions = names.map((name) => parseServerVersion(name)).filter((version) => version !== undefined);
  const ordered = versions.toSorted((a, b) => rank(b) - rank(a) || compareServerVersions(b, a));
  const paths: string[] = [];
  for (const version of ordered) {
    const path = join(cacheFolder, version.text, BINARY_NAME);
    if (await isExecutableFile(path)) paths.push(path);
  }
  return paths;
}

/**
 * Puts a binary into the cache and returns its place there.
 *
 * The copy is written beside its place, synced, tried (`inspect` runs it, which also proves that this machine can load it) and only
 * then renamed: another process sees the old binary, the new one or none, never half of one. Both may do it at once; the last wins.
 * Throws: what `inspect` throws; nothing is left behind then.
 */
export async function installIntoCache(
  cacheFolder: string,
  binary: string,
  inspect: (path: string) => Promise<ServerVersion>,
): Promise<string> {
  await mkdir(cacheFolder, { recursive: true });
  const incoming = join(cacheFolder, `.incoming-${randomUUID()}`);
  try {
    await copyFile(binary, incoming);
    const file = await open(incoming, "r+");
    try {
      await file.chmod(0o755);
      await file.sync();
    } finally {
      await file.close();
    }
    const version = await inspect(incoming);
    const folder = join(cacheFolder, version.text);
    await mkdir(folder, { recursive: true });
    await rename(incoming, join(folder, BINARY_NAME));
    return join(folder, BINARY_NAME);
  } finally {
    await rm(incoming, { force: true });
  }
}

function rank(version: ServerVersion): number {
  return version.text === SERVER_VERSION_PINNED ? 1 : 0;
}
