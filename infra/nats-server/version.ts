/** Says which nats-server versions the mesh may run on, apart from how one is found, so that the policy can be read and tested alone. */

/** The version that the release download asks for, and the one that all measurements were made with. */
export const SERVER_VERSION_PINNED = "2.15.1";

/** Below it there is no atomic batch, no strict API by default and no promotion of a mirror: nothing of the mesh is tested there. */
const SERVER_VERSION_MIN = "2.12.0";
/** Below it a proposal of a stream leader of an older term can still enter a replicated log (nats-server #8370): the fence has a hole. */
const SERVER_VERSION_REPLICATED_MIN = "2.14.4";
/** Below it compaction may skip an fsync in spite of `sync_interval: always` (nats-server #8456, #8475). */
const SERVER_VERSION_SYNC_MIN = "2.15.0";

/** A version as nats-server prints it. `prerelease` is what follows the dash, empty for a release. */
export interface ServerVersion {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  readonly prerelease: string;
  /** Without the leading `v`; names the cache folder. */
  readonly text: string;
}

/** What a server is wanted for; both decide how old it may be. */
export interface VersionDemand {
  /** Whether streams with more than one replica will live on it. Default true: the stricter floor. */
  readonly replicated?: boolean;
  /** Accepts a server whose replicated logs are not fenced by term. Default false. Compared with `replicated`. */
  readonly allowUnfencedReplicas?: boolean;
}

export type VersionVerdict =
  | { readonly kind: "accepted" }
  | { readonly kind: "warned"; readonly message: string }
  | { readonly kind: "refused"; readonly message: string };

/**
 * Decides whether a server of this version may be used.
 *
 * Refuses: below 2.12; below 2.14.4 for replicated logs unless `allowUnfencedReplicas`. Warns: below 2.15, or when a refusal was waived.
 * A prerelease counts as older than its release: 2.15.0-RC.2 is below 2.15.
 */
export function judgeServerVersion(version: ServerVersion, demand: VersionDemand = {}): VersionVerdict {
  if (isBelow(version, SERVER_VERSION_MIN)) {
    return refused(version, `is too old: the mesh needs ${SERVER_VERSION_MIN} or newer`);
  }
  const replicated = demand.replicated ?? true;
  if (isBelow(version, SERVER_VERSION_REPLICATED_MIN) && replicated) {
    if (demand.allowUnfencedReplicas !== true) {
      return refused(
        version,
        `does not fence replicated logs by leadership term: they need ${SERVER_VERSION_REPLICATED_MIN} or newer ` +
          "(nats-server #8370). Set allowUnfencedReplicas to accept that two leaders may write",
      );
    }
    return warned(version, "does not fence replicated logs by leadership term; this was allowed explicitly");
  }
  if (isBelow(version, SERVER_VERSION_SYNC_MIN)) {
    return warned(
      version,
      `is below ${SERVER_VERSION_SYNC_MIN}: compaction may skip an fsync in spite of sync_interval: always, ` +
        "so a power cut can lose acknowledged frames",
    );
  }
  return { kind: "accepted" };
}

/** Reads `nats-server: v2.15.1`, `v2.15.0-RC.2` or `2.15.1`; undefined when there is no version in the text. */
export function parseServerVersion(text: string): ServerVersion | undefined {
  const match = /(?:^|[\sv:])(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?/.exec(text);
  if (match === null) return undefined;
  const [major, minor, patch] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const prerelease = match[4] ?? "";
  const suffix = prerelease === "" ? "" : `-${prerelease}`;
  return { major, minor, patch, prerelease, text: `${major}.${minor}.${patch}${suffix}` };
}

/** Negative when `a` is older than `b`, positive when it is newer, 0 when they are the same. */
export function compareServerVersions(a: ServerVersion, b: ServerVersion): number {
  const difference = a.major - b.major || a.minor - b.minor || a.patch - b.patch;
  if (difference !== 0 || a.prerelease === b.prerelease) return difference;
  if (a.prerelease === "") return 1;
  if (b.prerelease === "") return -1;
  return a.prerelease.localeCompare(b.prerelease, "en", { numeric: true });
}

function isBelow(version: ServerVersion, floor: string): boolean {
  const parsed = parseServerVersion(floor);
  return parsed !== undefined && compareServerVersions(version, parsed) < 0;
}

function refused(version: ServerVersion, why: string): VersionVerdict {
  return { kind: "refused", message: `nats-server ${version.text} ${why}` };
}

function warned(version: ServerVersion, why: string): VersionVerdict {
  return { kind: "warned", message: `nats-server ${version.text} ${why}` };
}
