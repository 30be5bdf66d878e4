/**
 * The text of a snapshot or a dump as the lines of `canonicalState`, without a state being built: what a diverged node has written down can
 * be compared although its rows and counters contradict each other. `SnapshotLoader` is the strict reader of the same text.
 */
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import { EXCLUSIVITIES } from "../../contracts/options.ts";
import { QUOTA_KINDS } from "../../contracts/quotas.ts";
import { CATCH_UPS } from "../../contracts/schedules.ts";
import { canonicalLine, extraFields, sorted, termsFields } from "./canonical.ts";
import { scheduleFieldsOf } from "./canonical-schedule.ts";
import { ENDINGS } from "./ended-record.ts";
import type { ItemExtra, ItemTerms } from "./item.ts";
import type { ScheduleFields } from "./schedules.ts";
import { FlowRow, readFlow } from "./snapshot-flow.ts";
import {
  damaged,
  END_KINDS,
  END_OUTCOMES,
  ID_BASE,
  ROW_BUCKET,
  ROW_ITEM,
  ROW_PASS,
  ROW_RECORD,
  ROW_SCHEDULE,
  ROW_TURN,
  SNAPSHOT_FORMAT,
  SNAPSHOT_LINE_LENGTH_MAX,
  type SnapshotHeader,
  STATUSES,
} from "./snapshot-format.ts";
import { checkFooter, checkVersion } from "./snapshot-header.ts";

type Fields = Readonly<Record<string, unknown>>;
type Row = readonly unknown[];

interface LeaseRequestLine {
  readonly principal: unknown;
  readonly requestId: unknown;
  readonly digest: unknown;
  readonly live: { readonly itemId: unknown; readonly token: number }[];
}

/**
 * Takes the text in pieces and gives the lines back as they become known; those of lease requests come with the end.
 * Throws: OperatingError snapshot_damaged for text that is cut off or no such text at all, snapshot_version; both definite.
 */
export class DumpLines {
  header: SnapshotHeader | undefined;
  /** What is taken of rates, and whose turn it is. */
  readonly #shares: string[] = [];
  readonly #leaseRequests = new Map<string, LeaseRequestLine>();
  #headerLine = "";
  #rest = "";
  #lines = 0;
  #isOver = false;

  *add(text: string): Generator<string> {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    if (this.#rest.length > SNAPSHOT_LINE_LENGTH_MAX) throw damaged(this.#lines + 1, "a line without an end");
    for (const line of lines) {
      this.#lines += 1;
      yield* this.#read(line);
    }
  }

  /** The header, once all of the text was added. */
  finish(): SnapshotHeader {
    if (!this.#isOver || this.header === undefined)
      throw damaged(0, `it was truncated: there are ${this.#lines} whole lines without an end`);
    if (this.#rest !== "") throw damaged(this.#lines + 1, "text after the end");
    return this.header;
  }

  *#read(line: string): Generator<string> {
    const value = this.#parse(line);
    if (this.#isOver) throw damaged(this.#lines, "a line after the end");
    if (this.header === undefined) {
      this.#headerLine = line;
      this.header = this.#readHeader(value);
      yield* headerLines(this.header);
    } else if (Array.isArray(value)) yield* this.#rowLines(value);
    else {
      checkFooter(value, this.#lines, this.#headerLine);
      this.#isOver = true;
      yield* this.#requestLines();
      yield* this.#shares.sort();
    }
  }

  #parse(line: string): unknown {
    try {
      return JSON.parse(line);
    } catch (error) {
      throw damaged(this.#lines, "not JSON", error);
    }
  }

  #readHeader(value: unknown): SnapshotHeader {
    const header = value as SnapshotHeader | null;
    if (typeof header !== "object" || header?.kind !== "state") throw damaged(1, "it does not begin with a header");
    checkVersion("format", header.format, SNAPSHOT_FORMAT);
    checkVersion("logVersion", header.logVersion, LOG_VERSION_MAX);
    if (typeof header.sequence !== "number" || typeof header.logId !== "string")
      throw damaged(1, "the header has no sequence or no log id");
    return header;
  }

  *#rowLines(row: Row): Generator<string> {
    const share = shareLine(row);
    if (share !== undefined) this.#shares.push(share);
    else yield this.#rowLine(row);
  }

  #rowLine(row: Row): string {
    if (row[0] === ROW_ITEM) return this.#itemLine(row);
    if (row[0] === ROW_RECORD) return canonicalLine("record", recordFields(row));
    if (row[0] === ROW_SCHEDULE) return canonicalLine("schedule", scheduleFieldsIn(row));
    throw damaged(this.#lines, "a row of an unknown kind");
  }

  #itemLine(row: Row): string {
    const lease = rowIn(row, 18);
    if (lease !== undefined && lease[5] !== 0) this.#addLease(itemIdIn(row), lease);
    return canonicalLine("item", itemFields(row, lease));
  }

  #addLease(itemId: unknown, lease: Row): void {
    const [token, principal, , , , requestId, digest] = lease;
    const name = JSON.stringify([principal, requestId]);
    const request = this.#leaseRequests.get(name) ?? { principal, requestId, digest, live: [] };
    this.#leaseRequests.set(name, request);
    request.live.push({ itemId, token: Number(token) });
  }

  #requestLines(): string[] {
    const lines = [...this.#leaseRequests.values()].map(({ principal, requestId, digest, live }) => {
      const itemIds = live.sort((left, right) => left.token - right.token).map(({ itemId }) => itemId);
      return canonicalLine("leaseRequest", {
        principal,
        requestId,
        digest,
        live: itemIds,
        liveCount: itemIds.length,
      });
    });
    return lines.sort();
  }
}

function* headerLines(header: SnapshotHeader): Generator<string> {
  const { logVersion, logId, term, leader, tokenEpoch, sequence, paused, horizon, pressedAt } = header;
  yield canonicalLine("meta", { logVersion, logId, term, leader, tokenEpoch, sequence, paused, horizon, pressedAt });
  const { pending, active, deadLettered, enqueuedTotal, completedTotal, removedTotal, bodyBytes, records } = header;
  yield canonicalLine("counts", {
    pending,
    active,
    deadLettered,
    enqueuedTotal,
    completedTotal,
    removedTotal,
    bodyBytes,
    records,
  });
  if (header.drain !== undefined) yield canonicalLine("drain", header.drain);
  for (const ended of header.endedDrains ?? []) yield canonicalLine("endedDrain", ended);
  yield canonicalLine("options", sorted({ ...header.options }));
  const followers = Object.entries<object>(header.followers ?? {});
  for (const [name, follower] of followers) yield canonicalLine("follower", { name, ...sorted({ ...follower }) });
  for (const [name, { leasesMax, rate, weight }] of Object.entries(header.quotas ?? {}))
    yield canonicalLine("quota", { name, leasesMax, rate: rate && sorted({ ...rate }), weight });
}

/** In the order of the canonical line. A row of an item that is as it was enqueued ends early. */
function itemFields(row: Row, lease: Row | undefined): Fields {
  return {
    itemId: itemIdIn(row),
    sequence: row[2],
    enqueuedAt: row[3],
    principal: row[4],
    exclusivity: nameAt(EXCLUSIVITIES, row[5]),
    resourceType: row[6],
    resourceId: row[7],
    partitionKey: optional(row[8]),
    payloadEncoding: optional(row[9]),
    body: optional(row[10]),
    attributes: row[11] === 0 ? undefined : sorted({ ...(row[11] as object) }),
    maxAttempts: optional(row[12]),
    requestId: optional(row[13]),
    digest: optional(row[14]),
    status: nameAt(STATUSES, row[15] ?? 0),
    attempt: row[16] ?? 0,
    charged: row[17] ?? 0,
    ...termsFieldsOf(rowIn(row, 22)),
    lease: lease && leaseFields(lease),
    lastEnd: endFields(rowIn(row, 19)),
    lastError: errorFields(rowIn(row, 20)),
    deadLetter: letterFields(rowIn(row, 21)),
  };
}

function termsFieldsOf(row: Row | undefined): Fields {
  if (row === undefined) return { terms: undefined, delayedTo: undefined };
  const [delayedTo, priority, boost, notAfter, leaseDurationMs, retry, uniqueKey, , ...rest] = row;
  const [group = 0, quotaKey = 0, name = 0, tick] = rest;
  const values = [priority, boost, notAfter, leaseDurationMs, retry, uniqueKey, group, quotaKey, name];
  const isEmpty = values.every((value) => value === 0);
  const terms = {
    ...{ priority, boost, notAfter: optional(notAfter), leaseDurationMs: optional(leaseDurationMs) },
    ...{ retry: optional(retry), uniqueKey: optional(uniqueKey), group: optional(group), quotaKey: optional(quotaKey) },
    ...(name === 0 ? undefined : { schedule: { name, tick } }),
  } as ItemTerms;
  const extra = rowIn(row, 7);
  return {
    terms: isEmpty ? undefined : termsFields(terms),
    delayedTo: optional(delayedTo),
    extra: extra && extraFieldsOf(extra),
  };
}

function extraFieldsOf([
  redrives,
  principal,
  reason,
  cancelAt,
  text,
  progressAt,
  redrivenAt = 0,
  flowRow,
]: Row): object {
  const cancel = principal === 0 ? undefined : { principal, reason: optional(reason), at: cancelAt };
  const flow = FlowRow.safeParse(flowRow).data;
  const progress = text === 0 ? undefined : { text, at: progressAt };
  return extraFields({ redrives, redrivenAt, cancel, progress, flow: flow && readFlow(flow) } as ItemExtra);
}

function scheduleFieldsIn(row: Row): object {
  const [, name, cron, timeZone, catchUp, paused, sequence, next, principal, item] = row;
  const schedule = {
    ...{ name, cron, timeZone, catchUp: nameAt(CATCH_UPS, catchUp), paused: paused === 1 },
    ...{ principal, sequence, next: optional(next) },
  } as ScheduleFields;
  return scheduleFieldsOf(schedule, sorted({ ...(item as object) }));
}

const itemIdIn = (row: Row): string => Number(row[1]).toString(ID_BASE);

function leaseFields(row: Row): Fields {
  const [token, principal, peerId, grantedAt, grantMs, requestId, , renewedAt, durationMs, expiresAt] = row;
  return {
    token,
    principal,
    peerId,
    grantedAt,
    grantMs,
    requestId: optional(requestId),
    renewedAt,
    durationMs,
    expiresAt,
  };
}

function endFields(row: Row | undefined): Fields | undefined {
  if (row === undefined) return undefined;
  const [token, kind, principal, digest, outcome] = row;
  return { token, kind: nameAt(END_KINDS, kind), principal, digest, outcome: nameAt(END_OUTCOMES, outcome) };
}

function errorFields(row: Row | undefined): Fields | undefined {
  if (row === undefined) return undefined;
  const [reason, code, attempt, peerId, at] = row;
  return { reason, code: optional(code), attempt, peerId, at };
}

function letterFields(row: Row | undefined): Fields | undefined {
  if (row === undefined) return undefined;
  const [reason, code, at, halts] = row;
  return { reason, code: optional(code), at, halts: halts === 1 };
}

/** undefined for a row of another kind. */
function shareLine(row: Row): string | undefined {
  const [kind, first, second, third] = row;
  if (kind === ROW_BUCKET)
    return canonicalLine("bucket", { kind: nameAt(QUOTA_KINDS, first), name: second, fullAtUs: third });
  if (kind === ROW_TURN) return canonicalLine("turn", { resourceType: first, time: third });
  if (kind === ROW_PASS) return canonicalLine("pass", { resourceType: first, group: second, ahead: third });
  return undefined;
}

function recordFields(row: Row): Fields {
  const [, , principal, requestId, digest, token, settledBy, settleDigest, endedSequence, ending, result] = row;
  return {
    itemId: itemIdIn(row),
    principal,
    requestId: optional(requestId),
    digest: optional(digest),
    token,
    settledBy,
    settleDigest,
    endedSequence,
    ending: nameAt(ENDINGS, ending ?? 0),
    result,
  };
}

/** 0 stands for what is absent. */
const optional = (value: unknown): unknown => (value === 0 ? undefined : value);
const rowIn = (row: Row, index: number): Row | undefined =>
  Array.isArray(row[index]) ? (row[index] as Row) : undefined;
/** What has no name is shown as it stands. */
const nameAt = (names: readonly string[], index: unknown): unknown => names[Number(index)] ?? index;
