/**
 * A file system of our own in an image file: its power can be cut, and it can be filled. What a program has written but not synced is not in the
 * image, so a copy of the image is what a disk would hold after the power failed.
 */
import { spawnSync } from "node:child_process";
import { closeSync, constants, mkdirSync, openSync, readFileSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { runCommand } from "../../infra/nats-server/command.ts";
import { isAlive } from "../../infra/nats-server/process-state.ts";

/**
 * The journal is written every 300 s, so that within a drill only fsync brings anything into the image. The kernel's own flush of dirty pages comes
 * 30 s after they were written (vm.dirty_expire_centisecs): the power must be cut before.
 */
const MOUNT_OPTIONS = "loop,commit=300";
const COMMAND_MS = 60_000;
const STOP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const MOUNT_NAME = "omnirelay-volume";
const BALLAST = "ballast";

const live = new Set<Volume>();
let isGuarded = false;

export class Volume {
  /** Where it is mounted; the same before and after a cut. */
  readonly folder: string;
  readonly #image: string;
  #cutImage = "";

  /** Makes a file system of that size and mounts it below `parent`, which may hold other volumes. */
  static async create(parent: string, name: string, bytes: number): Promise<Volume> {
    guard();
    const folder = join(parent, `${MOUNT_NAME}-${process.pid}-${name}`);
    const image = join(parent, `${name}.img`);
    mkdirSync(folder, { recursive: true });
    await run("truncate", "-s", String(bytes), image);
    // No reserve: root may use it up, so a full volume would not be full for a server that runs as root.
    await run("mkfs.ext4", "-q", "-F", "-m", "0", image);
    const volume = new Volume(folder, image);
    live.add(volume);
    await volume.#mount(image);
    return volume;
  }

  private constructor(folder: string, image: string) {
    this.folder = folder;
    this.#image = image;
  }

  /** Copies what the disk holds at this moment. Nothing may write meanwhile: whoever uses the volume stands still. */
  async cut(): Promise<void> {
    this.#cutImage = `${this.#image}.cut`;
    await run("cp", "--sparse=always", this.#image, this.#cutImage);
  }

  /** The power is back: what was copied by `cut` is mounted in the place of what was there. Nobody may use the volume. */
  async restore(): Promise<void> {
    await run("umount", this.folder);
    await this.#mount(this.#cutImage);
  }

  /** Takes all of the room that is left but `leaveBytes`, as another program might. */
  fill(leaveBytes: number): void {
    const free = this.freeBytes;
    const file = openSync(join(this.folder, BALLAST), constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND);
    const chunk = Buffer.alloc(64 * 1024, 1);
    try {
      for (let left = free - leaveBytes; left > 0; left -= chunk.length)
        writeSync(file, chunk, 0, Math.min(left, chunk.length));
    } catch (error) {
      // The file system needs some of the room for itself: full is full.
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    } finally {
      closeSync(file);
    }
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.folder);
    return bavail * bsize;
  }

  /** Gives back what `fill` took. */
  makeRoom(): void {
    rmSync(join(this.folder, BALLAST), { force: true });
  }

  /** Unmounts it, whoever still uses it, and deletes its image. Lazily: the device goes with its last user. The second time it does nothing. */
  close(): void {
    if (!live.delete(this)) return;
    spawnSync("umount", ["--lazy", this.folder], { stdio: "ignore" });
    for (const image of [this.#image, this.#cutImage]) if (image !== "") rmSync(image, { force: true });
  }

  #mount(image: string): Promise<unknown> {
    return run("mount", "-o", MOUNT_OPTIONS, image, this.folder);
  }
}

const run = (program: string, ...args: readonly string[]): Promise<string> =>
  runCommand(program, args, { timeoutMs: COMMAND_MS });

/** Whatever ends this process but SIGKILL, no mount outlives it; what a killed one left goes now. */
function guard(): void {
  if (isGuarded) return;
  isGuarded = true;
  const releaseAll = (): void => {
    for (const volume of [...live]) volume.close();
  };
  process.once("exit", releaseAll);
  for (const signal of STOP_SIGNALS)
    process.once(signal, () => {
      releaseAll();
      process.kill(process.pid, signal);
    });
  for (const folder of mountsOfDead()) spawnSync("umount", ["--lazy", folder], { stdio: "ignore" });
}

function mountsOfDead(): readonly string[] {
  const folders = readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "");
  return folders.filter((folder) => {
    const owner = new RegExp(`/${MOUNT_NAME}-(\\d+)-[^/]+$`).exec(folder);
    return owner !== null && !isAlive(Number(owner[1]));
  });
}
