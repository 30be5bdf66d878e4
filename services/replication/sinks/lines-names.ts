/** Names of the data files of a JSON-lines folder: by sequence, so that they sort, and by day, for whoever looks for one. */
import { readdir } from "node:fs/promises";

/** `00000000000000000042.2026-01-31.jsonl`, and with `.gz` once it is closed and compressed. */
export interface LinesName {
  readonly name: string;
  /** Sequence of its first line. */
  readonly first: number;
  /** UTC day of its first line; `2026-01-31`. */
  readonly day: string;
  readonly isCompressed: boolean;
}

const SEQUENCE_DIGITS = 20;
const NAME = /^(\d{20})\.(\d{4}-\d{2}-\d{2})\.jsonl(\.gz)?$/;
export const COMPRESSED = ".gz";
/** Of files that are being made; what a kill leaves of them means nothing. */
export const PARTIAL = ".tmp";

export function linesName(first: number, day: string): LinesName {
  const name = `${String(first).padStart(SEQUENCE_DIGITS, "0")}.${day}.jsonl`;
  return { name, first, day, isCompressed: false };
}

/** The UTC day of an event's timestamp. */
export const dayOf = (timestamp: string): string => timestamp.slice(0, "2026-01-31".length);

export interface FolderContents {
  /** Data files by sequence; both of a pair that was left when a compression ended early. */
  readonly data: readonly LinesName[];
  readonly partial: readonly string[];
}

/** Whatever else there is, is somebody's own and stays out of sight. */
export async function readLinesFolder(folder: string): Promise<FolderContents> {
  const names = (await readdir(folder)).sort();
  const data = names.flatMap((name) => {
    const [, first, day, ending] = NAME.exec(name) ?? [];
    if (first === undefined || day === undefined) return [];
    return [{ name, first: Number(first), day, isCompressed: ending !== undefined }];
  });
  return { data, partial: names.filter((name) => name.endsWith(PARTIAL)) };
}
