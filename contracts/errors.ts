/** The error registry: every code a client can meet, in order of precedence, and the two ways an error travels. */
import { z } from "zod";

export interface ErrorEntry {
  readonly code: string;
  /** Whether sending the same request again can succeed without anybody changing anything. */
  readonly retryable: boolean;
  /** Whether it is certain that this attempt had no effect and will have none. Of earlier attempts it says nothing. */
  readonly definite: boolean;
  readonly description: string;
}

/** In order of precedence: the first that applies is returned. Codes are never reused. Tests walk this order. */
export const ERRORS = [
  entry(
    "invalid_argument",
    false,
    true,
    "The request is malformed: syntax, type, range, unknown field or unknown verb.",
  ),
  entry(
    "unsupported_version",
    false,
    true,
    "The request's `apiVersion` is not one that this server speaks, or it needs a newer state version than the log has.",
  ),
  entry("payload_too_large", false, true, "The request, an item body or a result is over its limit."),
  entry("unauthenticated", false, true, "The caller has no identity where one is required."),
  entry("permission_denied", false, true, "The caller may not do this, for example settle another principal's lease."),
  entry("wrong_shard", false, true, "The shard in the request is not the one that was asked."),
  entry("not_leader", true, false, "This dispatcher does not lead the shard, or lost it while the request waited."),
  entry("shutting_down", true, false, "This dispatcher is stopping; another one takes over."),
  entry("unavailable", true, false, "Nobody could decide the request in time. It was not decided by this server."),
  entry("unknown_outcome", true, false, "The request was decided but its place in the log is not known in time."),
  entry("backpressure", true, true, "The shard is above its high watermark; `retryAfterMs` says when to try again."),
  entry("resource_exhausted", true, true, "A quota of the caller is used up, for example the leases of a peer."),
  entry(
    "request_expired",
    false,
    true,
    "The request id is older than what the shard remembers, so an earlier attempt may have had an effect; this one had none.",
  ),
  entry("conflict", false, true, "The same request id or settlement was used before with other contents."),
  entry("item_not_found", false, true, "The shard knows no such item, or has forgotten it."),
  entry("stale_token", false, true, "The lease that the token names has ended; `details.reason` says how."),
  entry("drain_not_found", false, true, "The shard knows no such drain."),
  entry("internal", true, false, "A defect of the server. It is logged there; nothing more is said."),
] as const;

function entry<const Code extends string>(code: Code, retryable: boolean, definite: boolean, description: string) {
  return { code, retryable, definite, description };
}

export type ErrorCode = (typeof ERRORS)[number]["code"];
export const ERROR_CODES: readonly ErrorCode[] = ERRORS.map((error) => error.code);

const BY_CODE: ReadonlyMap<string, ErrorEntry> = new Map(ERRORS.map((error) => [error.code, error]));

/** The registry's entry of a code; undefined for a code that is not ours. */
export function errorEntry(code: string): ErrorEntry | undefined {
  return BY_CODE.get(code);
}

/** How an error stands in a reply. `definite` is what the sender knows, so it may be weaker than the registry's. */
export interface ErrorBody {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly definite: boolean;
  readonly retryAfterMs?: number;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** The body of an error with the registry's `retryable` and `definite`. */
export function errorBody(
  code: ErrorCode,
  message: string,
  extra: { readonly retryAfterMs?: number; readonly details?: Readonly<Record<string, unknown>> } = {},
): ErrorBody {
  const known = BY_CODE.get(code);
  return { code, message, retryable: known?.retryable ?? false, definite: known?.definite ?? false, ...extra };
}

export const ErrorBodySchema = z.object({
  code: z.string().min(1),
  message: z.string(),
  retryable: z.boolean(),
  definite: z.boolean(),
  retryAfterMs: z.int().min(0).optional(),
  details: z.record(z.string(), z.unknown()).optional(),
});

/**
 * An operating error: thrown, never a reply. `definite` says whether it is certain that nothing happened; retries read it, never the text.
 * A refusal is a value (`ErrorBody`), a bug is a failed assertion.
 */
export class OperatingError extends Error {
  readonly code: string;
  readonly definite: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: string,
    message: string,
    options: {
      readonly definite: boolean;
      readonly cause?: unknown;
      readonly details?: Readonly<Record<string, unknown>>;
    },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "OperatingError";
    this.code = code;
    this.definite = options.definite;
    this.details = options.details ?? {};
  }
}
