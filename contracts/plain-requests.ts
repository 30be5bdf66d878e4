/**
 * What nearly every item and every settlement looks like, checked by hand: the schema takes ten times as long, and leaves garbage. It only says
 * yes; whatever it does not know is left to the schema, so what is accepted, and every refusal, is the schema's (a property test compares).
 */
import { isPeerName } from "./ids.ts";
import {
  ENTRIES_PER_REQUEST_MAX,
  GROUP_LENGTH_MAX,
  ITEM_BYTES_MAX,
  ITEM_ID_LENGTH_MAX,
  LEASE_DURATION_MS_MAX,
  LEASE_DURATION_MS_MIN,
  PEER_ID_LENGTH_MAX,
  PRIORITY_MAX,
  REQUEST_ID_LENGTH_MAX,
  RESOURCE_ID_BYTES_MAX,
  RESOURCE_TYPES_PER_FILTER_MAX,
  RESULT_BYTES_MAX,
  TIMEOUT_MS_MAX,
  WAIT_MS_MAX,
} from "./limits.ts";
import { EXCLUSIVITIES } from "./options.ts";
import { type Check, isFields, isInt, isText } from "./plain-checks.ts";
import type { Verb } from "./subjects.ts";

/** UTF-8 takes at most so many bytes for one UTF-16 unit. */
const UNIT_BYTES_MAX = 3;

const text =
  (lengthMin: number, lengthMax: number): Check =>
  (value) =>
    isText(value, lengthMin, lengthMax);
const int =
  (least: number, most: number): Check =>
  (value) =>
    isInt(value, least, most);

const NAME = text(1, Math.floor(RESOURCE_ID_BYTES_MAX / UNIT_BYTES_MAX));
const REQUEST_ID = text(1, REQUEST_ID_LENGTH_MAX);
const GROUP = text(1, GROUP_LENGTH_MAX);
const EXCLUSIVITY: ReadonlySet<unknown> = new Set(EXCLUSIVITIES);

/** What of an entry has to be there, and the check of each field that is known here. */
interface Entry {
  readonly required: readonly string[];
  readonly fields: ReadonlyMap<string, Check>;
}

const ITEM: Entry = {
  required: ["resourceType", "resourceId"],
  fields: new Map([
    ["resourceType", NAME],
    ["resourceId", NAME],
    ["partitionKey", NAME],
    ["body", text(0, ITEM_BYTES_MAX)],
    ["exclusivity", (value) => EXCLUSIVITY.has(value)],
    ["priority", int(0, PRIORITY_MAX)],
    ["group", GROUP],
    ["quotaKey", GROUP],
    ["requestId", REQUEST_ID],
  ]),
};
const LEASE_FIELDS: readonly (readonly [string, Check])[] = [
  ["itemId", text(1, ITEM_ID_LENGTH_MAX)],
  ["token", int(1, Number.MAX_SAFE_INTEGER)],
];
const LEASE: Entry = { required: ["itemId", "token"], fields: new Map(LEASE_FIELDS) };
const COMPLETION: Entry = {
  required: LEASE.required,
  fields: new Map([...LEASE_FIELDS, ["result", text(0, RESULT_BYTES_MAX)]]),
};

const ENVELOPE: ReadonlyMap<string, Check> = new Map([
  ["requestId", REQUEST_ID],
  ["timeoutMs", int(1, TIMEOUT_MS_MAX)],
  ["after", int(0, Number.MAX_SAFE_INTEGER)],
]);

const LEASE_REQUEST: ReadonlyMap<string, Check> = new Map<string, Check>([
  ...ENVELOPE,
  ["peerId", (value) => isText(value, 1, PEER_ID_LENGTH_MAX) && isPeerName(value)],
  ["maxItems", int(1, ENTRIES_PER_REQUEST_MAX)],
  ["waitMs", int(0, WAIT_MS_MAX)],
  ["leaseDurationMs", int(LEASE_DURATION_MS_MIN, LEASE_DURATION_MS_MAX)],
  [
    "resourceTypes",
    (value) =>
      Array.isArray(value) && value.length > 0 && value.length <= RESOURCE_TYPES_PER_FILTER_MAX && value.every(NAME),
  ],
]);
const LEASE_DEFAULTS = { maxItems: 1, waitMs: 0 };

/** By verb: the field of its entries, and what they are. Nothing of these has a default. */
const ENTRIES: Partial<Record<Verb, readonly [string, Entry]>> = {
  enqueue: ["items", ITEM],
  complete: ["leases", COMPLETION],
  heartbeat: ["leases", LEASE],
  release: ["leases", LEASE],
};

/**
 * A request, of which `findProblem` has found nothing, as its schema gives it: with its defaults. undefined says nothing: then the schema is to be
 * asked.
 */
export function plainRequest(verb: Verb, request: Readonly<Record<string, unknown>>): object | undefined {
  if (verb === "lease") return hasOnly(request, LEASE_REQUEST) ? { ...LEASE_DEFAULTS, ...request } : undefined;
  return hasPlainEntries(verb, request) ? request : undefined;
}

function hasPlainEntries(verb: Verb, request: Readonly<Record<string, unknown>>): boolean {
  const known = ENTRIES[verb];
  if (known === undefined) return false;
  const [name, entry] = known;
  const entries = request[name];
  if (!Array.isArray(entries) || entries.length === 0 || entries.length > ENTRIES_PER_REQUEST_MAX) return false;
  if (!hasOnly(request, ENVELOPE, name)) return false;
  const isIdTaken = "requestId" in request && verb === "enqueue";
  return entries.every((one) => isPlainEntry(one, entry) && !(isIdTaken && "requestId" in (one as object)));
}

/** Whether each field, but one, is known and as it should be. */
function hasOnly(
  request: Readonly<Record<string, unknown>>,
  fields: ReadonlyMap<string, Check>,
  but?: string,
): boolean {
  for (const field in request) {
    if (field === but) continue;
    const check = fields.get(field);
    if (check === undefined || !check(request[field])) return false;
  }
  return true;
}

/** Whether the schema takes one entry of a request of the verb, and leaves it as it is. False says nothing. */
export function isPlainEntryOf(verb: Verb, value: unknown): boolean {
  const entry = ENTRIES[verb]?.[1];
  return entry !== undefined && isPlainEntry(value, entry);
}

function isPlainEntry(entry: unknown, { required, fields }: Entry): boolean {
  if (!isFields(entry)) return false;
  let missing = required.length;
  for (const field in entry) {
    const check = fields.get(field);
    if (check === undefined || !check(entry[field])) return false;
    if (required.includes(field)) missing -= 1;
  }
  return missing === 0;
}
