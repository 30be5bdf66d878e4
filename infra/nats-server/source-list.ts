/** Reads apt's two source formats and writes a source for another suite of the same mirror; pure text, so that it is tested without apt. */

/** One entry of apt's configuration. `options` has lower-case names; a value may hold several lines (an embedded key). */
export interface AptSource {
  readonly types: readonly string[];
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  readonly options: ReadonlyMap<string, string>;
}

/** A mirror of the machine's own distribution, as its administrator configured it. */
export interface DistributionMirror {
  readonly uri: string;
  readonly options: ReadonlyMap<string, string>;
}

/** How the machine's distribution names things: from `/etc/os-release`. */
export interface Distribution {
  /** The suite that carries a recent nats-server. */
  readonly suite: string;
  /** The components of that suite in which it is. */
  readonly components: readonly string[];
  /** Names under which the mirror's own base suite may stand in the configuration. */
  readonly baseSuites: readonly string[];
}

/** Options that say how the mirror is trusted and read: they hold for another suite as well. Everything else is about the old suite. */
const KEPT_OPTIONS: ReadonlyMap<string, string> = new Map([
  ["signed-by", "Signed-By"],
  ["trusted", "Trusted"],
  ["check-valid-until", "Check-Valid-Until"],
  ["check-date", "Check-Date"],
  ["by-hash", "By-Hash"],
]);

/** Reads `deb [signed-by=...] uri suite component...` lines. Comments and lines that are not sources are left out. */
export function parseOneLineSources(text: string): readonly AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split("\n")) {
    const match = /^\s*(deb|deb-src)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+[^#\s]+)*)\s*(?:#.*)?$/.exec(line);
    if (match === null) continue;
    const [, type = "", bracket = "", uri = "", suite = "", components = ""] = match;
    const options = new Map(words(bracket).map((word) => optionOf(word)));
    sources.push({ types: [type], uris: [uri], suites: [suite], components: words(components), options });
  }
  return sources;
}

/** Reads deb822 stanzas (`Types:`, `URIs:`, ...). A stanza with `Enabled: no` is left out. */
export function parseDeb822Sources(text: string): readonly AptSource[] {
  const sources: AptSource[] = [];
  const withoutComments = text
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .join("\n");
  for (const stanza of withoutComments.split(/\n[ \t]*\n/)) {
    const options = fieldsOf(stanza);
    if (!options.has("uris") || isNo(options.get("enabled"))) continue;
    sources.push({
      types: words(options.get("types") ?? ""),
      uris: words(options.get("uris") ?? ""),
      suites: words(options.get("suites") ?? ""),
      components: words(options.get("components") ?? ""),
      options,
    });
  }
  return sources;
}

/**
 * The mirrors of the distribution itself among all sources, the most likely first.
 *
 * A vendor's repository often uses the distribution's suite name too; it is tried last and simply has no such suite.
 */
export function distributionMirrors(
  sources: readonly AptSource[],
  distribution: Distribution,
): readonly DistributionMirror[] {
  const mirrors = new Map<string, DistributionMirror>();
  for (const source of sources) {
    const isBase = source.suites.some((suite) => distribution.baseSuites.includes(suite.replace(/\/$/, "")));
    if (!source.types.includes("deb") || !source.components.includes("main") || !isBase) continue;
    for (const uri of source.uris) {
      if (uri.startsWith("cdrom:") || mirrors.has(uri)) continue;
      mirrors.set(uri, { uri, options: source.options });
    }
  }
  return [...mirrors.values()].toSorted((a, b) => distrust(a) - distrust(b));
}

/** A deb822 source for the distribution's suite on this mirror. Only the package index is asked for: the other indexes cost megabytes. */
export function renderMirrorSource(mirror: DistributionMirror, distribution: Distribution): string {
  const lines = [
    "Types: deb",
    `URIs: ${mirror.uri}`,
    `Suites: ${distribution.suite}`,
    `Components: ${distribution.components.join(" ")}`,
    "Targets: Packages",
  ];
  for (const [name, field] of KEPT_OPTIONS) {
    const value = mirror.options.get(name);
    if (value !== undefined) lines.push(`${field}:${value.startsWith("\n") ? "" : " "}${value}`);
  }
  return `${lines.join("\n")}\n`;
}

/** What `/etc/os-release` says about where a recent nats-server is; undefined for a distribution without apt suites that we know. */
export function readDistribution(osRelease: string): Distribution | undefined {
  const value = (name: string): string =>
    new RegExp(`^${name}=["']?([^"'\\n]*)`, "m").exec(osRelease)?.[1]?.toLowerCase() ?? "";
  const names = [value("ID"), ...words(value("ID_LIKE"))];
  const codenames = [value("VERSION_CODENAME"), value("UBUNTU_CODENAME"), value("DEBIAN_CODENAME")];
  const known = codenames.filter((name) => name !== "");
  if (names.includes("ubuntu")) {
    // Ubuntu has no `testing`; the suite before the next release is `devel`, and nats-server is in `universe`.
    return { suite: "devel", components: ["main", "universe"], baseSuites: [...known, "devel"] };
  }
  if (!names.includes("debian")) return undefined;
  const rolling = ["oldstable", "stable", "testing", "unstable", "sid"];
  return { suite: "testing", components: ["main"], baseSuites: [...known, ...rolling] };
}

function fieldsOf(stanza: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  let name: string | undefined;
  for (const line of stanza.split("\n")) {
    if (/^[ \t]/.test(line) && name !== undefined) {
      fields.set(name, `${fields.get(name)}\n${line}`);
      continue;
    }
    const match = /^([A-Za-z0-9-]+):[ \t]*(.*)$/.exec(line);
    if (match === null) continue;
    name = (match[1] ?? "").toLowerCase();
    fields.set(name, (match[2] ?? "").trimEnd());
  }
  return fields;
}

/** In a one-line source several values of an option are separated by commas, in deb822 by spaces. */
function optionOf(word: string): [string, string] {
  const [name = "", value = ""] = word.split(/=(.*)/s);
  return [name.toLowerCase(), value.replaceAll(",", " ")];
}

function distrust(mirror: DistributionMirror): number {
  const key = mirror.options.get("signed-by");
  if (key === undefined) return 1;
  return /\/(debian|ubuntu)-archive-keyring\./.test(key) ? 0 : 2;
}

function isNo(value: string | undefined): boolean {
  return value !== undefined && ["no", "false", "0", "off", "without", "disable"].includes(value.toLowerCase());
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}
