/** Parses the text of one Delta commit: pure, and the only door through which a commit's bytes reach the catalog. */
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";

/** What a commit does to one file: `size` inserts or replaces it, without a size it is removed. */
export interface FileChange {
  /** The file's path and, where it has one, its deletion vector: JSON, so that no separator can be forged. */
  readonly key: string;
  readonly size: number | undefined;
}

/** What a commit changes. `undefined` leaves the protocol or the metadata as it was. */
export interface DeltaChanges {
  readonly protocol: { readonly minReaderVersion: number; readonly minWriterVersion: number } | undefined;
  readonly metadata:
    | { readonly columns: readonly string[] | null; readonly partitionColumns: readonly string[] }
    | undefined;
  /** In file order: a later change of a key wins. */
  readonly files: readonly FileChange[];
}

/** A Delta log that cannot be applied: names the table and, where they are known, the file and its line. Nothing of the table was done. */
export class DeltaLogError extends OperatingError {
  readonly table: string;
  readonly file: string | undefined;
  /** 1-based. */
  readonly line: number | undefined;

  constructor(place: { table: string; file?: string; line?: number }, problem: string, cause?: unknown) {
    const where = [place.file, place.line === undefined ? undefined : `line ${place.line}`].filter(
      (part) => part !== undefined,
    );
    super(
      "delta_log_invalid",
      `table ${JSON.stringify(place.table)}${where.map((part) => `, ${part}`).join("")}: ${problem}`,
      {
        definite: true,
        cause,
        details: place,
      },
    );
    this.name = "DeltaLogError";
    this.table = place.table;
    this.file = place.file;
    this.line = place.line;
  }
}

/** Why a commit is refused whose table would have more bytes than a number holds exactly. */
export const sumProblem = (version: number): string =>
  `version ${version}: the sizes of the table's files add up to more than ${Number.MAX_SAFE_INTEGER} bytes, which cannot be counted exactly`;

const text = z.string();
const DeletionVector = z.looseObject({ storageType: text, pathOrInlineDv: text, offset: z.int().nullish() });
const fileFields = { path: text.min(1), deletionVector: DeletionVector.nullish() };
const Add = z.looseObject({ ...fileFields, size: z.int().min(0) });
const Remove = z.looseObject(fileFields);
const MetaData = z.looseObject({ schemaString: text.nullish(), partitionColumns: z.array(text).nullish() });
const Protocol = z.looseObject({ minReaderVersion: z.int().min(1), minWriterVersion: z.int().min(1) });
/** Actions that change none of our figures are not looked into; null stands for an action that is not there, as some writers do it. */
const Action = z.looseObject({
  add: Add.nullish(),
  remove: Remove.nullish(),
  metaData: MetaData.nullish(),
  protocol: Protocol.nullish(),
});
const Schema = z.looseObject({ fields: z.array(z.looseObject({ name: text })) });

/**
 * Reads one commit: one JSON action a line.
 * Throws: DeltaLogError (definite) with the line for anything else, also for an empty file, which is what a truncation leaves.
 */
export function parseDeltaCommit(place: { table: string; file?: string }, commit: string): DeltaChanges {
  const lines = commit.split("\n");
  if (lines.at(-1) === "") lines.pop();
  if (lines.length === 0) throw new DeltaLogError(place, "the commit is empty, perhaps truncated");
  const files: FileChange[] = [];
  let protocol: DeltaChanges["protocol"];
  let metadata: DeltaChanges["metadata"];
  for (const [index, line] of lines.entries()) {
    const at = { ...place, line: index + 1 };
    const action = parseAction(at, line);
    if (action.protocol)
      protocol = {
        minReaderVersion: action.protocol.minReaderVersion,
        minWriterVersion: action.protocol.minWriterVersion,
      };
    if (action.metaData) metadata = metadataOf(at, action.metaData);
    if (action.remove) files.push({ key: fileKey(action.remove), size: undefined });
    if (action.add) files.push({ key: fileKey(action.add), size: action.add.size });
  }
  return { protocol, metadata, files };
}

function parseAction(place: { table: string; file?: string; line: number }, line: string): z.infer<typeof Action> {
  const value = parseJson(line, (cause) => {
    const what = line.trim() === "" ? "is empty" : `is not valid JSON, perhaps truncated (${cause.message})`;
    return new DeltaLogError(place, `the line ${what}`, cause);
  });
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new DeltaLogError(place, "the line is not a JSON object with an action");
  if (Object.keys(value).length === 0) throw new DeltaLogError(place, "the line has no action");
  const parsed = Action.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new DeltaLogError(place, `the action is not valid: ${issue?.path.join(".")}: ${issue?.message}`);
}

function metadataOf(
  place: { table: string; file?: string; line: number },
  metaData: z.infer<typeof MetaData>,
): NonNullable<DeltaChanges["metadata"]> {
  const partitionColumns = metaData.partitionColumns ?? [];
  const { schemaString } = metaData;
  if (schemaString === undefined || schemaString === null) return { columns: null, partitionColumns };
  const schema = Schema.safeParse(
    parseJson(
      schemaString,
      (cause) => new DeltaLogError(place, `schemaString is not valid JSON (${cause.message})`, cause),
    ),
  );
  if (!schema.success) throw new DeltaLogError(place, "schemaString has no list of fields with names");
  return { columns: schema.data.fields.map((field) => field.name), partitionColumns };
}

function parseJson(json: string, failure: (cause: Error) => Error): unknown {
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw failure(cause as Error); // JSON.parse throws nothing but SyntaxError
  }
}

function fileKey(file: z.infer<typeof Remove>): string {
  const { path, deletionVector } = file;
  if (deletionVector === undefined || deletionVector === null) return JSON.stringify([path]);
  return JSON.stringify([
    path,
    deletionVector.storageType,
    deletionVector.pathOrInlineDv,
    deletionVector.offset ?? null,
  ]);
}
