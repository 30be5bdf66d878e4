/**
 * Finds where the objects of a folder end. Each object says what it covers, and the next is named by the sequence behind that, so from a known
 * place the objects are a chain that is walked by name: nothing is listed but what may stand behind its end.
 */
import { OperatingError } from "../../../contracts/errors.ts";
import type { Checkpoint } from "../../../contracts/followers.ts";
import type { SinkScope } from "../sink.ts";
import { decodeObject, type KnownObject } from "./objects-format.ts";
import { NO_SIGNAL, type ObjectPlace, objectName } from "./objects-place.ts";
import { foreignLog, titleOf } from "./sink-errors.ts";

/** Objects behind the checkpoint that are read and checked; beyond them only the last one is. */
const CHECKED_MAX = 1_000;

/**
 * How far a place may be ahead of the objects when a filter left everything out since the last one: then an object without events is
 * written, so that a lost checkpoint costs little. Events.
 */
export const EMPTY_SPAN_MAX = 100_000;

/** One folder of a place, read. */
export interface ObjectFolder {
  readonly place: ObjectPlace;
  readonly folder: string;
  readonly scope: SinkScope;
}

export interface ObjectsEnd {
  /** The last object; undefined where there is none. */
  readonly end: KnownObject | undefined;
  /** Whether so many objects are behind the checkpoint that not all of them were checked. */
  readonly isUnchecked: boolean;
}

/**
 * The last object, reached from the checkpoint, or, without one, by the highest name.
 * Throws: OperatingError, definite: `object_missing` (a gap, or an end below the checkpoint), `object_damaged`, `object_version`, `sink_foreign_log`.
 */
export async function findEnd(folder: ObjectFolder, checkpoint: Checkpoint | undefined): Promise<ObjectsEnd> {
  const known = checkpoint?.sequence ?? 0;
  const { place } = folder;
  const from = await place.last(folder.folder, known === 0 ? Number.MAX_SAFE_INTEGER : known);
  if (from === undefined) {
    const [stray] = await place.list(folder.folder, known, 1);
    if (stray !== undefined) throw missing(folder, 1, stray);
    return { end: undefined, isUnchecked: false };
  }
  const { end, isUnchecked } = await walk(folder, await readNamed(folder, from));
  // Behind objects with events there is one that says where the events end, so only behind an empty one may the checkpoint be ahead.
  const last = end.upTo.sequence;
  if (known > last && (end.count > 0 || known - last >= EMPTY_SPAN_MAX)) throw missing(folder, last + 1);
  return { end, isUnchecked };
}

/** From one object to the end, of which nothing stands behind. */
async function walk(folder: ObjectFolder, from: KnownObject): Promise<{ end: KnownObject; isUnchecked: boolean }> {
  let end = from;
  for (let count = 0; count < CHECKED_MAX; count += 1) {
    const wanted = end.upTo.sequence + 1;
    const next = await readObject(folder, wanted, NO_SIGNAL);
    if (next !== undefined) {
      end = next;
      continue;
    }
    const [stray] = await folder.place.list(folder.folder, end.after.sequence + 1, 1);
    if (stray === undefined) return { end, isUnchecked: false };
    // Another instance may have written it since we looked.
    if (stray !== wanted) throw missing(folder, wanted, stray);
  }
  const last = await folder.place.last(folder.folder, Number.MAX_SAFE_INTEGER);
  return { end: await readNamed(folder, last ?? end.after.sequence + 1), isUnchecked: true };
}

async function readNamed(folder: ObjectFolder, first: number): Promise<KnownObject> {
  const object = await readObject(folder, first, NO_SIGNAL);
  if (object === undefined) throw missing(folder, first);
  return object;
}

/** The object of that name, checked; undefined for none. */
export async function readObject(
  { place, folder, scope }: ObjectFolder,
  first: number,
  signal: AbortSignal,
): Promise<KnownObject | undefined> {
  const name = objectName(folder, first);
  const bytes = await place.get(name, signal);
  if (bytes === undefined) return undefined;
  const object = decodeObject(name, place.where, bytes);
  if (object.scope.logId !== scope.logId) throw foreignLog(scope, place.where, object.scope.logId);
  return object;
}

/** `found`: what stands behind the gap. */
export function missing({ place, folder, scope }: ObjectFolder, first: number, found?: number): OperatingError {
  const name = objectName(folder, first);
  const behind =
    found === undefined ? "the checkpoint says that it was written" : `${objectName(folder, found)} is there`;
  const message = `${titleOf(scope)} misses ${name} in ${place.where}, although ${behind}; put it back, or give the sink another place`;
  return new OperatingError("object_missing", message, {
    definite: true,
    details: {
      ...scope,
      name,
      where: place.where,
      ...(found === undefined ? {} : { found: objectName(folder, found) }),
    },
  });
}
