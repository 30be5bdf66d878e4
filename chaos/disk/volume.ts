/**
 * A file system of our own in an image file: its power can be cut, and it can be filled. What a program has written but not synced is not in the
 * image, so a copy of the image is what a disk would hold after the power failed.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, constants, mkdirSync, openSync, readFileSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { runCommand } from "../../infra/nats-server/command.ts";
import { isAlive } from "../../infra/nats-server/process-state.ts";
import { type AtEnd, atEnd } from "../at-end.ts";

/**
 * The journal is written every 300 s, so that within a drill only fsync brings anything into the image. The kernel's own flush of dirty pages comes
 * 30 s after they were written (vm.dirty_expire_centisecs): the power must be cut before.
 */
const MOUNT_OPTIONS = "loop,commit=300";
const COMMAND_MS = 60_000;
/** A Ctrl-C at the terminal also ends an `umount` that is under way: how often it is tried. */
const UNMOUNT_TRIES = 10;
const MOUNT_NAME = "omnirelay-volume";
const BALLAST = "ballast";

let hasTidied = false;

export class Volume {
  /** Where it is mounted; the same before and after a cut. */
  readonly folder: string;
  readonly #image: string;
  readonly #closing: AtEnd;
  #cutImage = "";

  /** Makes a file system of that size and mounts it below `parent`, which may hold other volumes. */
  static async create(parent: string, name: string, bytes: number): Promise<Volume> {
    tidyUp();
    const folder = join(parent, `${MOUNT_NAME}-${process.pid}-${name}`);
    const image = join(parent, `${name}.img`);
    mkdirSync(folder, { recursive: true });
    await run("truncate", "-s", String(bytes), image);
    // No reserve: root may use it up, so a full volume would not be full for a server that runs as root.
    await run("mkfs.ext4", "-q", "-F", "-m", "0", image);
    const volume = new Volume(folder, image);
    volume.#mount(image);
    return volume;
  }

  private constructor(folder: string, image: string) {
    this.folder = folder;
    this.#image = image;
    this.#closing = atEnd(() => this.#discard());
  }

  /** Copies what the disk holds at this moment. Nothing may write meanwhile: whoever uses the volume stands still. */
  async cut(): Promise<void> {
    this.#cutImage = `${this.#image}.cut`;
    await run("cp", "--sparse=always", this.#image, this.#cutImage);
  }

  /** The power is back: what was copied by `cut` is mounted in the place of what was there. Nobody may use the volume. */
  async restore(): Promise<void> {
    await run("umount", this.folder);
    this.#mount(this.#cutImage);
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
    this.#closing.now();
  }

  #discard(): void {
    unmount(this.folder);
    for (const image of [this.#image, this.#cutImage]) if (image !== "") rmSync(image, { force: true });
  }

  /** At once: behind a signal nobody would unmount what a program mounts later. */
  #mount(image: string): void {
    execFileSync("mount", ["-o", MOUNT_OPTIONS, image, this.folder], { timeout: COMMAND_MS });
  }
}

const run = (program: string, ...args: readonly string[]): Promise<string> =>
  runCommand(program, args, { timeoutMs: COMMAND_MS });

/** Lazily, until it is done. Throws when it stays mounted. */
function unmount(folder: string): void {
  let words = "";
  for (let tries = 0; mounts().includes(folder); tries += 1) {
    if (tries === UNMOUNT_TRIES) throw new Error(`${folder} is still mounted; umount says: ${words}`);
    const { status, signal, stderr, error } = spawnSync("umount", ["--lazy", folder], {
      encoding: "utf8",
      timeout: COMMAND_MS,
    });
    words = error?.message ?? (stderr.trim() || `ended with ${status ?? signal}`);
  }
}

/** What a killed process has left goes now. */
function tidyUp(): void {
  if (hasTidied) return;
  hasTidied = true;
  for (const folder of mounts()) {
    const owner = new RegExp(`/${MOUNT_NAME}-(\\d+)-[^/]+$`).exec(folder);
    if (owner !== null && !isAlive(Number(owner[1]))) unmount(folder);
  }
}

/** Folders at which something is mounted. A space in a name stands there in octal. */
function mounts(): readonly string[] {
  return readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .map((line) => (line.split(" ")[1] ?? "").replaceAll("\\040", " "));
}
