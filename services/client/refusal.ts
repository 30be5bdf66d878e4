/** How the SDK tells that something was not done: refusals by the server or by our own checks, and outcomes that are not known. */
import type { z } from "zod";
import { type ErrorBody, errorBody, OperatingError } from "../../contracts/errors.ts";
import { ISSUES_MAX } from "../../contracts/limits.ts";

/** A refusal, thrown by the single forms. `code` is one of the registry's, or one that a newer server added. */
export class RefusedError extends Error {
  readonly code: string;
  /** Whether the same call can succeed later without anybody changing anything. */
  readonly retryable: boolean;
  /** Whether it is certain that nothing happened. */
  readonly definite: boolean;
  readonly retryAfterMs: number | undefined;
  readonly details: Readonly<Record<string, unknown>>;
  readonly #body: Refusal;

  constructor(body: Refusal) {
    super(`${body.code}: ${body.message}`);
    this.name = "RefusedError";
    this.code = body.code;
    this.retryable = body.retryable;
    this.definite = body.definite;
    this.retryAfterMs = body.retryAfterMs;
    this.details = body.details ?? {};
    this.#body = body;
  }

  toRefusal(): Refusal {
    return this.#body;
  }
}

/** The shard takes no items now (`backpressure`), and the caller would not wait, or not any longer. */
export class BackpressureError extends RefusedError {
  constructor(body: Refusal) {
    super(body);
    this.name = "BackpressureError";
  }
}

export const refusedError = (body: Refusal): RefusedError =>
  body.code === "backpressure" ? new BackpressureError(body) : new RefusedError(body);

/** A refusal as a value: what stands in the results of the batch forms. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
  readonly definite: boolean;
  readonly retryAfterMs?: number | undefined;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

/** What became of one entry of a batch form. */
export type EntryResult<T> =
  | { readonly kind: "ok"; readonly value: T }
  | { readonly kind: "refused"; readonly error: Refusal };

/** The value of a result; throws its refusal. */
export function unwrap<T>(result: EntryResult<T>): T {
  if (result.kind === "refused") throw refusedError(result.error);
  return result.value;
}

/** A batch of which at least one entry has no known outcome. `results` has the others; undefined where the outcome is unknown. */
export class BatchError<T = unknown> extends OperatingError {
  readonly results: readonly (EntryResult<T> | undefined)[];

  constructor(first: OperatingError, results: readonly (EntryResult<T> | undefined)[]) {
    super(first.code, first.message, { definite: first.definite, cause: first, details: first.details });
    this.name = "BatchError";
    this.results = results;
  }
}

/** Why a request has no answer when its time is over. */
export type Fate =
  /** The last word was a refusal that says for certain that nothing happened. */
  | { readonly kind: "refused"; readonly error: Refusal }
  /** No attempt reached anybody. */
  | { readonly kind: "undecided"; readonly last: string }
  /** Some attempt may have been carried out. */
  | { readonly kind: "unknown"; readonly last: string };

/** The error of a fate. A read has no outcome that could be unknown. */
export function fateError(fate: Fate, verb: string, isMutation: boolean): RefusedError | OperatingError {
  if (fate.kind === "refused") return refusedError(fate.error);
  const details = { verb, last: fate.last };
  if (fate.kind === "undecided" || !isMutation)
    return new OperatingError("unavailable", `${verb}: no answer in time (${fate.last})`, { definite: true, details });
  return new OperatingError("unknown_outcome", `${verb}: it is not known whether it was done (${fate.last})`, {
    definite: false,
    details,
  });
}

/** Checks what is about to be sent; the refusal is the one that the server would give. */
export function check<Schema extends z.ZodType>(schema: Schema, value: unknown): Refusal | undefined {
  const checked = checkedBy(schema, value);
  return checked.kind === "refused" ? checked.error : undefined;
}

/** As `check`, with what the schema has read. */
export function checkedBy<Schema extends z.ZodType>(schema: Schema, value: unknown): EntryResult<z.output<Schema>> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return { kind: "ok", value: parsed.data };
  const issues = parsed.error.issues
    .slice(0, ISSUES_MAX)
    .map(({ path, message }) => ({ path: path.join("."), message }));
  const first = issues[0];
  const message = `${first?.path === "" ? "" : `${first?.path}: `}${first?.message}`;
  return { kind: "refused", error: errorBody("invalid_argument", message, { details: { issues } }) };
}

export const tooLarge = (what: string, bytes: number, bytesMax: number): ErrorBody =>
  errorBody("payload_too_large", `${what} has ${bytes} bytes; at most ${bytesMax} are allowed`, {
    details: { bytes, bytesMax },
  });
