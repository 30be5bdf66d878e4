/** How apt's own configuration becomes a source for a newer suite of the same mirror. */
import { describe, expect, test } from "vitest";
import {
  type AptSource,
  distributionMirrors,
  parseDeb822Sources,
  parseOneLineSources,
  readDistribution,
  renderMirrorSource,
} from "../../infra/nats-server/source-list.ts";

const DEBIAN = distributionOf('ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian GNU/Linux 12"\n');
const UBUNTU = distributionOf("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\nUBUNTU_CODENAME=noble\n");

describe("one-line sources", () => {
  test("keep the mirror and its key, and change the suite", () => {
    const text = [
      "# the mirror of the house",
      "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian bookworm main contrib # base",
      "deb http://mirror.example/debian-security bookworm-security main",
      "deb-src http://mirror.example/debian bookworm main",
      "# deb http://off.example/debian bookworm main",
    ].join("\n");
    expect(renderedFor(parseOneLineSources(text))).toEqual([
      "Types: deb\nURIs: http://mirror.example/debian\nSuites: testing\nComponents: main\nTargets: Packages\n" +
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
    ]);
  });

  test("may have no options, and several keys", () => {
    const sources = parseOneLineSources(
      "deb http://a.example/debian bookworm main\ndeb [ signed-by=/a.gpg,/b.gpg trusted=yes ] http://b.example/debian stable main\n",
    );
    expect(sources[0]).toMatchObject({ types: ["deb"], uris: ["http://a.example/debian"], components: ["main"] });
    expect(renderedFor(sources)[1]).toContain("Signed-By: /a.gpg /b.gpg\nTrusted: yes\n");
  });
});

describe("deb822 sources", () => {
  test("keep the mirror and its key file, and change the suite", () => {
    const text = `
Types: deb deb-src
# a comment between the fields
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
Architectures: amd64

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
`;
    expect(renderedFor(parseDeb822Sources(text))).toEqual([
      "Types: deb\nURIs: http://mirror.example/debian\nSuites: testing\nComponents: main\nTargets: Packages\n" +
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
    ]);
  });

  test("keep an embedded key line by line", () => {
    const key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc=\n -----END PGP PUBLIC KEY BLOCK-----";
    const text = `Types: deb\nURIs: https://m.example/debian\nSuites: bookworm\nComponents: main\nSigned-By:${key}\n`;
    expect(renderedFor(parseDeb822Sources(text))[0]).toContain(`\nSigned-By:${key}\n`);
  });

  test("that are switched off are left out", () => {
    const text = "Enabled: no\nTypes: deb\nURIs: http://m.example/debian\nSuites: bookworm\nComponents: main\n";
    expect(parseDeb822Sources(text)).toEqual([]);
  });
});

describe("the mirrors of the distribution", () => {
  test("are asked before a vendor's repository that uses the same suite name", () => {
    const sources = parseOneLineSources(
      [
        "deb [signed-by=/etc/apt/keyrings/vendor.gpg] https://vendor.example/apt bookworm main",
        "deb http://plain.example/debian bookworm main",
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://own.example/debian bookworm main",
        "deb https://other.example/apt cloud-sdk-bookworm main",
        "deb https://nodes.example/node nodistro main",
        "deb cdrom:[Debian]/ bookworm main",
      ].join("\n"),
    );
    expect(distributionMirrors(sources, DEBIAN).map((mirror) => mirror.uri)).toEqual([
      "http://own.example/debian",
      "http://plain.example/debian",
      "https://vendor.example/apt",
    ]);
  });

  test("are asked once each, however often they are listed", () => {
    const line = "deb http://m.example/debian bookworm main\n";
    expect(distributionMirrors(parseOneLineSources(line + line), DEBIAN)).toHaveLength(1);
  });
});

describe("the distribution", () => {
  test("Ubuntu has the server in the universe of its development suite", () => {
    const sources = parseOneLineSources("deb http://m.example/ubuntu noble main restricted\n");
    const [mirror] = distributionMirrors(sources, UBUNTU);
    if (mirror === undefined) throw new Error("the mirror was not found");
    expect(renderMirrorSource(mirror, UBUNTU)).toContain("Suites: devel\nComponents: main universe\n");
  });

  test.each(["", "ID=fedora\n", 'ID="alpine"\n'])("is unknown for %j", (osRelease) => {
    expect(readDistribution(osRelease)).toBeUndefined();
  });
});

function renderedFor(sources: readonly AptSource[]): readonly string[] {
  return distributionMirrors(sources, DEBIAN).map((mirror) => renderMirrorSource(mirror, DEBIAN));
}

function distributionOf(osRelease: string) {
  const distribution = readDistribution(osRelease);
  if (distribution === undefined) throw new Error("not a distribution that we know");
  return distribution;
}
