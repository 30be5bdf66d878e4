/** Opens the folder of one shard of a JSON-lines sink: takes it, makes sure that it is this log's, and mends what a kill left of its end. */
import { access, constants, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Checkpoint } from "../../../contracts/followers.ts";
import { LogId, RegionName, ShardName } from "../../../contracts/ids.ts";
import type { Closable, Reporter } from "../../../contracts/ports.ts";
import { makeFolders } from "../../runtime/data-folder.ts";
import type { SinkScope } from "../sink.ts";
import { LinesFile } from "./lines-file.ts";
import { COMPRESSED, type LinesName, readLinesFolder } from "./lines-names.ts";
import { PlaceFile, type PlaceRecord } from "./lines-place.ts";
import { type LinesScan, scanLines } from "./lines-scan.ts";
import { foreignLog, sinkTaken } from "./sink-errors.ts";
import { damaged, type FileHost, writeWhole } from "./sink-files.ts";

/** Held as long as the sink is open. */
const OWNED_FILE = "writer.lock";
const PLACE_FILE = "place";
const MANIFEST_FILE = "manifest.json";

const Manifest = z.strictObject({
  schema: z.literal(1),
  kind: z.literal("json-lines"),
  logId: LogId,
  region: RegionName,
  shard: ShardName,
});

export interface FolderOptions {
  readonly host: FileHost;
  readonly folder: string;
  readonly scope: SinkScope;
  readonly reporter: Reporter;
}

export interface LinesFolder {
  readonly owned: Closable;
  readonly placeFile: PlaceFile;
  /** Where the effects end; undefined when that was never written down. */
  readonly place: Checkpoint | undefined;
  /** Sequence of the last line; 0 when there is none. */
  readonly last: number;
  /** The file to go on with. */
  readonly file: LinesFile | undefined;
  /** Files that are closed and not compressed. */
  readonly closed: readonly LinesName[];
}

/** Throws: OperatingError `sink_taken`, `sink_foreign_log`, `sink_damaged`; what `ownFile` and the file system throw. */
export async function openLinesFolder(options: FolderOptions): Promise<LinesFolder> {
  const { host, folder, scope } = options;
  makeFolders(folder);
  await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  const owned = host.own(join(folder, OWNED_FILE));
  if (owned === undefined) throw sinkTaken(scope, folder);
  let placeFile: PlaceFile | undefined;
  try {
    const { data, partial } = await readLinesFolder(folder);
    await requireManifest(options, data.length > 0);
    for (const name of partial) await host.remove(join(folder, name));
    const opened = await PlaceFile.open(host, join(folder, PLACE_FILE));
    placeFile = opened.file;
    const names = await withoutCompressed(options, data);
    const end = await findEnd(options, names, opened.record);
    const closed = names.filter((name) => !name.isCompressed && name !== end.file?.name);
    return { owned, placeFile, place: opened.record?.place, closed, ...end };
  } catch (error) {
    await placeFile?.close();
    owned.close();
    throw error;
  }
}

/** A folder belongs to one log for ever. Throws: `sink_foreign_log`, `sink_damaged`. */
async function requireManifest({ host, folder, scope }: FolderOptions, hasData: boolean): Promise<void> {
  const { logId, region, shard } = scope;
  const path = join(folder, MANIFEST_FILE);
  const text = await readIfThere(path);
  if (text === undefined) {
    const advice = `restore ${MANIFEST_FILE}, or move the files away`;
    if (hasData) throw damaged(scope, folder, "it has files of a log and does not say which", advice);
    const manifest = { schema: 1, kind: "json-lines", logId, region, shard };
    return writeWhole(host, path, `${JSON.stringify(manifest, null, 2)}\n`);
  }
  const manifest = parseManifest(text);
  if (manifest === undefined)
    throw damaged(
      scope,
      folder,
      `${MANIFEST_FILE} is not what this release writes`,
      "restore it, or move the folder away",
    );
  if (manifest.logId !== logId) throw foreignLog(scope, folder, manifest.logId);
}

function parseManifest(text: string): z.infer<typeof Manifest> | undefined {
  try {
    return Manifest.safeParse(JSON.parse(text)).data;
  } catch {
    // No JSON is no manifest, and that is said where it is read.
    return undefined;
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Of a file and its compressed form the latter is whole; the other one was to go. */
async function withoutCompressed({ host, folder }: FolderOptions, data: readonly LinesName[]): Promise<LinesName[]> {
  const names = new Set(data.map(({ name }) => name));
  const kept: LinesName[] = [];
  for (const name of data) {
    if (names.has(name.name + COMPRESSED)) await host.remove(join(folder, name.name));
    else kept.push(name);
  }
  return kept;
}

/** The last line, looked for from the newest file back, and the file to go on with, its torn end cut off. */
async function findEnd(
  options: FolderOptions,
  names: readonly LinesName[],
  record: PlaceRecord | undefined,
): Promise<Pick<LinesFolder, "last" | "file">> {
  let file: LinesFile | undefined;
  try {
    for (const name of names.toReversed()) {
      const isNewest = name === names.at(-1);
      const scan = await scanFile(options, name, record, isNewest);
      if (isNewest && !name.isCompressed)
        file = await LinesFile.resume(options.host, options.folder, name, scan.wholeBytes);
      if (scan.last !== undefined) return { last: scan.last, file };
      if (record?.file === name.name) return { last: record.last, file };
    }
    return { last: 0, file };
  } catch (error) {
    await file?.close();
    throw error;
  }
}

/** What is behind the place on record need not be on the disk as it was written; what is before it must be there. */
async function scanFile(
  { folder, scope, reporter }: FolderOptions,
  { name, isCompressed }: LinesName,
  record: PlaceRecord | undefined,
  isNewest: boolean,
): Promise<LinesScan> {
  const path = join(folder, name);
  const from = record?.file === name ? record.bytes : 0;
  const { size } = await stat(path);
  const advice = `restore the file; or move it and ${PLACE_FILE} away and seek the sink back`;
  if (size < from) throw damaged(scope, path, `${from - size} bytes are missing at its end`, advice);
  const scan = await scanLines(path, isCompressed, from);
  const mayBeCut = isNewest && !isCompressed && (scan.rest === "torn" || record !== undefined);
  if (scan.rest === "none") return scan;
  if (!mayBeCut) throw damaged(scope, path, `behind byte ${scan.wholeBytes} there is no whole line`, advice);
  reporter.warn("sink_tail_cut", { ...scope, path, bytes: size - scan.wholeBytes });
  return scan;
}
