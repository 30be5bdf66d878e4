/** Reads one row of a snapshot field by field: each is of its type, or the snapshot is damaged. By hand, for a million rows. */
import type { z } from "zod";
import { isSafeKey } from "../../contracts/ids.ts";
import { damaged } from "./snapshot-format.ts";

/** Scratch space: reused for row after row. */
export class Row {
  private readonly what: string;
  private values: readonly unknown[] = [];
  private line = 0;

  constructor(what: string) {
    this.what = what;
  }

  /** Takes the row of a line, 1-based; it must have one of these lengths. */
  begin(value: unknown, line: number, length: number, ...otherLengths: readonly number[]): this {
    this.line = line;
    if (!Array.isArray(value) || (value.length !== length && !otherLengths.includes(value.length)))
      throw damaged(line, `no ${this.what} of ${length} fields`);
    this.values = value;
    return this;
  }

  get length(): number {
    return this.values.length;
  }

  text(index: number): string {
    const value = this.values[index];
    if (typeof value !== "string") throw this.wrong(index, "a text");
    return value;
  }

  optionalText(index: number): string | undefined {
    const value = this.values[index];
    if (value === 0) return undefined;
    if (typeof value !== "string") throw this.wrong(index, "a text or 0");
    return value;
  }

  /** A non-negative safe integer. */
  count(index: number): number {
    const value = this.values[index];
    if (!isCount(value)) throw this.wrong(index, "a non-negative integer");
    return value;
  }

  optionalCount(index: number): number | undefined {
    const value = this.count(index);
    return value === 0 ? undefined : value;
  }

  /** One of a list, by its place there. */
  choice<Choice extends string>(index: number, choices: readonly Choice[]): Choice {
    const choice = choices[this.count(index)];
    if (choice === undefined) throw this.wrong(index, `a number below ${choices.length}`);
    return choice;
  }

  attributes(index: number): Readonly<Record<string, string>> | undefined {
    const value = this.values[index];
    if (value === 0) return undefined;
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw this.wrong(index, "attributes or 0");
    for (const [name, text] of Object.entries(value))
      if (typeof text !== "string" || !isSafeKey(name)) throw this.wrong(index, "attributes or 0");
    return value as Record<string, string>;
  }

  /** What a schema accepts; undefined for 0. */
  optionalOf<Value>(index: number, schema: z.ZodType<Value>): Value | undefined {
    const value = this.values[index];
    if (value === 0) return undefined;
    const parsed = schema.safeParse(value);
    if (!parsed.success) throw this.wrong(index, "what its schema wants");
    return parsed.data;
  }

  /** A row within the row; undefined when there is none. */
  inner(index: number, row: Row, length: number, ...otherLengths: readonly number[]): Row | undefined {
    const value = this.values[index];
    return value === 0 ? undefined : row.begin(value, this.line, length, ...otherLengths);
  }

  /** What is thrown about this row as a whole. */
  damaged(what: string): Error {
    return damaged(this.line, what);
  }

  private wrong(index: number, wanted: string): Error {
    return damaged(this.line, `field ${index} of the ${this.what} is not ${wanted}`);
  }
}

/** Whether a value is a non-negative safe integer; -0, which no snapshot holds, is none. */
export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && !Object.is(value, -0);
}
