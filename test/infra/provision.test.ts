/** Where a nats-server is looked for, in which order, and what is said when none can be had. No test here needs a real one or the network. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { OperatingError } from "../../contracts/errors.ts";
import { type ProvisionOptions, provisionNatsServer } from "../../infra/nats-server/provision.ts";
import { releaseStem } from "../../infra/nats-server/release.ts";
import { SERVER_VERSION_PINNED } from "../../infra/nats-server/version.ts";
import { fakeArchive, serveFiles, sha256, temporaryFolder, writeFakeServer, writeScript } from "./fake-release.ts";

describe("a nats-server", () => {
  test("that the environment names comes before all others", async () => {
    const { folder, options } = fixture();
    writeFakeServer(join(folder, "bin/nats-server"), "2.16.0");
    const named = writeFakeServer(join(folder, "named"), "2.15.1");
    const env = { ...options.env, OMNIRELAY_NATS_SERVER: named };
    const found = await provisionNatsServer({ ...options, env });
    expect(found).toEqual({ path: named, version: "2.15.1", source: "environment" });
  });

  test("that the environment names and that does not work is an error, not passed over", async () => {
    const { folder, options } = fixture();
    writeFakeServer(join(folder, "bin/nats-server"), "2.15.1");
    const env = { ...options.env, OMNIRELAY_NATS_SERVER: join(folder, "missing") };
    const error = await failureOf({ ...options, env });
    expect(error.details["attempts"]).toHaveLength(1);
    expect(error.message).toContain("missing, which is not a file that this user may execute");
  });

  test("is not any program that prints a version", async () => {
    const { folder, options } = fixture();
    const env = { ...options.env, OMNIRELAY_NATS_SERVER: writeScript(join(folder, "node"), "echo v24.21.0") };
    expect((await failureOf({ ...options, env })).message).toContain("is not a nats-server");
  });

  test("on the PATH comes before one in the cache", async () => {
    const { folder, options } = fixture();
    const onPath = writeFakeServer(join(folder, "bin/nats-server"), "2.15.2");
    writeFakeServer(join(folder, "cache/omnirelay/nats-server/2.15.1/nats-server"), "2.15.1");
    expect(await provisionNatsServer(options)).toEqual({ path: onPath, version: "2.15.2", source: "path" });
  });

  test("on the PATH that is too old is passed over", async () => {
    const { folder, options } = fixture();
    writeFakeServer(join(folder, "bin/nats-server"), "2.11.9");
    const cached = writeFakeServer(join(folder, "cache/omnirelay/nats-server/2.15.1/nats-server"), "2.15.1");
    expect(await provisionNatsServer(options)).toMatchObject({ path: cached, source: "cache" });
  });

  test("of the pinned version comes first in the cache, then the newest", async () => {
    const { folder, options } = fixture();
    const cache = join(folder, "cache/omnirelay/nats-server");
    for (const version of ["2.15.0", "2.16.0"]) writeFakeServer(join(cache, version, "nats-server"), version);
    expect(await provisionNatsServer(options)).toMatchObject({ version: "2.16.0" });
    writeFakeServer(join(cache, SERVER_VERSION_PINNED, "nats-server"), SERVER_VERSION_PINNED);
    expect(await provisionNatsServer(options)).toMatchObject({ version: SERVER_VERSION_PINNED });
  });

  test("that does not fence replicated logs is used only where that is allowed", async () => {
    const { folder, options, lines } = fixture();
    writeFakeServer(join(folder, "bin/nats-server"), "2.14.3");
    const limited = { ...options, sources: ["path"] as const };
    expect((await failureOf(limited)).message).toContain("nats-server 2.14.3 does not fence replicated logs");
    expect(await provisionNatsServer({ ...limited, replicated: false })).toMatchObject({ version: "2.14.3" });
    expect(await provisionNatsServer({ ...limited, allowUnfencedReplicas: true })).toMatchObject({ version: "2.14.3" });
    expect(lines).toEqual([
      expect.stringMatching(/^warning: nats-server 2\.14\.3 is below 2\.15\.0/),
      expect.stringMatching(/^warning: nats-server 2\.14\.3 .* allowed explicitly/),
    ]);
  });
});

describe("a release that is downloaded", () => {
  test("goes into the cache and is found there the next time", async () => {
    const { folder, options } = fixture();
    const site = await publishRelease(folder, SERVER_VERSION_PINNED);
    const found = await provisionNatsServer({ ...options, releasesUrl: site.url });
    const path = join(folder, "cache/omnirelay/nats-server", SERVER_VERSION_PINNED, "nats-server");
    expect(found).toEqual({ path, version: SERVER_VERSION_PINNED, source: "release" });
    expect(await provisionNatsServer(options)).toEqual({ ...found, source: "cache" });
  });

  test("by several processes at once leaves one whole binary and nothing else", async () => {
    const { folder, options } = fixture();
    const site = await publishRelease(folder, SERVER_VERSION_PINNED);
    const all = Array.from({ length: 8 }, () => provisionNatsServer({ ...options, releasesUrl: site.url }));
    const paths = new Set((await Promise.all(all)).map((found) => found.path));
    expect(paths.size).toBe(1);
    const cache = join(folder, "cache/omnirelay/nats-server");
    expect(readdirSync(cache)).toEqual([SERVER_VERSION_PINNED]);
    expect(readdirSync(join(cache, SERVER_VERSION_PINNED))).toEqual(["nats-server"]);
    expect(await provisionNatsServer(options)).toMatchObject({ source: "cache" });
  });

  test("does not enter the cache when it is too old", async () => {
    const { folder, options } = fixture();
    const site = await publishRelease(folder, "2.11.0");
    const error = await failureOf({ ...options, releasesUrl: site.url });
    expect(error.message).toContain("release: nats-server 2.11.0 is too old");
    expect(readdirSync(join(folder, "cache/omnirelay/nats-server"))).toEqual([]);
  });

  test("does not enter the cache when it cannot be run", async () => {
    const { folder, options } = fixture();
    const site = await publishRelease(folder, SERVER_VERSION_PINNED, "echo 'GLIBC_9.9 not found' >&2; exit 1");
    const error = await failureOf({ ...options, releasesUrl: site.url });
    expect(error.message).toMatch(/release: .* ended with 1: GLIBC_9.9 not found/);
    expect(readdirSync(join(folder, "cache/omnirelay/nats-server"))).toEqual([]);
  });
});

describe("a package of the distribution", () => {
  test("is taken from the machine's own mirror with apt's files in a folder of their own", async () => {
    const { folder, options } = fixture();
    const etcFolder = debianMachine(folder);
    fakeApt(folder, "2.15.1");
    const found = await provisionNatsServer({ ...options, etcFolder, sources: ["cache", "distribution"] });
    const path = join(folder, "cache/omnirelay/nats-server/2.15.1/nats-server");
    expect(found).toEqual({ path, version: "2.15.1", source: "distribution" });
    const config = readFileSync(join(folder, "seen-apt.conf"), "utf8");
    const work = /Dir::State::Lists "(.*)\/lists"/.exec(config)?.[1] ?? "";
    expect(config).toContain(`Dir::Etc::sourcelist "${work}/mirror.sources";\nDir::Etc::sourceparts "-";\n`);
    expect(config).toContain(`Dir::Cache "${work}/cache";\n`);
    expect(existsSync(work)).toBe(false);
    const source = readFileSync(join(folder, "seen-mirror.sources"), "utf8");
    expect(source).toContain("URIs: http://second.example/debian\nSuites: testing\n");
  });

  test("that no mirror has is reported with apt's own words for each mirror", async () => {
    const { folder, options } = fixture();
    const etcFolder = debianMachine(folder);
    writeScript(join(folder, "bin/apt-get"), 'echo "E: no Release file" >&2; exit 100');
    writeScript(join(folder, "bin/dpkg-deb"), "exit 1");
    const error = await failureOf({ ...options, etcFolder, sources: ["distribution"] });
    expect(error.message.match(/apt-get ended with 100: E: no Release file/g)).toHaveLength(2);
  });

  test("is not looked for on a machine of another kind", async () => {
    const { options } = fixture();
    const error = await failureOf({ ...options, sources: ["distribution"] });
    expect(error.message).toMatch(/distribution: (this machine runs neither|there is no apt-get)/);
  });
});

test("the error lists each way, why it failed and what to do", async () => {
  const { folder, options } = fixture();
  writeFakeServer(join(folder, "bin/nats-server"), "2.10.27");
  const site = await serveFiles({}, onTestFinished);
  const error = await failureOf({ ...options, releasesUrl: site.url });
  expect(error).toMatchObject({ code: "nats_server_not_provisioned", definite: true });
  expect(error.details["attempts"]).toEqual([
    { source: "environment", reason: "OMNIRELAY_NATS_SERVER is not set" },
    { source: "path", reason: expect.stringMatching(/^nats-server 2\.10\.27 is too old/) },
    { source: "cache", reason: expect.stringMatching(/^no nats-server is in .*cache\/omnirelay\/nats-server$/) },
    { source: "release", reason: expect.stringMatching(/SHA256SUMS answered 404$/) },
    { source: "distribution", reason: expect.any(String) },
  ]);
  expect(error.message).toMatch(/What to do: install nats-server .* or set OMNIRELAY_NATS_SERVER/);
});

/** A machine with nothing on it: an empty PATH folder (plus the system's own tools), cache and `/etc`, and no network. */
function fixture() {
  const folder = temporaryFolder(onTestFinished);
  for (const name of ["bin", "cache", "etc"]) mkdirSync(join(folder, name));
  const lines: string[] = [];
  const options: ProvisionOptions = {
    env: { PATH: [join(folder, "bin"), "/usr/bin", "/bin"].join(delimiter), XDG_CACHE_HOME: join(folder, "cache") },
    report: (line) => lines.push(line),
    daemonFolders: [],
    etcFolder: join(folder, "etc"),
    releasesUrl: "http://127.0.0.1:1",
  };
  return { folder, options, lines };
}

async function failureOf(options: ProvisionOptions): Promise<OperatingError> {
  const outcome = await provisionNatsServer(options).catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(OperatingError);
  return outcome as OperatingError;
}

/** Publishes an archive named after the pinned version, whatever its binary reports. */
function publishRelease(folder: string, version: string, script?: string) {
  const stem = releaseStem(SERVER_VERSION_PINNED, process.platform, process.arch);
  const archive = fakeArchive(folder, stem, version, script);
  const path = `/v${SERVER_VERSION_PINNED}`;
  const list = `${sha256(archive)}  ${stem}.tar.gz\n`;
  return serveFiles({ [`${path}/SHA256SUMS`]: list, [`${path}/${stem}.tar.gz`]: archive }, onTestFinished);
}

/** `/etc` of a Debian machine with two mirrors, one per format of apt's sources. */
function debianMachine(folder: string): string {
  const etc = join(folder, "etc");
  mkdirSync(join(etc, "apt/sources.list.d"), { recursive: true });
  writeFileSync(join(etc, "os-release"), "ID=debian\nVERSION_CODENAME=bookworm\n");
  writeFileSync(join(etc, "apt/sources.list"), "deb http://first.example/debian bookworm main\n");
  const stanza = "Types: deb\nURIs: http://second.example/debian\nSuites: bookworm\nComponents: main\n";
  writeFileSync(join(etc, "apt/sources.list.d/second.sources"), stanza);
  return etc;
}

/** An apt-get that knows the second mirror only, and a dpkg-deb that unpacks a fake server; the first keeps what it was given. */
function fakeApt(folder: string, version: string): void {
  const script = `
[ "$1" = -q ] && [ "$2" = -c ] || exit 64
work=$(dirname "$3")
grep -q second "$work/mirror.sources" || { echo "E: no such mirror" >&2; exit 100; }
cp "$3" "${folder}/seen-apt.conf"; cp "$work/mirror.sources" "${folder}/seen-mirror.sources"
if [ "$4" = download ]; then touch "nats-server_${version}-1_amd64.deb"; fi`;
  writeScript(join(folder, "bin/apt-get"), script);
  writeFakeServer(join(folder, "package/nats-server"), version);
  writeScript(
    join(folder, "bin/dpkg-deb"),
    `mkdir -p "$3/usr/sbin" && cp "${folder}/package/nats-server" "$3/usr/sbin/nats-server"`,
  );
}
