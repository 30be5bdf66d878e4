/** Ways in which a disk fails under a process that runs: it fills up, or its system calls come back with an error. */
import { globSync } from "node:fs";
import { join } from "node:path";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { blocksOf } from "./block-files.ts";
import type { DiskMesh } from "./disk-mesh.ts";
import { FailingCalls } from "./failing-calls.ts";
import type { Right } from "./rights.ts";

/** Whose disk: that of one of the servers, or the dispatcher's. */
type DiskOwner = NatsServer | "dispatcher";

/** A failure that lasts. */
export interface ActiveFailure {
  /** What shows that it struck. */
  evidence(): Readonly<Record<string, number>>;
  /** Mends the disk; the second time it does nothing. */
  end(): Promise<void>;
}

export interface DiskFailure {
  /** For figures and problems. */
  readonly name: string;
  readonly needs: Right;
  /** Whether the owner's data must be on a volume of its own. */
  readonly needsVolume: boolean;
  readonly begin: (mesh: DiskMesh, owner: DiskOwner) => Promise<ActiveFailure>;
}

/** What is left to a server: some frames fit, so that a volume fills up in the middle of one. Bytes. */
const ROOM_LEFT = 64 * 1024;

export const DISK_FULL: DiskFailure = {
  name: "disk full",
  needs: "volume",
  needsVolume: true,
  begin: async (mesh, owner) => {
    const volume = mesh.volumes.get(owner === "dispatcher" ? owner : owner.serverName);
    if (volume === undefined) throw new Error("only what is on a volume can be filled");
    volume.fill(owner === "dispatcher" ? 0 : ROOM_LEFT);
    return { evidence: () => ({ freeBytes: volume.freeBytes }), end: async () => volume.makeRoom() };
  },
};

export const SYNC_FAILS: DiskFailure = failingCalls("fsync fails", "fsync,fdatasync", () => []);
/** Sockets are written to by the same calls, so only those on files fail. */
export const WRITE_FAILS: DiskFailure = failingCalls("write fails", "write,pwrite64,writev,pwritev", filesOf);

function failingCalls(
  name: string,
  calls: string,
  pathsOf: (mesh: DiskMesh, owner: DiskOwner) => readonly string[],
): DiskFailure {
  return {
    name,
    needs: "trace",
    needsVolume: false,
    begin: async (mesh, owner) => {
      const { pid } = owner === "dispatcher" ? mesh.dispatcher : owner;
      const logFile = join(mesh.folder, "failed-calls.log");
      const failing = await FailingCalls.start({ pid, calls, error: "EIO", paths: pathsOf(mesh, owner), logFile });
      return { evidence: () => ({ failedCalls: failing.count }), end: () => failing.end() };
    },
  };
}

/** Of a server: its copy of the log, and what its Raft groups write ahead; of the dispatcher: its databases. */
function filesOf(mesh: DiskMesh, owner: DiskOwner): readonly string[] {
  if (owner === "dispatcher") return globSync(join(mesh.dataDir, "*.sqlite*"));
  return [
    ...blocksOf(owner, "default"),
    ...globSync(join(owner.storeDir, "jetstream", "*", "_js_", "*", "msgs", "*.blk")),
  ];
}
