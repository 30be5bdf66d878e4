/** The only door for unknown bytes: turns a request's body into a command, or says what is wrong with it. */
import type { Command } from "../../contracts/commands.ts";
import { REQUESTS, requestBytesMax } from "../../contracts/commands.ts";
import { type ErrorBody, errorBody } from "../../contracts/errors.ts";
import { isSafeKey } from "../../contracts/ids.ts";
import {
  API_VERSION,
  ENTRIES_PER_REQUEST_MAX,
  ISSUES_MAX,
  ITEM_BYTES_MAX,
  RESULT_BYTES_MAX,
} from "../../contracts/limits.ts";
import { plainRequest } from "../../contracts/plain-requests.ts";
import type { Verb } from "../../contracts/subjects.ts";
import { ECHO_LENGTH_MAX, ENTRIES_PER_CHECK, REQUEST_DEPTH_MAX, REQUEST_FIELDS_MAX } from "./limits.ts";
import { jsonLength } from "./sizes.ts";

interface Issue {
  readonly path: string;
  readonly message: string;
}
/** What zod reports, as far as we use it. */
interface ZodIssueLike {
  readonly code: string;
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly keys?: readonly string[];
}
type Refusal = { readonly error: ErrorBody };

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Parses the body of a request.
 *
 * An empty body counts as `{}`. Of duplicate keys the last counts. Never throws.
 * Refuses with: payload_too_large for the body as a whole, as nothing else is looked at then; invalid_argument for what is no JSON
 * object; unsupported_version, before the fields of a version that we do not know are called wrong; then invalid_argument, and
 * payload_too_large when an item body or result is all that is wrong.
 */
export function parseCommand(verb: Verb, bytes: Uint8Array): Command | Refusal {
  const bytesMax = requestBytesMax(verb);
  if (bytes.length > bytesMax)
    return tooLarge([{ path: "", message: `the request has ${bytes.length} bytes, the limit is ${bytesMax}` }]);
  const decoded = decode(bytes);
  if ("error" in decoded) return decoded;
  const { value } = decoded;
  const problem = findProblem(value, "", 0);
  if (problem !== undefined) return invalid([problem]);
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return invalid([{ path: "", message: "must be a JSON object" }]);
  const { apiVersion } = value as { readonly apiVersion?: unknown };
  if (
    typeof apiVersion === "number" &&
    Number.isSafeInteger(apiVersion) &&
    apiVersion >= 0 &&
    apiVersion !== API_VERSION
  )
    return {
      error: errorBody("unsupported_version", `apiVersion ${apiVersion} is not supported`, {
        details: { supported: [API_VERSION] },
      }),
    };
  const checked = check(verb, value as Readonly<Record<string, unknown>>);
  if ("error" in checked) return checked;
  const command = { verb, request: checked.request } as Command;
  const oversized = findOversized(command);
  return oversized === undefined ? command : tooLarge([oversized]);
}

function decode(bytes: Uint8Array): { readonly value: unknown } | Refusal {
  if (bytes.length === 0) return { value: {} };
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    return invalid([{ path: "", message: "is not valid UTF-8" }]);
  }
  if (text.startsWith("\uFEFF")) return invalid([{ path: "", message: "begins with a byte order mark" }]);
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return invalid([{ path: "", message: "is not valid JSON" }]);
  }
}

/** The field of a request that holds its entries. */
const ENTRIES_FIELD: Partial<Record<Verb, string>> = {
  enqueue: "items",
  heartbeat: "leases",
  complete: "leases",
  fail: "leases",
  release: "leases",
  get: "itemIds",
  restore: "items",
};

/**
 * Checks a request against its schema, its entries some at a time: the schema goes on after the first problem, and 1,000 entries of
 * 64 wrong attributes would hold up the shard for a third of a second.
 */
function check(verb: Verb, value: Readonly<Record<string, unknown>>): { readonly request: object } | Refusal {
  const plain = plainRequest(verb, value);
  if (plain !== undefined) return { request: plain };
  const schema = REQUESTS[verb];
  const field = ENTRIES_FIELD[verb];
  const entries = field === undefined ? undefined : value[field];
  if (field === undefined || !Array.isArray(entries) || entries.length <= ENTRIES_PER_CHECK) {
    const parsed = schema.safeParse(value);
    return parsed.success ? { request: parsed.data } : refusalOf(parsed.error.issues, 0);
  }
  const checked: unknown[] = [];
  let request: Record<string, unknown> = {};
  for (let start = 0; start < entries.length; start += ENTRIES_PER_CHECK) {
    const parsed = schema.safeParse({ ...value, [field]: entries.slice(start, start + ENTRIES_PER_CHECK) });
    if (!parsed.success) return refusalOf(parsed.error.issues, start);
    request = parsed.data as Record<string, unknown>;
    for (const entry of request[field] as readonly unknown[]) checked.push(entry);
  }
  return { request: { ...request, [field]: checked } };
}

/** What no schema may see: it walks at most REQUEST_DEPTH_MAX deep and stops at the first problem. */
function findProblem(value: unknown, path: string, depth: number): Issue | undefined {
  if (typeof value === "number") {
    if (Object.is(value, -0)) return { path, message: "must not be -0" };
    return Number.isFinite(value) ? undefined : { path, message: "is too large for a number" };
  }
  if (typeof value !== "object" || value === null) return undefined;
  if (depth >= REQUEST_DEPTH_MAX) return { path, message: `is nested deeper than ${REQUEST_DEPTH_MAX}` };
  if (Array.isArray(value)) {
    if (value.length > ENTRIES_PER_REQUEST_MAX)
      return { path, message: `has more than ${ENTRIES_PER_REQUEST_MAX} entries` };
    for (let index = 0; index < value.length; index += 1) {
      const entry: unknown = value[index];
      if (typeof entry === "string") continue;
      const problem = findProblem(entry, "", depth + 1);
      // The path is put together only on the way back from a problem.
      if (problem !== undefined) return prefixed(`${path}[${index}]`, problem);
    }
    return undefined;
  }
  let count = 0;
  for (const key in value) {
    count += 1;
    if (count > REQUEST_FIELDS_MAX) return { path, message: `has more than ${REQUEST_FIELDS_MAX} fields` };
    if (!isSafeKey(key)) return { path: joined(path, key), message: "is not allowed as a name" };
    const field: unknown = (value as Record<string, unknown>)[key];
    if (typeof field === "string") continue;
    const problem = findProblem(field, "", depth + 1);
    if (problem !== undefined) return prefixed(joined(path, key), problem);
  }
  return undefined;
}

function prefixed(prefix: string, issue: Issue): Issue {
  const separator = issue.path === "" || issue.path.startsWith("[") ? "" : ".";
  return { path: shortened(`${prefix}${separator}${issue.path}`), message: issue.message };
}

const joined = (path: string, key: string): string => (path === "" ? shortened(key) : `${path}.${shortened(key)}`);

/** Never ends within a surrogate pair, and carries no lone one. */
const shortened = (text: string): string =>
  (text.length <= ECHO_LENGTH_MAX ? text : `${text.slice(0, ECHO_LENGTH_MAX)}…`).toWellFormed();

/** Texts whose limit counts encoded bytes, which no schema counts. */
function findOversized(command: Command): Issue | undefined {
  if (command.verb === "enqueue") {
    const { items } = command.request;
    // By index: this is done for every item, and pairs would be garbage.
    for (let index = 0; index < items.length; index += 1) {
      const body = items[index]?.body;
      const bytes = body === undefined || body.length * 6 + 2 <= ITEM_BYTES_MAX ? 0 : jsonLength(body);
      if (bytes > ITEM_BYTES_MAX) return oversized(`items[${index}].body`, bytes, ITEM_BYTES_MAX);
    }
  } else if (command.verb === "schedule-put") {
    const bytes = jsonLength(command.request.item.body ?? "");
    if (bytes > ITEM_BYTES_MAX) return oversized("item.body", bytes, ITEM_BYTES_MAX);
  } else if (command.verb === "complete") {
    const { leases } = command.request;
    for (let index = 0; index < leases.length; index += 1) {
      const result = leases[index]?.result;
      const bytes = result === undefined || result.length * 6 + 2 <= RESULT_BYTES_MAX ? 0 : jsonLength(result);
      if (bytes > RESULT_BYTES_MAX) return oversized(`leases[${index}].result`, bytes, RESULT_BYTES_MAX);
    }
  }
  return undefined;
}

const oversized = (path: string, bytes: number, limit: number): Issue => ({
  path,
  message: `has ${bytes} bytes as JSON, the limit is ${limit}`,
});

/** `start`: what to add to the index of an entry, the second part of a path. */
function refusalOf(issues: readonly ZodIssueLike[], start: number): Refusal {
  const isSize = (issue: ZodIssueLike): boolean => {
    const field = issue.path.at(-1);
    return (
      issue.code === "too_big" &&
      (issue.path.length === 3 || issue.path[0] === "item") &&
      (field === "body" || field === "result")
    );
  };
  const listed: Issue[] = [];
  for (const issue of issues) {
    if (listed.length >= ISSUES_MAX) break;
    const path = pathOf(issue.path, start);
    if (issue.keys === undefined) listed.push({ path, message: shortened(issue.message) });
    else
      for (const key of issue.keys.slice(0, ISSUES_MAX))
        listed.push({ path: joined(path, key), message: "unknown field" });
  }
  listed.length = Math.min(listed.length, ISSUES_MAX);
  return issues.every(isSize) ? tooLarge(listed) : invalid(listed);
}

function pathOf(path: readonly PropertyKey[], start: number): string {
  let text = "";
  for (const [depth, part] of path.entries())
    text = typeof part === "number" ? `${text}[${depth === 1 ? part + start : part}]` : joined(text, String(part));
  return shortened(text);
}

function invalid(issues: readonly Issue[]): Refusal {
  return { error: errorBody("invalid_argument", messageOf(issues), { details: { issues } }) };
}

function tooLarge(issues: readonly Issue[]): Refusal {
  return { error: errorBody("payload_too_large", messageOf(issues), { details: { issues } }) };
}

function messageOf(issues: readonly Issue[]): string {
  const [first] = issues;
  const where = first === undefined || first.path === "" ? "the request" : first.path;
  return `${where}: ${first?.message ?? "is refused"}${issues.length > 1 ? ` (and ${issues.length - 1} more)` : ""}`;
}
