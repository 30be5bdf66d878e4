/** Takes secrets out of what is shown or logged; apart because logger, config and error messages share it. */

const MASK = "***";
/** Long texts are cut: a log line is for reading, and the text may come from a stranger. Characters. */
const TEXT_LENGTH_MAX = 4_096;
const ENTRIES_MAX = 200;
const DEPTH_MAX = 6;
const SECRET_NAME =
  /^(.*(password|passwd|secret|credential|authorization|api_?key|nkey|jwt|seed_?key).*|(auth_?)?token)$/i;
/** `scheme://user:password@host` and `scheme://token@host`. */
const URL_USER_INFO = /([a-z][a-z0-9+.-]*:\/\/)[^\s/?#@]+@/gi;
const URL_QUERY_SECRET = /([?&](?:token|password|secret|api_?key|jwt|access_token)=)[^&\s]+/gi;
const BEARER = /\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}/g;

/** The text without credentials in URLs and authorization values. */
export function redactText(text: string): string {
  return text.replace(URL_USER_INFO, `$1${MASK}@`).replace(URL_QUERY_SECRET, `$1${MASK}`).replace(BEARER, `$1 ${MASK}`);
}

/**
 * A copy that is safe to log: secrets masked, errors as fields, long texts and lists cut, cycles ended.
 * A field `token` is masked only when it is text: ours are numbers (fencing tokens) and no secret.
 */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return cut(redactText(value));
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "function" || typeof value === "symbol") return undefined;
  if (typeof value !== "object" || value === null) return value;
  if (depth >= DEPTH_MAX) return "[deep]";
  if (value instanceof Error) return redactError(value, depth);
  if (value instanceof Date) return value.toJSON();
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (value instanceof Map || value instanceof Set) return redact([...value], depth);
  if (Array.isArray(value)) return value.slice(0, ENTRIES_MAX).map((entry) => redact(entry, depth + 1));
  return redactFields(value, depth);
}

function redactFields(fields: object, depth: number): Record<string, unknown> {
  const safe: Record<string, unknown> = Object.create(null);
  for (const [name, value] of Object.entries(fields).slice(0, ENTRIES_MAX)) {
    safe[name] = SECRET_NAME.test(name) && typeof value === "string" && value !== "" ? MASK : redact(value, depth + 1);
  }
  return safe;
}

function redactError(error: Error, depth: number): Record<string, unknown> {
  const { code, details } = error as { code?: unknown; details?: unknown };
  return {
    name: error.name,
    message: cut(redactText(error.message)),
    ...(typeof code === "string" || typeof code === "number" ? { code } : {}),
    ...(details === undefined ? {} : { details: redact(details, depth + 1) }),
    ...(error.stack === undefined ? {} : { stack: cut(redactText(error.stack)) }),
    ...(error.cause === undefined ? {} : { cause: redact(error.cause, depth + 1) }),
  };
}

function cut(text: string): string {
  return text.length <= TEXT_LENGTH_MAX ? text : `${text.slice(0, TEXT_LENGTH_MAX)}… (${text.length} characters)`;
}
