/** Reads a JSON-lines file up to its first line that is not whole: after a kill or a power cut the end may be anything. */
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";

export interface LinesScan {
  /** Sequence of the last whole line; undefined when there is none. */
  readonly last: number | undefined;
  /** Where the last whole line ends. Bytes from the start of the file. */
  readonly wholeBytes: number;
  /** `torn`: the rest has no end of line, as a write leaves it that was cut off. `bad`: there is a line that is no event in its order. */
  readonly rest: "none" | "torn" | "bad";
}

const NEWLINE = 10;
/** No event is longer; what has no end of line for so long is none. Bytes. */
const LINE_BYTES_MAX = 64 * 1024 * 1024;

/** Reads from a byte on, which is the beginning of a line; of a compressed file from its beginning. Throws: what the file system throws. */
export async function scanLines(path: string, isCompressed: boolean, fromByte = 0): Promise<LinesScan> {
  const scan = new Scan(fromByte);
  const take = async (chunks: AsyncIterable<Buffer>): Promise<void> => {
    for await (const chunk of chunks) scan.take(chunk);
  };
  if (isCompressed) await pipeline(createReadStream(path), createGunzip(), take);
  else await pipeline(createReadStream(path, { start: fromByte }), take);
  return scan.end();
}

class Scan {
  #last: number | undefined;
  #wholeBytes: number;
  #isBad = false;
  /** Of the line that has no end yet. */
  #rest: Buffer[] = [];
  #restBytes = 0;

  constructor(fromByte: number) {
    this.#wholeBytes = fromByte;
  }

  /** Behind a bad line nothing counts any more. */
  take(chunk: Buffer): void {
    let start = 0;
    if (this.#isBad) return;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      if (!this.#line(Buffer.concat([...this.#rest, chunk.subarray(start, end)]))) return;
      this.#rest = [];
      this.#restBytes = 0;
      start = end + 1;
    }
    if (start < chunk.length) this.#rest.push(chunk.subarray(start));
    this.#restBytes += chunk.length - start;
    this.#isBad = this.#restBytes > LINE_BYTES_MAX;
  }

  end(): LinesScan {
    const rest = this.#isBad ? "bad" : this.#restBytes > 0 ? "torn" : "none";
    return { last: this.#last, wholeBytes: this.#wholeBytes, rest };
  }

  #line(line: Buffer): boolean {
    const sequence = sequenceOf(line.toString("utf8"));
    this.#isBad = sequence === undefined || sequence <= (this.#last ?? 0);
    if (this.#isBad) return false;
    this.#last = sequence;
    this.#wholeBytes += line.length + 1;
    return true;
  }
}

function sequenceOf(line: string): number | undefined {
  try {
    const sequence: unknown = JSON.parse(line)?.sequenceNumber;
    return typeof sequence === "number" && Number.isSafeInteger(sequence) ? sequence : undefined;
  } catch {
    // That it is no JSON is what was asked.
    return undefined;
  }
}
