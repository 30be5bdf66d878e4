/**
 * The file of an exported drain: JSON lines that are a header, one item each, and a footer. Each line begins with a check, the hash of the
 * check before it and of its own text, so that a line that was changed, is missing, or stands elsewhere is found where it is.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { z } from "zod";
import { DrainItem } from "../../contracts/commands.ts";
import { DrainId, DrainOrigin } from "../../contracts/drain.ts";
import { OperatingError } from "../../contracts/errors.ts";
import { LogTimeMs, Sequence } from "../../contracts/ids.ts";
import { fileLines } from "./file-lines.ts";

const FORMAT = "omnirelay-drain";
const SCHEMA_VERSION = 1;
/** Longer than any item. */
const LINE_BYTES_MAX = 4 * 1_024 * 1_024;
/** Characters that are written at a time. */
const WRITE_LENGTH_AIM = 256 * 1_024;
const CHECKED = /^\{"check":"([0-9a-f]{16})",(.*\})$/s;

const DrainHeader = z.strictObject({
  format: z.literal(FORMAT),
  schemaVersion: z.literal(SCHEMA_VERSION),
  ...DrainOrigin.shape,
  drainId: DrainId,
  sequence: Sequence,
  at: LogTimeMs,
});
export type DrainHeader = Readonly<z.infer<typeof DrainHeader>>;
const Footer = z.strictObject({ items: z.int().min(0) });

/**
 * Writes a whole file, or none: what is there under this name stays until the new one is safe. Returns how many items it holds.
 * Throws: OperatingError drain_file_unwritable and drain_file_exists (one that is no export of this drain, and may be all that is left of
 * another), both definite; and what reading the items throws.
 */
export async function writeDrainFile(
  path: string,
  header: Omit<DrainHeader, "format" | "schemaVersion">,
  items: AsyncIterable<DrainItem>,
  onItem: (count: number) => void,
): Promise<number> {
  await mustBeReplaceable(path, header);
  const partial = `${path}.partial`;
  const file = await open(partial, "w").catch((error: unknown) => {
    throw failed("drain_file_unwritable", `cannot write ${path}`, error);
  });
  let count = 0;
  try {
    const checks = new Checks();
    let text = checks.line(JSON.stringify({ format: FORMAT, schemaVersion: SCHEMA_VERSION, ...header }));
    for await (const item of items) {
      text += checks.line(JSON.stringify(item));
      count += 1;
      onItem(count);
      if (text.length < WRITE_LENGTH_AIM) continue;
      await file.appendFile(text);
      text = "";
    }
    await file.appendFile(text + checks.line(JSON.stringify({ items: count })));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(partial, path);
  return count;
}

/**
 * The items of a file, each once its line was found right; the header is handed over first.
 * Throws: OperatingError drain_file_unreadable, drain_file_invalid with the line, drain_file_version; all definite.
 */
export async function* readDrainFile(
  path: string,
  onHeader: (header: DrainHeader) => void,
): AsyncGenerator<DrainItem, void, void> {
  const checks = new Checks();
  let number = 0;
  let footer: z.infer<typeof Footer> | undefined;
  for await (const line of linesOf(path)) {
    number += 1;
    if (footer !== undefined) throw invalid(path, number, "a line behind the footer");
    const content = contentOf(path, number, line, checks);
    if (number === 1) onHeader(headerOf(path, content));
    else if ("items" in content) {
      footer = parsed(Footer, path, number, content);
      if (footer.items !== number - 2)
        throw invalid(path, number, `the footer counts ${footer.items} items, there are ${number - 2}`);
    } else yield parsed(DrainItem, path, number, content);
  }
  if (footer === undefined) throw invalid(path, number + 1, "the file was cut off: it has no footer");
}

async function mustBeReplaceable(path: string, header: Pick<DrainHeader, "logId" | "drainId">): Promise<void> {
  if (!existsSync(path)) return;
  let known: DrainHeader | undefined;
  try {
    for await (const _item of readDrainFile(path, (found) => (known = found))) break;
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
  }
  if (known?.logId === header.logId && known.drainId === header.drainId) return;
  throw new OperatingError("drain_file_exists", `${path} is there, and is no export of this drain`, { definite: true });
}

/** The chain of checks along a file. */
class Checks {
  #last = "";

  line(content: string): string {
    return `{"check":"${this.next(content)}",${content.slice(1)}\n`;
  }

  next(content: string): string {
    this.#last = createHash("sha256").update(this.#last).update(content).digest("hex").slice(0, 16);
    return this.#last;
  }
}

function contentOf(path: string, number: number, line: string, checks: Checks): object {
  const [, check, rest = ""] = CHECKED.exec(line) ?? [];
  if (check === undefined) throw invalid(path, number, "not a whole line of an export");
  const content = `{${rest}`;
  if (checks.next(content) !== check)
    throw invalid(path, number, "its check is wrong: this line, or what stood before it, was changed");
  try {
    return JSON.parse(content) as object;
  } catch (error) {
    throw invalid(path, number, "no valid JSON", error);
  }
}

function headerOf(path: string, content: object): DrainHeader {
  const { format, schemaVersion } = content as Readonly<Record<string, unknown>>;
  if (format !== FORMAT) throw invalid(path, 1, "not the header of an exported drain");
  if (schemaVersion !== SCHEMA_VERSION)
    throw new OperatingError(
      "drain_file_version",
      `${path}, line 1: schema version ${JSON.stringify(schemaVersion)}; this release reads ${SCHEMA_VERSION}`,
      { definite: true, details: { line: 1, schemaVersion } },
    );
  return parsed(DrainHeader, path, 1, content);
}

function parsed<Value>(schema: z.ZodType<Value>, path: string, number: number, content: object): Value {
  const result = schema.safeParse(content);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw invalid(path, number, `${issue?.path.join(".")}: ${issue?.message}`);
}

async function* linesOf(path: string): AsyncGenerator<string, void, void> {
  try {
    // The last line ends with a line feed as well: what stands behind it is a part of one.
    for await (const { bytes } of fileLines(path, LINE_BYTES_MAX)) yield bytes.toString("utf8");
  } catch (error) {
    throw failed("drain_file_unreadable", `cannot read ${path}`, error);
  }
}

function invalid(path: string, line: number, what: string, cause?: unknown): OperatingError {
  return new OperatingError("drain_file_invalid", `${path}, line ${line}: ${what}`, {
    definite: true,
    details: { line },
    cause,
  });
}

function failed(code: string, what: string, cause: unknown): OperatingError {
  return new OperatingError(code, `${what}: ${(cause as Error).message}`, { definite: true, cause });
}
