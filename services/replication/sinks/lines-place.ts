/**
 * The file beside the lines that holds the place where they end: what a line does not say, and how far the files are known to be on the
 * disk. An older one costs nothing but time, so it is written in place and rarely synced; two slots in turn, so that one is always whole.
 */
import type { FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { z } from "zod";
import { Checkpoint } from "../../../contracts/followers.ts";
import { Sequence } from "../../../contracts/ids.ts";
import type { FileHost } from "./sink-files.ts";

const PlaceRecord = z.strictObject({
  revision: z.int().min(1),
  place: Checkpoint,
  /** Sequence of the last line at that time; 0 when there was none. */
  last: Sequence,
  /** The file that ends with that line, and its length then. Empty when there was none. */
  file: z.string(),
  bytes: z.int().min(0),
});
export type PlaceRecord = Readonly<z.infer<typeof PlaceRecord>>;

const SLOT_BYTES = 2_048;
const SLOTS = 2;

export class PlaceFile {
  readonly #handle: FileHandle;
  #revision: number;

  /** The file, and the newest record in it. Throws: what the file system throws. */
  static async open(host: FileHost, path: string): Promise<{ file: PlaceFile; record: PlaceRecord | undefined }> {
    const handle = await openOrCreate(host, path);
    try {
      const buffer = Buffer.alloc(SLOT_BYTES * SLOTS);
      await handle.read(buffer, 0, buffer.length, 0);
      const records = [0, SLOT_BYTES].flatMap((start) => parseSlot(buffer.toString("utf8", start, start + SLOT_BYTES)));
      const [record] = records.sort((one, other) => other.revision - one.revision);
      return { file: new PlaceFile(handle, record?.revision ?? 0), record };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  private constructor(handle: FileHandle, revision: number) {
    this.#handle = handle;
    this.#revision = revision;
  }

  async write(record: Omit<PlaceRecord, "revision">): Promise<void> {
    const revision = this.#revision + 1;
    const slot = slotOf({ revision, ...record });
    await this.#handle.write(slot, 0, slot.length, (revision % SLOTS) * SLOT_BYTES);
    this.#revision = revision;
  }

  async sync(): Promise<void> {
    await this.#handle.datasync();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

async function openOrCreate(host: FileHost, path: string): Promise<FileHandle> {
  try {
    return await host.open(path, "r+");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return host.open(path, "wx+");
  }
}

/** One line of JSON behind its checksum, filled up with blanks, so that people can read it too. */
function slotOf(record: PlaceRecord): Buffer {
  const text = JSON.stringify(record);
  const line = `${crc32(text).toString(16).padStart(8, "0")} ${text}`;
  return Buffer.from(`${line.padEnd(SLOT_BYTES - 1)}\n`);
}

function parseSlot(slot: string): PlaceRecord[] {
  const text = slot.slice(9).trimEnd();
  if (slot.slice(0, 8) !== crc32(text).toString(16).padStart(8, "0")) return [];
  const { success, data } = PlaceRecord.safeParse(JSON.parse(text));
  return success ? [data] : [];
}
