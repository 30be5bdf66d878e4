/** Where a subscription to a changefeed begins: found by halving the stream, for its events rise by sequence and by log time. */
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import { LogId, Sequence } from "../../contracts/ids.ts";
import { changesStream, changesSubscription, SEQUENCE_HEADER } from "../../contracts/subjects.ts";
import { API_TIMEOUT_MS, apiFailure, askApiAsync } from "../jetstream/api.ts";
import { headerValue } from "../jetstream/header-block.ts";
import type { Inbox } from "../jetstream/inbox.ts";
import { readStored } from "../jetstream/read-stored.ts";
import { type StreamState, stateOfStream } from "../jetstream/stream-info.ts";
import type { ChangesStart } from "./changes-options.ts";

/** Messages of strangers in a row that are stepped over; more than these are no accident. */
const STRANGERS_MAX = 1_000;

/** How far a named subscription has come. Value of `omnirelay-checkpoints` under `changes.<name>.<region>.<shard>`. */
export const Position = z.looseObject({
  logId: LogId.optional().describe("Absent before the first event."),
  sequence: Sequence.describe("Of the last event that was acknowledged; 0: none."),
  streamSequence: Sequence.describe(
    "Of its message in the changefeed's stream; before the first event: of the one before the start.",
  ),
  created: z.string().describe("When that stream was made: the numbers of another one say nothing."),
  reader: z.string().min(1).max(64).describe("The subscription that wrote it."),
});
export type Position = Readonly<z.infer<typeof Position>>;

export interface FeedPlace {
  readonly stream: string;
  readonly region: string;
  readonly created: string;
  /** First stream sequence to read. */
  readonly streamSequence: number;
  /** Events up to this sequence are not wanted. */
  readonly after: number;
}

export interface FeedAddress {
  readonly region: string;
  readonly shard: string;
}

/**
 * The region whose stream is the changefeed of a shard.
 * Throws: OperatingError `stream_missing`, `invalid_options` where several have one (both definite), and what JetStream answers.
 */
export async function regionOf(inbox: Inbox, shard: string): Promise<string> {
  const answer = await askApiAsync(inbox, "STREAM.NAMES", { subject: changesSubscription("*", shard) });
  if (answer.kind !== "ok") throw apiFailure(answer, "looking for the changefeed", true);
  const { streams } = answer.value;
  const names = Array.isArray(streams) ? streams.map(String) : [];
  const [start, end] = changesStream("/", shard).split("/") as [string, string];
  const regions = names
    .filter((name) => name.startsWith(start) && name.endsWith(end))
    .map((name) => name.slice(start.length, name.length - end.length));
  const [region] = regions;
  if (region === undefined) throw missingFeed(changesStream("*", shard));
  if (regions.length === 1) return region;
  const message = `shard ${shard} has a changefeed in ${regions.join(" and ")}: say which region`;
  throw new OperatingError("invalid_options", message, { definite: true, details: { regions } });
}

/**
 * Throws: OperatingError, definite: `stream_missing`; `changes_trimmed` where events that are wanted are kept no more (`details.firstAvailable`: the
 * sequence of the oldest that is); `changes_foreign_log`; and what JetStream answers.
 */
export async function findPlace(inbox: Inbox, address: FeedAddress, from: ChangesStart | Position): Promise<FeedPlace> {
  const stream = changesStream(address.region, address.shard);
  const state = await stateOfStream(inbox, stream, API_TIMEOUT_MS);
  if (state === undefined) throw missingFeed(stream);
  const { region } = address;
  const { info, created } = state;
  const at = (streamSequence: number, after = 0): FeedPlace => ({ stream, region, created, streamSequence, after });
  if (from === "now") return at(info.lastSequence + 1);
  if (from === "beginning") return at(Math.max(info.firstSequence, 1));
  const search: Search = { inbox, stream, filter: changesSubscription(region, address.shard), state };
  if ("created" in from) return goOn(search, at, from);
  if ("time" in from) return at(await halve(search, byTime(from.time)));
  return at(await halve(search, bySequence(from.sequence)), from.sequence - 1);
}

/** Exact where the stream is still the one that the position was kept of: only then its own numbers count. */
async function goOn(
  search: Search,
  at: (streamSequence: number, after: number) => FeedPlace,
  { created, sequence, streamSequence }: Position,
): Promise<FeedPlace> {
  const { info, created: now } = search.state;
  if (created !== now) return at(await halve(search, bySequence(sequence + 1)), sequence);
  if (info.firstSequence <= streamSequence + 1) return at(streamSequence + 1, sequence);
  throw trimmed(search.stream, (await eventFrom(search, info.firstSequence))?.sequence);
}

/** What a subscription is told when what comes next was removed: what it can begin anew with. */
export async function trimmedError(inbox: Inbox, stream: string, from: number): Promise<OperatingError> {
  return trimmed(stream, (await eventFrom({ inbox, stream, filter: ">" }, from))?.sequence);
}

interface Search {
  readonly inbox: Inbox;
  readonly stream: string;
  readonly filter: string;
  readonly state: StreamState;
}

interface FoundEvent {
  readonly streamSequence: number;
  readonly sequence: number;
  readonly atMs: number;
}

/** What is wanted, and whether an event is surely the first that is: where nothing before it is kept, only then nothing is missing. */
interface Wish {
  readonly isWanted: (event: FoundEvent) => boolean;
  readonly isFirst: (event: FoundEvent) => boolean;
}

const bySequence = (first: number): Wish => ({
  isWanted: ({ sequence }) => sequence >= first,
  isFirst: ({ sequence }) => sequence === first,
});
/** Others of the same time may have stood before. */
const byTime = (time: number): Wish => ({ isWanted: ({ atMs }) => atMs >= time, isFirst: () => false });

/** The stream sequence from which on all is wanted. Throws: `changes_trimmed` when it may lie before what is kept. */
async function halve(search: Search, { isWanted, isFirst }: Wish): Promise<number> {
  const { firstSequence, lastSequence } = search.state.info;
  let low = Math.max(firstSequence, 1);
  let high = lastSequence + 1;
  const oldest = firstSequence > 1 ? await eventFrom(search, low) : undefined;
  const isCut = firstSequence > 1 && (oldest === undefined || (isWanted(oldest) && !isFirst(oldest)));
  if (isCut) throw trimmed(search.stream, oldest?.sequence);
  // Invariant: everything before `low` is not wanted, everything from `high` on is.
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const found = await eventFrom(search, middle);
    if (found === undefined || isWanted(found)) high = middle;
    else low = found.streamSequence + 1;
  }
  return low;
}

/** The first event at or behind a stream sequence. */
async function eventFrom(
  { inbox, stream, filter }: Pick<Search, "inbox" | "stream" | "filter">,
  from: number,
): Promise<FoundEvent | undefined> {
  let next = from;
  for (let strangers = 0; strangers < STRANGERS_MAX; strangers += 1) {
    const message = await readStored(inbox, stream, { seq: next, next_by_subj: filter }, API_TIMEOUT_MS);
    if (message === undefined) return undefined;
    const { streamSequence, payload, headers } = message;
    const sequence = Number(headerValue(headers, SEQUENCE_HEADER));
    if (sequence > 0) return { streamSequence, sequence, atMs: timeOf(payload) };
    next = streamSequence + 1;
  }
  const message = `${stream} holds ${STRANGERS_MAX} messages in a row that are no events, from ${from} on`;
  throw new OperatingError("event_unreadable", message, { definite: true });
}

const decoder = new TextDecoder();

/** Log time of an event; NaN for none, which is before and behind nothing. */
function timeOf(payload: Uint8Array): number {
  try {
    const { timestamp } = JSON.parse(decoder.decode(payload)) as { readonly timestamp?: unknown };
    return Date.parse(String(timestamp));
  } catch {
    return Number.NaN;
  }
}

export function missingFeed(stream: string): OperatingError {
  const message = `there is no stream ${stream}: the shard has no changefeed; configure a sink of the kind changefeed`;
  return new OperatingError("stream_missing", message, { definite: true, details: { stream } });
}

function trimmed(stream: string, firstAvailable: number | undefined): OperatingError {
  const rest =
    firstAvailable === undefined ? "nothing is kept" : `the oldest that is kept has sequence ${firstAvailable}`;
  const message = `${stream} keeps the events no more that are to be read: ${rest}. Begin there, and look elsewhere for what is missing`;
  return new OperatingError("changes_trimmed", message, {
    definite: true,
    details: { stream, ...(firstAvailable === undefined ? {} : { firstAvailable }) },
  });
}
