/** Downloads one pinned release of nats-server and verifies it before anything of it is unpacked; separate because it trusts the network least. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { isExecutableFile, runCommand } from "./command.ts";

/** Where the project publishes its releases. */
const RELEASES_URL = "https://github.com/nats-io/nats-server/releases/download";

/** Longest wait for the checksum list. Short: it is asked first, so a machine without the internet finds out here. ms. */
const CHECKSUMS_TIMEOUT_MS = 5_000;
/** Longest time for the archive, about 7 MB. ms. */
const ARCHIVE_TIMEOUT_MS = 60_000;
/** Largest archive and largest checksum list that we accept; both are far above what was ever published. Bytes. */
const ARCHIVE_BYTES_MAX = 128 * 1024 * 1024;
const CHECKSUMS_BYTES_MAX = 1024 * 1024;

export interface ReleaseRequest {
  /** Without the leading `v`. */
  readonly version: string;
  /** An empty folder that the caller removes. */
  readonly workFolder: string;
  readonly report: (line: string) => void;
  /** As `process.platform` and `process.arch` name them. */
  readonly platform: string;
  readonly architecture: string;
  /** The folder above `v<version>/`. https, or plain http to this machine (tests). Default: the project's releases. */
  readonly releasesUrl?: string;
  /** The archive's SHA-256 in hex, from a source that you trust. Absent: the release's own `SHA256SUMS`, fetched over https. */
  readonly archiveSha256?: string;
}

/**
 * Downloads the release for this platform and returns the path of the unpacked binary.
 *
 * The archive is checked against `archiveSha256`, or else against the `SHA256SUMS` that is published beside it. The second protects from a
 * broken or swapped download (both come over https from the publisher), not from a publisher whose account was taken over; the first does.
 * Throws: an Error that says which step failed. Nothing is unpacked unless the checksum is right.
 */
export async function downloadRelease(request: ReleaseRequest): Promise<string> {
  const stem = releaseStem(request.version, request.platform, request.architecture);
  const archiveName = `${stem}.tar.gz`;
  const folderUrl = `${request.releasesUrl ?? RELEASES_URL}/v${request.version}`;
  const expected = request.archiveSha256 ?? (await publishedSha256(folderUrl, archiveName));
  request.report(`downloading ${archiveName}`);
  const archive = join(request.workFolder, archiveName);
  const actual = await download(`${folderUrl}/${archiveName}`, archive);
  if (actual !== expected.toLowerCase()) {
    throw new Error(`${archiveName} has SHA-256 ${actual}, expected ${expected.toLowerCase()}: it was not used`);
  }
  // Only the one member is unpacked, so an archive cannot write anywhere else.
  const member = `${stem}/nats-server`;
  const options = { timeoutMs: ARCHIVE_TIMEOUT_MS };
  await runCommand("tar", ["-xzf", archive, "-C", request.workFolder, member], options);
  const binary = join(request.workFolder, member);
  if (!(await isExecutableFile(binary))) throw new Error(`${archiveName} holds no ${member} that can be executed`);
  return binary;
}

/** The name of a release without its ending. Throws for a platform that nats-server is not released for as a tar archive. */
export function releaseStem(version: string, platform: string, architecture: string): string {
  const names: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };
  const name = names[architecture];
  if ((platform !== "linux" && platform !== "darwin") || name === undefined) {
    throw new Error(`no release is known for ${platform} on ${architecture}`);
  }
  return `nats-server-v${version}-${platform}-${name}`;
}

/** The hash that a `SHA256SUMS` list gives for a file; undefined when it is not in the list. */
export function sha256InList(list: string, fileName: string): string | undefined {
  for (const line of list.split("\n")) {
    const match = /^([0-9a-fA-F]{64})\s+\*?(?:\.\/)?(\S+)\s*$/.exec(line);
    if (match?.[2] === fileName) return match[1]?.toLowerCase();
  }
  return undefined;
}

async function publishedSha256(folderUrl: string, archiveName: string): Promise<string> {
  const response = await get(`${folderUrl}/SHA256SUMS`, CHECKSUMS_TIMEOUT_MS);
  const chunks: Uint8Array[] = [];
  await consume(response, CHECKSUMS_BYTES_MAX, async (chunk) => {
    chunks.push(chunk);
  });
  const found = sha256InList(Buffer.concat(chunks).toString("utf8"), archiveName);
  if (found === undefined) throw new Error(`the release's SHA256SUMS does not list ${archiveName}`);
  return found;
}

/** Writes what is at the address to a file and returns its SHA-256 in lower-case hex. */
async function download(url: string, path: string): Promise<string> {
  const response = await get(url, ARCHIVE_TIMEOUT_MS);
  const hash = createHash("sha256");
  const file = await open(path, "wx");
  try {
    await consume(response, ARCHIVE_BYTES_MAX, async (chunk) => {
      hash.update(chunk);
      await file.writeFile(chunk);
    });
  } finally {
    await file.close();
  }
  return hash.digest("hex");
}

async function get(url: string, timeoutMs: number): Promise<Response> {
  assertTrustedTransport(url);
  let response: Response;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) });
  } catch (error) {
    throw new Error(`GET ${url} failed: ${reasonOf(error)}`, { cause: error });
  }
  // The publisher redirects to its file store; the checksum is only worth something if that hop was not in the clear either.
  assertTrustedTransport(response.url);
  if (!response.ok) throw new Error(`GET ${url} answered ${response.status}`);
  return response;
}

async function consume(
  response: Response,
  bytesMax: number,
  take: (chunk: Uint8Array) => Promise<void>,
): Promise<void> {
  assert(response.body !== null, "a response to GET has a body");
  let bytes = 0;
  try {
    for await (const chunk of response.body) {
      bytes += chunk.byteLength;
      if (bytes > bytesMax) throw new Error(`more than ${bytesMax} bytes`);
      await take(chunk);
    }
  } catch (error) {
    throw new Error(`reading ${response.url} failed after ${bytes} bytes: ${reasonOf(error)}`, { cause: error });
  }
}

function assertTrustedTransport(url: string): void {
  const { protocol, hostname } = new URL(url);
  const isThisMachine = ["127.0.0.1", "[::1]", "localhost"].includes(hostname);
  if (protocol === "https:" || (protocol === "http:" && isThisMachine)) return;
  throw new Error(`refusing ${protocol}//${hostname}: releases are fetched over https only`);
}

/** `fetch` says only "fetch failed"; the cause says what happened. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}
