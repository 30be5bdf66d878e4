/** The pinned release: nothing is used whose checksum is not the published one. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { downloadRelease, type ReleaseRequest, releaseStem, sha256InList } from "../../infra/nats-server/release.ts";
import { fakeArchive, serveFiles, sha256, temporaryFolder } from "./fake-release.ts";

const STEM = "nats-server-v2.15.1-linux-amd64";
const ARCHIVE = `${STEM}.tar.gz`;

describe("a release", () => {
  test("is unpacked when its checksum is the published one", async () => {
    const { request, archive } = fixture();
    const list = `${sha256("other")}  nats-server-v2.15.1-linux-arm64.tar.gz\n${sha256(archive)}  ${ARCHIVE}\n`;
    const site = await publish({ [ARCHIVE]: archive, SHA256SUMS: list });
    const binary = await downloadRelease({ ...request, releasesUrl: site.url });
    expect(execFileSync(binary, ["--version"], { encoding: "utf8" })).toBe("nats-server: v2.15.1\n");
    expect(readdirSync(join(request.workFolder, STEM))).toEqual(["nats-server"]);
  });

  test("may be kept at another address of the publisher", async () => {
    const { request, archive } = fixture();
    const store = await serveFiles({ "/blob": archive }, onTestFinished);
    const list = `${sha256(archive)}  ${ARCHIVE}\n`;
    const site = await publish({ [ARCHIVE]: new URL("/blob", store.url), SHA256SUMS: list });
    await downloadRelease({ ...request, releasesUrl: site.url });
    expect(store.requested).toEqual(["/blob"]);
  });

  test("is refused when the checksum differs, before anything is unpacked", async () => {
    const { request, archive } = fixture();
    const site = await publish({ [ARCHIVE]: archive, SHA256SUMS: `${sha256("another archive")}  ${ARCHIVE}\n` });
    const download = downloadRelease({ ...request, releasesUrl: site.url });
    await expect(download).rejects.toThrow(
      `${ARCHIVE} has SHA-256 ${sha256(archive)}, expected ${sha256("another archive")}: it was not used`,
    );
    expect(existsSync(join(request.workFolder, STEM))).toBe(false);
  });

  test("is checked against a given checksum instead of the published one", async () => {
    const { request, archive } = fixture();
    const site = await publish({ [ARCHIVE]: archive, SHA256SUMS: `${sha256(archive)}  ${ARCHIVE}\n` });
    const given = { ...request, releasesUrl: site.url, archiveSha256: sha256("what we trust") };
    await expect(downloadRelease(given)).rejects.toThrow(/expected/);
    expect(site.requested).toEqual([`/v2.15.1/${ARCHIVE}`]);
    await downloadRelease({ ...given, workFolder: folder(), archiveSha256: sha256(archive).toUpperCase() });
  });

  test("that is no archive is refused although its checksum is right", async () => {
    const site = await publish({ [ARCHIVE]: "garbage", SHA256SUMS: `${sha256("garbage")}  ${ARCHIVE}\n` });
    const download = downloadRelease({ ...fixture().request, releasesUrl: site.url });
    await expect(download).rejects.toThrow(/^tar ended with \d+: .*(gzip|format)/);
  });

  test("that was cut off is refused although its checksum is right", async () => {
    const { request, archive } = fixture();
    const half = archive.subarray(0, archive.length / 2);
    const site = await publish({ [ARCHIVE]: half, SHA256SUMS: `${sha256(half)}  ${ARCHIVE}\n` });
    await expect(downloadRelease({ ...request, releasesUrl: site.url })).rejects.toThrow(/^tar ended with \d+/);
  });

  test("that the checksum list does not name is not downloaded", async () => {
    const { request, archive } = fixture();
    const site = await publish({ [ARCHIVE]: archive, SHA256SUMS: `${sha256(archive)}  another.tar.gz\n` });
    const download = downloadRelease({ ...request, releasesUrl: site.url });
    await expect(download).rejects.toThrow(`the release's SHA256SUMS does not list ${ARCHIVE}`);
    expect(site.requested).toEqual(["/v2.15.1/SHA256SUMS"]);
  });

  test("that does not exist is reported with the site's answer", async () => {
    const site = await publish({});
    const download = downloadRelease({ ...fixture().request, releasesUrl: site.url });
    await expect(download).rejects.toThrow(/SHA256SUMS answered 404/);
  });

  test("from a site that is not there is reported with the reason", async () => {
    let close = async (): Promise<void> => {};
    const site = await serveFiles({}, (dispose) => {
      close = dispose;
    });
    await close();
    const download = downloadRelease({ ...fixture().request, releasesUrl: site.url });
    await expect(download).rejects.toThrow(/SHA256SUMS failed: fetch failed \(.*ECONNREFUSED/);
  });

  test("is not fetched in the clear from another machine", async () => {
    const request = { ...fixture().request, releasesUrl: "http://releases.example" };
    await expect(downloadRelease(request)).rejects.toThrow("refusing http://releases.example: releases are");
  });

  test.each([
    ["linux", "x64", "nats-server-v2.15.1-linux-amd64"],
    ["linux", "arm64", "nats-server-v2.15.1-linux-arm64"],
    ["darwin", "arm64", "nats-server-v2.15.1-darwin-arm64"],
  ])("for %s on %s is called %s", (platform, architecture, stem) => {
    expect(releaseStem("2.15.1", platform, architecture)).toBe(stem);
  });

  test.each([
    ["win32", "x64"],
    ["linux", "mips"],
  ])("is not known for %s on %s", (platform, architecture) => {
    expect(() => releaseStem("2.15.1", platform, architecture)).toThrow(`for ${platform} on ${architecture}`);
  });
});

test("a checksum list may mark binary files and use upper case", () => {
  const hash = sha256("x");
  expect(sha256InList(`${hash.toUpperCase()} *${ARCHIVE}\r\n`, ARCHIVE)).toBe(hash);
  expect(sha256InList(`${hash.slice(1)}  ${ARCHIVE}\n`, ARCHIVE)).toBeUndefined();
});

function folder(): string {
  return temporaryFolder(onTestFinished);
}

function fixture(): { readonly request: ReleaseRequest; readonly archive: Buffer } {
  const request = {
    version: "2.15.1",
    workFolder: folder(),
    report: () => {},
    platform: "linux",
    architecture: "x64",
  };
  return { request, archive: fakeArchive(folder(), STEM, "2.15.1") };
}

function publish(files: Readonly<Record<string, Buffer | string | URL>>) {
  const published = Object.entries(files).map(([name, content]) => [`/v2.15.1/${name}`, content]);
  return serveFiles(Object.fromEntries(published), onTestFinished);
}
