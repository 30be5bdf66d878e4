/** Reads a file line by line as bytes, with bounded memory. Not node:readline, which also ends a line at characters that JSON leaves as they are. */
import { createReadStream } from "node:fs";

const LINE_FEED = 0x0a;

export interface FileLine {
  /** Without the line feed. */
  readonly bytes: Buffer;
  /** False for what stands behind the last line feed. */
  readonly isWhole: boolean;
}

/** Ends early, with a line that is not whole, at a line that is longer than `bytesMax`. Throws what the file system answers. */
export async function* fileLines(path: string, bytesMax: number): AsyncGenerator<FileLine, void, void> {
  let parts: Buffer[] = [];
  let length = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1_024 })) {
    let start = 0;
    const bytes = chunk as Buffer;
    for (let end = bytes.indexOf(LINE_FEED); end !== -1; end = bytes.indexOf(LINE_FEED, start)) {
      parts.push(bytes.subarray(start, end));
      yield { bytes: parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts), isWhole: true };
      start = end + 1;
      parts = [];
      length = 0;
    }
    parts.push(bytes.subarray(start));
    length += bytes.length - start;
    if (length > bytesMax) break;
  }
  if (length > 0) yield { bytes: Buffer.concat(parts), isWhole: false };
}
