/** The manifest of a folder of objects: which log it belongs to. It also shows whether the place keeps what it was given first. */
import { z } from "zod";
import { OperatingError } from "../../../contracts/errors.ts";
import type { ObjectFolder } from "./objects-end.ts";
import { damaged, OBJECT_SCHEMA, ObjectScope, parseJson, refuseNewer } from "./objects-format.ts";
import { NO_SIGNAL } from "./objects-place.ts";
import { foreignLog, titleOf } from "./sink-errors.ts";

const FORMAT = "omnirelay-objects";

const Manifest = z.looseObject({
  format: z.literal(FORMAT),
  schema: z.literal(OBJECT_SCHEMA),
  ...ObjectScope.shape,
  created: z.iso.datetime().describe("When the folder was begun, by the clock of who did it."),
});

const manifestName = (folder: string): string => `${folder}/manifest.json`;

/**
 * The bytes of the folder's manifest, of this log; undefined where there is none.
 * Throws: OperatingError, definite: `sink_foreign_log`, `object_version`, `object_damaged`; and what the place throws.
 */
export async function readManifest({ place, folder, scope }: ObjectFolder): Promise<Uint8Array | undefined> {
  const name = manifestName(folder);
  const bytes = await place.get(name, NO_SIGNAL);
  if (bytes === undefined) return undefined;
  const value = parseJson(Buffer.from(bytes).toString());
  refuseNewer(name, place.where, value);
  const manifest = Manifest.safeParse(value);
  if (!manifest.success) throw damaged(name, place.where, `it is no manifest: ${z.prettifyError(manifest.error)}`);
  if (manifest.data.logId !== scope.logId) throw foreignLog(scope, place.where, manifest.data.logId);
  return bytes;
}

/**
 * Writes the manifest where there is none, and requires that the place refuses to write it twice: a store that does not know the condition
 * would let two instances overwrite each other. `known` is what `readManifest` answered.
 * Throws: OperatingError `place_overwrites`, definite; and what `readManifest` throws.
 */
export async function requireManifest(
  objects: ObjectFolder,
  known: Uint8Array | undefined,
  nowMs: number,
): Promise<void> {
  const { place, folder, scope } = objects;
  const name = manifestName(folder);
  const { region, shard, logId } = scope;
  const fresh = { format: FORMAT, schema: OBJECT_SCHEMA, region, shard, logId, created: new Date(nowMs).toISOString() };
  const bytes = known ?? Buffer.from(`${JSON.stringify(fresh, undefined, 2)}\n`);
  if (known === undefined && (await place.put(name, bytes, NO_SIGNAL)) === "taken") {
    await readManifest(objects);
    return;
  }
  // The same bytes once more: harmless where the condition is not known.
  if ((await place.put(name, bytes, NO_SIGNAL)) === "taken") return;
  const message = `${titleOf(scope)} cannot write to ${place.where}: it lets an object be written twice (for S3: it does not know If-None-Match), so nothing there would be safe from another instance`;
  throw new OperatingError("place_overwrites", message, { definite: true, details: { ...scope, where: place.where } });
}
