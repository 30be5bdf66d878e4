/** Stand-ins for what a provisioner meets: a server binary that only knows its version, and a site that publishes releases. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** A folder that is removed when the test is over. */
export function temporaryFolder(onTestFinished: (dispose: () => void) => void): string {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-test-provision-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes an executable shell script. */
export function writeScript(path: string, script: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

/** A program that answers `--version` as that nats-server would. */
export function writeFakeServer(path: string, version: string): string {
  return writeScript(path, `echo "nats-server: v${version}"`);
}

/** The bytes of a release archive whose binary reports `version`, or is the given script. */
export function fakeArchive(folder: string, stem: string, version: string, script?: string): Buffer {
  const content = join(folder, "archive-content");
  const binary = join(content, stem, "nats-server");
  if (script === undefined) writeFakeServer(binary, version);
  else writeScript(binary, script);
  writeFileSync(join(content, stem, "README.md"), "not wanted\n");
  const archive = join(folder, "archive.tar.gz");
  execFileSync("tar", ["-czf", archive, "-C", content, stem]);
  return readFileSync(archive);
}

export function sha256(bytes: Buffer | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Serves files by their path on this machine; `requested` grows with each request. A value of a URL is a redirect to it. */
export async function serveFiles(
  files: Readonly<Record<string, Buffer | string | URL>>,
  onTestFinished: (dispose: () => Promise<void>) => void,
): Promise<{ readonly url: string; readonly requested: readonly string[] }> {
  const requested: string[] = [];
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    requested.push(path);
    const content = files[path];
    if (content instanceof URL) response.writeHead(302, { location: content.href }).end();
    else if (content === undefined) response.writeHead(404).end("nothing here");
    else response.writeHead(200).end(content);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requested };
}
