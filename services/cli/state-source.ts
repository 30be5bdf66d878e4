/** Where a state to be compared comes from: a dump file, a snapshot, or the log; each read as canonical lines. */
import { createReadStream } from "node:fs";
import type { NatsConnection } from "@nats-io/transport-node";
import { InvalidArgumentError } from "commander";
import { OperatingError } from "../../contracts/errors.ts";
import { canonicalState } from "../core/canonical.ts";
import { DumpLines } from "../core/dump-lines.ts";
import { stateHash } from "../core/hash.ts";
import type { LogFold } from "../core/log-fold.ts";
import { SnapshotLoader } from "../core/snapshot-load.ts";
import { foldLog } from "./fold-log.ts";
import type { ShardAddress, SnapshotPlaces } from "./snapshot-places.ts";

/** `sequence` is an event sequence; absent: the newest snapshot, the log's end. */
export type StateSpec =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "snapshot"; readonly sequence?: number | undefined }
  | { readonly kind: "log"; readonly sequence?: number | undefined };

/** What is known of a state once its lines were read. */
export interface StateHead {
  /** For people. */
  readonly source: string;
  readonly sequence: number;
  readonly logId: string;
  /** As its writer kept it; of a dump it may differ from what its records add up to. */
  readonly hash: string;
  /** What is odd about it. */
  readonly notes: readonly string[];
}

export interface StateSurroundings extends ShardAddress {
  readonly connection: NatsConnection;
  readonly places: SnapshotPlaces;
  /** The log may only be folded from snapshots below this event sequence: one cannot be compared with itself. */
  readonly snapshotsBelow?: number | undefined;
  readonly onProgress: (what: "reading" | "folding", value: number, total: number) => void;
}

/** `snapshot:<sequence>`, `snapshot:newest`, `log`, `log@<sequence>`; anything else is the path of a dump. */
export function stateSpec(text: string): StateSpec {
  if (text === "")
    throw new InvalidArgumentError("must be a file, snapshot:<sequence>, snapshot:newest, log or log@<sequence>");
  if (text === "log") return { kind: "log" };
  if (text === "snapshot:newest") return { kind: "snapshot" };
  const [, kind, digits = ""] = /^(log@|snapshot:)(.*)$/.exec(text) ?? [];
  if (kind === undefined) return { kind: "file", path: text };
  const sequence = /^\d{1,16}$/.test(digits) ? Number(digits) : Number.NaN;
  if (!Number.isSafeInteger(sequence) || sequence < 1)
    throw new InvalidArgumentError(`needs an event sequence behind ${kind}; a file of that name: ./${text}`);
  return { kind: kind === "log@" ? "log" : "snapshot", sequence };
}

/**
 * Hands each canonical line of the state to `onLine`.
 * Throws: OperatingError `input_unreadable`, `snapshot_damaged`, `snapshot_version`, `snapshot_missing`; as `foldLog`; what NATS answers.
 */
export function readState(
  spec: StateSpec,
  surroundings: StateSurroundings,
  onLine: (line: string) => void,
): Promise<StateHead> {
  switch (spec.kind) {
    case "file":
      return readDump(spec.path, surroundings, onLine);
    case "snapshot":
      return readSnapshot(spec.sequence, surroundings, onLine);
    case "log":
      return readFold(spec.sequence, surroundings, onLine);
  }
}

async function readDump(
  path: string,
  { onProgress }: StateSurroundings,
  onLine: (line: string) => void,
): Promise<StateHead> {
  try {
    const file = createReadStream(path, { encoding: "utf8", highWaterMark: 1_024 * 1_024 });
    return await readText(path, file, onLine, () => onProgress("reading", file.bytesRead, file.bytesRead));
  } catch (error) {
    throw dumpError(path, error as NodeJS.ErrnoException);
  }
}

function dumpError(path: string, cause: NodeJS.ErrnoException): Error {
  const { code, message } = cause;
  if (code === undefined) return cause;
  if (cause instanceof OperatingError)
    return new OperatingError(code, `${path}: ${message}`, { definite: true, cause });
  return new OperatingError("input_unreadable", `cannot read ${path}: ${message}`, { definite: true, cause });
}

async function readSnapshot(
  sequence: number | undefined,
  { places, region, shard, onProgress }: StateSurroundings,
  onLine: (line: string) => void,
): Promise<StateHead> {
  const listed = await places.list({ region, shard });
  const found = sequence === undefined ? listed[0] : listed.find(({ info }) => info.label.sequence === sequence);
  if (found === undefined) {
    const known = listed.map(({ info }) => info.label.sequence).join(", ");
    const message = `there is no snapshot of ${region}/${shard}${sequence === undefined ? "" : ` at sequence ${sequence}`}; there are: ${known || "none"}`;
    throw new OperatingError("snapshot_missing", message, { definite: true });
  }
  const { info, store } = found;
  const source = `snapshot at sequence ${info.label.sequence} of the ${info.where}`;
  return readText(source, store.open(info), onLine, (length) => onProgress("reading", length, info.textBytes));
}

/** Reads leniently, and lets the strict reader say what is odd about the text. */
async function readText(
  source: string,
  texts: AsyncIterable<string>,
  onLine: (line: string) => void,
  onLength: (length: number) => void,
): Promise<StateHead> {
  const lines = new DumpLines();
  const strict = new StrictReader();
  let length = 0;
  for await (const text of texts) {
    for (const line of lines.add(text)) onLine(line);
    strict.add(text);
    length += text.length;
    onLength(length);
  }
  const { sequence, logId, hash } = lines.finish();
  return { source, sequence, logId, hash: String(hash), notes: strict.finish() };
}

class StrictReader {
  #loader: SnapshotLoader | undefined = new SnapshotLoader();
  readonly #problems: string[] = [];

  add(text: string): void {
    this.#guarded((loader) => loader.add(text));
  }

  finish(): readonly string[] {
    this.#guarded((loader) => void loader.finish());
    return this.#problems;
  }

  #guarded(step: (loader: SnapshotLoader) => void): void {
    if (this.#loader === undefined) return;
    try {
      step(this.#loader);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      this.#loader = undefined;
      this.#problems.push(`it contradicts itself: ${error.message.replace(/^the snapshot is damaged: /, "")}`);
    }
  }
}

async function readFold(
  sequence: number | undefined,
  surroundings: StateSurroundings,
  onLine: (line: string) => void,
): Promise<StateHead> {
  const { fold, source, notes } = await foldTo(sequence, surroundings);
  for (const line of canonicalState(fold.state)) onLine(line);
  const { state } = fold;
  return { source, sequence: state.sequence, logId: state.logId, hash: stateHash(state), notes };
}

/** The log folded to an event sequence, or to its end, with what there is to say about it. */
export async function foldTo(
  sequence: number | undefined,
  { connection, places, region, shard, snapshotsBelow, onProgress }: StateSurroundings,
): Promise<{ readonly fold: LogFold; readonly source: string; readonly notes: readonly string[] }> {
  const { fold, base, passed } = await foldLog(connection, places, {
    region,
    shard,
    sequence,
    snapshotsBelow,
    isStrict: false,
    onProgress: (value, total) => onProgress("folding", value, total),
  });
  const from = base === undefined ? "its beginning" : `the snapshot at sequence ${base.info.label.sequence}`;
  const notes = passed.map(({ message }) => message);
  if (fold.part !== undefined) {
    const { first, last, streamSequence } = fold.part;
    notes.push(
      `sequence ${fold.state.sequence} lies inside of the frame with the sequences ${first} to ${last} (stream sequence ${streamSequence}): only the beginning of the frame was applied`,
    );
  }
  return { fold, source: `log of ${region}/${shard} at sequence ${fold.state.sequence}, folded from ${from}`, notes };
}
