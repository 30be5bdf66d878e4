/**
 * Writes an export of the ledger: JSON lines that are a header, one frame each, and a footer. The header says what is known only in the end,
 * so room is left for it.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import {
  LEDGER_FORMATS,
  type LedgerExportFooter,
  type LedgerExportFrame,
  type LedgerExportHeader,
  type SignedDigest,
} from "../../../contracts/ledger.ts";
import { ledgerError } from "./problem.ts";
import type { LedgerFrame } from "./sum.ts";

/** Length of the first line without its line feed: longer than any header. Bytes. */
const HEADER_BYTES = 1_024;
/** Bytes that are written at a time. */
const WRITE_BYTES_AIM = 256 * 1_024;

/** Throws OperatingError `ledger_file_exists` (definite) where a file is there that nobody said to replace. */
export function mustNotExist(path: string, isForced: boolean): void {
  if (isForced || !existsSync(path)) return;
  throw ledgerError("ledger_file_exists", `${path} is there already; --force replaces it`);
}

/**
 * One export under way, in a file of its own beside the one that it will be: whole, or not there. What a kill leaves behind
 * is overwritten by the next one.
 * Throws, everywhere: OperatingError `ledger_file_unwritable` and `ledger_file_exists`, both definite.
 */
export class ExportWriter {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #checksum = createHash("sha256");
  #waiting: Buffer[] = [];
  #waitingBytes = 0;

  private constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
  }

  static async open(path: string): Promise<ExportWriter> {
    const file = await open(partialOf(path), "w").catch((error: unknown) => {
      throw unwritable(path, error);
    });
    const writer = new ExportWriter(path, file);
    try {
      await writer.#guarded(() => file.write(`${" ".repeat(HEADER_BYTES)}\n`));
    } catch (error) {
      await writer.discard();
      throw error;
    }
    return writer;
  }

  /** A promise only where the disk is to be waited for. */
  frame({ payload, chain }: LedgerFrame): Promise<void> | undefined {
    const line: LedgerExportFrame = { chain, payload: new TextDecoder("utf-8", { ignoreBOM: true }).decode(payload) };
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    this.#checksum.update(bytes);
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    return this.#waitingBytes < WRITE_BYTES_AIM ? undefined : this.#flush();
  }

  /** Gives the file its name, once everything is on the disk. */
  async finish(signed: SignedDigest, isForced: boolean): Promise<void> {
    const { frames } = signed.digest;
    const footer: LedgerExportFooter = { frames, checksum: this.#checksum.digest("hex"), signed };
    const header: LedgerExportHeader = { ...signed.digest, format: LEDGER_FORMATS.export };
    const headerBytes = Buffer.from(JSON.stringify(header).padEnd(HEADER_BYTES));
    assert.equal(headerBytes.length, HEADER_BYTES);
    this.#waiting.push(Buffer.from(`${JSON.stringify(footer)}\n`));
    await this.#flush();
    await this.#guarded(async () => {
      await this.#file.write(headerBytes, 0, HEADER_BYTES, 0);
      await this.#file.sync();
      await this.#file.close();
    });
    mustNotExist(this.#path, isForced);
    await this.#guarded(() => rename(partialOf(this.#path), this.#path));
  }

  /** Leaves nothing behind of an export that is not finished. Closing twice is allowed. */
  async discard(): Promise<void> {
    await this.#file.close().catch(() => undefined);
    await rm(partialOf(this.#path), { force: true });
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.concat(this.#waiting);
    this.#waiting = [];
    this.#waitingBytes = 0;
    await this.#guarded(() => this.#file.appendFile(bytes));
  }

  async #guarded(step: () => Promise<unknown>): Promise<void> {
    try {
      await step();
    } catch (error) {
      throw unwritable(this.#path, error);
    }
  }
}

const partialOf = (path: string): string => `${path}.partial`;

export const unwritable = (path: string, error: unknown) =>
  ledgerError("ledger_file_unwritable", `cannot write ${path}: ${(error as Error).message}`, error);
