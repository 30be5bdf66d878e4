/** Reads an export of the ledger, without any server, and finds whatever was changed in it since it was written. */
import { createHash } from "node:crypto";
import type { z } from "zod";
import { OperatingError } from "../../../contracts/errors.ts";
import {
  LEDGER_FORMATS,
  LedgerExportFooter,
  LedgerExportFrame,
  LedgerExportHeader,
  type SignedDigest,
} from "../../../contracts/ledger.ts";
import type { LogMessage } from "../../../contracts/ports.ts";
import { logSubject } from "../../../contracts/subjects.ts";
import { type FileLine, fileLines } from "../file-lines.ts";
import { explainBreak } from "./break.ts";
import { LedgerChain } from "./chain.ts";
import { differences, formatProblem, unreadable } from "./documents.ts";
import { ledgerProblem } from "./problem.ts";
import type { LedgerSum } from "./sum.ts";

/** Longer than any frame as a JSON string. */
const LINE_BYTES_MAX = 16 * 1_024 * 1_024;
const UNIT = "line";

/**
 * Adds up all frames of an export and returns its digest as it was signed, once the file was found whole.
 * Throws, all definite: OperatingError `ledger_file_unreadable`, `ledger_file_version`, `ledger_file_invalid` and the problems of a chain,
 * these two with the line.
 */
export async function readExport(
  path: string,
  isStrict: boolean,
  sum: LedgerSum,
  onFrame: (frames: number, total: number) => void,
): Promise<SignedDigest> {
  const file = new ExportFile(path, isStrict, sum, onFrame);
  for await (const line of linesOf(path)) await file.take(line);
  return file.end();
}

class ExportFile {
  readonly #path: string;
  readonly #isStrict: boolean;
  readonly #sum: LedgerSum;
  readonly #onFrame: (frames: number, total: number) => void;
  readonly #checksum = createHash("sha256");
  #line = 0;
  #header: LedgerExportHeader | undefined;
  #footer: LedgerExportFooter | undefined;
  #chain: LedgerChain | undefined;

  constructor(path: string, isStrict: boolean, sum: LedgerSum, onFrame: (frames: number, total: number) => void) {
    this.#path = path;
    this.#isStrict = isStrict;
    this.#sum = sum;
    this.#onFrame = onFrame;
  }

  async take(line: FileLine): Promise<void> {
    this.#line += 1;
    if (this.#footer !== undefined) throw this.#invalid("there is a line behind the last one");
    if (!line.isWhole) throw this.#invalid("the file was cut off here: the line has no end");
    const content = contentOf(line.bytes);
    if (content === undefined) throw this.#invalid("it is no valid JSON object");
    if (this.#header === undefined) this.#begin(content);
    else if (Object.hasOwn(content, "checksum")) this.#footer = this.#parsed(LedgerExportFooter, content);
    else {
      this.#checksum.update(line.bytes).update("\n");
      await this.#frame(this.#parsed(LedgerExportFrame, content), this.#header);
    }
  }

  end(): SignedDigest {
    const { frames } = this.#sum;
    const header = this.#header;
    const footer = this.#footer;
    const place = (line: number) => ({ unit: UNIT, at: line }) as const;
    if (header === undefined) throw ledgerProblem("ledger_file_invalid", place(1), "the file is empty");
    if (footer === undefined)
      throw ledgerProblem(
        "ledger_file_invalid",
        place(this.#line + 1),
        "the file was cut off: its last line is missing",
      );
    if (frames !== header.frames || frames !== footer.frames)
      throw ledgerProblem(
        frames < Math.max(header.frames, footer.frames) ? "ledger_frame_removed" : "ledger_frame_inserted",
        place(this.#line),
        `there are ${frames} frames; the first line counts ${header.frames}, the last ${footer.frames}`,
      );
    const digest = this.#sum.digest();
    const wrongHeader = differences({ ...header, format: LEDGER_FORMATS.digest }, digest);
    if (wrongHeader !== "")
      throw ledgerProblem("ledger_file_invalid", place(1), `not as the frames are: ${wrongHeader}`);
    const wrongFooter = differences(footer.signed.digest, digest);
    if (wrongFooter !== "")
      throw ledgerProblem(
        "ledger_file_invalid",
        place(this.#line),
        `its digest is not as the frames are: ${wrongFooter}`,
      );
    if (footer.checksum !== this.#checksum.digest("hex"))
      throw ledgerProblem(
        "ledger_file_invalid",
        place(this.#line),
        "the checksum is wrong: it was changed, or the lines were written in another way, although every frame is as it was",
      );
    return footer.signed;
  }

  #begin(content: object): void {
    const problem = formatProblem(content, LEDGER_FORMATS.export, `${this.#path}, line 1`);
    if (problem !== undefined) throw problem;
    const header = this.#parsed(LedgerExportHeader, content);
    const { region, shard, logId, chainBefore, firstSequence } = header;
    this.#header = header;
    this.#chain = new LedgerChain({
      ...{ region, shard, logId, isStrict: this.#isStrict, unit: UNIT },
      tip: { chain: chainBefore, term: 0, first: firstSequence - 1, nextSequence: firstSequence, at: 0 },
    });
  }

  async #frame(line: LedgerExportFrame, header: LedgerExportHeader): Promise<void> {
    const place = { unit: UNIT, at: this.#line } as const;
    const step = this.#chain?.take(messageOf(line, this.#line, header));
    if (step?.kind === "frame") {
      this.#sum.add(step);
      this.#onFrame(this.#sum.frames, header.frames);
    } else if (step?.kind === "halt") throw ledgerProblem(step.code, place, step.message);
    else if (step?.kind === "break") throw await explainBreak(() => messagesOf(this.#path, header), step, UNIT);
    else if (step?.reason === "chain header")
      throw ledgerProblem(
        "ledger_frame_changed",
        place,
        "the payload and the chain value beside it do not agree: a bit of one of the two was changed",
      );
    else throw ledgerProblem("ledger_frame_inserted", place, `it holds no frame that belongs here (${step?.reason})`);
  }

  #parsed<Value>(schema: z.ZodType<Value>, content: object): Value {
    const parsed = schema.safeParse(content);
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw this.#invalid(`${issue?.path.join(".") || "the line"}: ${issue?.message}`);
  }

  #invalid(message: string): OperatingError {
    return ledgerProblem("ledger_file_invalid", { unit: UNIT, at: this.#line }, message);
  }
}

/** The frames of an export as messages, for whoever looks how they are chained. Ends where the file is no export any more. */
async function* messagesOf(path: string, header: LedgerExportHeader): AsyncGenerator<LogMessage, void, void> {
  let number = 0;
  for await (const { bytes } of linesOf(path)) {
    number += 1;
    const parsed = LedgerExportFrame.safeParse(contentOf(bytes));
    if (parsed.success) yield messageOf(parsed.data, number, header);
  }
}

function messageOf(
  { chain, payload }: LedgerExportFrame,
  line: number,
  { region, shard }: LedgerExportHeader,
): LogMessage {
  const subject = logSubject(region, shard);
  return { streamSequence: line, subject, payload: Buffer.from(payload), chainHeader: chain, pending: -1 };
}

function contentOf(bytes: Buffer): object | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined; // what is no JSON is no line of ours
  }
}

async function* linesOf(path: string): AsyncGenerator<FileLine, void, void> {
  try {
    yield* fileLines(path, LINE_BYTES_MAX);
  } catch (error) {
    throw error instanceof OperatingError ? error : unreadable(path, error);
  }
}
