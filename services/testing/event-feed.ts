/** Outward events as a shard's log would give them, from a seed, with the places between them: what sinks are tested with. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import type { LogEvent } from "../../contracts/events.ts";
import type { Checkpoint } from "../../contracts/followers.ts";
import type { Frame } from "../../contracts/frame.ts";
import { tokenOf } from "../../contracts/ids.ts";
import { FRAME_SCHEMA, LOG_VERSION_MAX } from "../../contracts/limits.ts";
import { SHARD_OPTIONS_DEFAULT } from "../../contracts/options.ts";
import { outwardEvents, tokenEpochBehind } from "../replication/outward.ts";
import type { SinkBatch, SinkScope } from "../replication/sink.ts";
import { seededNumbers } from "../runtime/seeded-numbers.ts";

/** Texts that break what builds SQL, HTML, CSV, JSON lines, shell lines or C strings by hand. */
export const HOSTILE_TEXTS: readonly string[] = [
  `'; DROP TABLE event; --`,
  `"double" 'single' \`back\` \\ backslash \\" \\' \\n`,
  "line one\nline two\r\nline three\rend",
  "nul \u0000 in the middle, and at the end \u0000",
  "line separator \u2028 paragraph separator \u2029 next line \u0085",
  "=cmd|' /C calc'!A0",
  "@SUM(1+1)*cmd, +1, -1, \ttab",
  "</script><script>alert(1)</script><!-- ]]> <img src=x onerror=alert(1)>",
  "\u{1f600} \u{1f468}\u200d\u{1f469}\u200d\u{1f467} e\u0301 \u202eright to left\u202c \ufeff",
  "${" + "jndi:ldap://localhost/a} $(touch x) `id` %n%s %00",
  '{"sequenceNumber":1}\n{"sequenceNumber":2}',
  "../../../etc/passwd",
  "\u0001\u001b[2J\u007f",
  " ",
  "",
];

export interface FeedOptions {
  /** 1 by default. */
  readonly seed?: number;
  /** At least so many events. 60 by default. */
  readonly count?: number;
  readonly logId?: string;
  readonly region?: string;
  readonly shard?: string;
  /** Length of the bodies of items, in characters of ASCII; absent: hostile texts. */
  readonly bodyLength?: number;
  /** Log time of the first frame. ms since 1970; 2026-01-01 by default. */
  readonly startMs?: number;
  /** Log time from one frame to the next. ms; 250 by default. */
  readonly stepMs?: number;
  /** Most events of one frame. 4 by default; the log's first frames hold one. */
  readonly perFrameMax?: number;
}

/** An item of the feed. Its turn to end comes when it has been leased. */
interface FedItem {
  readonly ref: { readonly itemId: string; readonly resourceType: string; readonly resourceId: string };
  token: number;
}

const ACTORS = [
  { principal: "orders", peerId: "orders--web-1" },
  { principal: "worker", peerId: "worker--a", trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
];
const PRODUCER = 0;
const WORKER = 1;
const LEASE_MS = 30_000;

/**
 * A log's events, gap-free from 1, and the place behind each.
 * Shapes: the log begins with `logCreated` and `termStarted`, has an empty frame and, half way, a second term with a token epoch of its own.
 */
export class EventFeed {
  readonly logId: string;
  readonly region: string;
  readonly shard: string;
  readonly #events: ReplicationEvent[] = [];
  /** The place behind each sequence, by sequence; that of 0 is the beginning of the log. */
  readonly #places: Checkpoint[];
  readonly #draw: () => number;
  readonly #options: FeedOptions;
  readonly #unended: FedItem[] = [];
  #itemCount = 0;
  #atMs: number;
  #term = 0;

  constructor(options: FeedOptions = {}) {
    const { seed = 1, count = 60, logId = `log-of-seed-${seed}`, region = "eu", shard = "orders" } = options;
    this.logId = logId;
    this.region = region;
    this.shard = shard;
    this.#options = options;
    this.#draw = seededNumbers(seed);
    this.#atMs = options.startMs ?? Date.UTC(2026, 0, 1);
    this.#places = [{ logId, streamSequence: 0, sequence: 0, chain: "", term: 0, at: 0, first: 0, tokenEpoch: 0 }];
    this.#begin(count);
  }

  /** All events; that of sequence n stands at n - 1. */
  get events(): readonly ReplicationEvent[] {
    return this.#events;
  }

  get lastSequence(): number {
    return this.#events.length;
  }

  /**
   * The place at which everything up to a sequence has had its effect. Inside a frame it names the frame before, for that one has to be read
   * again; behind a frame it names the last of the empty frames that follow.
   */
  place(sequence: number): Checkpoint {
    const place = this.#places[sequence];
    assert(place !== undefined, `the feed ends at ${this.lastSequence}, before ${sequence}`);
    return place;
  }

  /** The events behind `after` up to `upTo`, both sequences, as a pump gives them to a sink. */
  batch(scope: SinkScope, after: number, upTo: number): SinkBatch {
    assert(after <= upTo, `a batch goes from ${after} up to ${upTo}`);
    return { scope, after: this.place(after), upTo: this.place(upTo), events: this.#events.slice(after, upTo) };
  }

  /** The scope of a sink of that name. */
  scope(sink: string): SinkScope {
    return { sink, region: this.region, shard: this.shard, logId: this.logId };
  }

  #begin(count: number): void {
    const { logId } = this;
    const options = SHARD_OPTIONS_DEFAULT;
    this.#append([{ type: "logCreated", logId, logVersion: LOG_VERSION_MAX, options, tokenEpoch: 0 }]);
    this.#startTerm(0);
    this.#append([]);
    while (this.lastSequence < Math.floor(count / 2)) this.#appendSome();
    this.#startTerm(2);
    while (this.lastSequence < count) this.#appendSome();
  }

  #startTerm(tokenEpoch: number): void {
    this.#term += 1;
    this.#append([{ type: "termStarted", term: this.#term, leader: "dispatcher--1", tokenEpoch }]);
  }

  #appendSome(): void {
    const { perFrameMax = 4 } = this.#options;
    const count = 1 + (this.#draw() % perFrameMax);
    const events: LogEvent[] = [];
    while (events.length < count) events.push(this.#event(this.lastSequence + events.length + 1));
    this.#append(events);
    if (this.#draw() % 8 === 0) this.#append([]);
  }

  #append(events: readonly LogEvent[]): void {
    const before = this.place(this.lastSequence);
    const streamSequence = before.streamSequence + 1;
    const { stepMs = 250 } = this.#options;
    this.#atMs += streamSequence === 1 ? 0 : stepMs;
    const frame: Frame = {
      ...{ schema: FRAME_SCHEMA, logId: this.logId, region: this.region, shard: this.shard, term: this.#term },
      ...{ writer: "dispatcher--1", append: `feed-${streamSequence}`, first: this.lastSequence + 1 },
      ...{ count: events.length, at: this.#atMs, prev: before.chain, pending: this.#unended.length, active: 0 },
      ...{ actors: events.some((event) => "actor" in event) ? ACTORS : [], events: [...events] },
    };
    const chain = createHash("sha256").update(JSON.stringify(frame)).digest("hex");
    const epoch = before.tokenEpoch ?? 0;
    this.#events.push(...outwardEvents({ frame, streamSequence, chain, tokenEpoch: epoch }));
    const { first, term, at, logId } = frame;
    for (let inside = first; inside < first + events.length - 1; inside += 1)
      this.#places[inside] = { ...before, sequence: inside };
    const tokenEpoch = tokenEpochBehind(frame, epoch);
    const sequence = first + events.length - 1;
    this.#places[sequence] = { logId, streamSequence, sequence, chain, term, at, first, tokenEpoch };
  }

  /** The next event of the log, which will have that sequence. */
  #event(sequence: number): LogEvent {
    const kind = this.#draw() % 10;
    const item = this.#unended[0];
    if (kind === 9) return this.#oddEvent(sequence);
    if (item === undefined || (kind < 4 && this.#unended.length < 50)) return this.#enqueued();
    if (item.token === 0) {
      item.token = tokenOf(this.place(this.lastSequence).tokenEpoch ?? 0, sequence);
      const expiresAt = this.#atMs + LEASE_MS;
      return { type: "leased", actor: WORKER, ...item.ref, attempt: 1, durationMs: LEASE_MS, expiresAt };
    }
    if (kind === 4) return this.#renewed(item);
    this.#unended.shift();
    return this.#ended(kind, item);
  }

  #enqueued(): LogEvent {
    this.#itemCount += 1;
    const hostile = this.#hostile();
    const { bodyLength } = this.#options;
    const itemId = `item-${this.#itemCount}`;
    const resource = {
      resourceType: "table",
      resourceId: bodyLength === undefined ? `sales.${hostile}` : "sales.orders",
    };
    this.#unended.push({ ref: { itemId, ...resource }, token: 0 });
    const filled =
      bodyLength === undefined ? { body: hostile, attributes: { note: hostile } } : { body: "x".repeat(bodyLength) };
    const enqueued = { type: "enqueued", actor: PRODUCER, itemId, requestId: `request-${this.#itemCount}` } as const;
    return { ...enqueued, item: { ...resource, ...filled } };
  }

  #renewed({ ref, token }: FedItem): LogEvent {
    const lease = { itemId: ref.itemId, token, durationMs: LEASE_MS, expiresAt: this.#atMs + LEASE_MS };
    return { type: "renewed", actor: WORKER, leases: [{ ...lease, progress: this.#hostile() }] };
  }

  #ended(kind: number, { ref, token }: FedItem): LogEvent {
    const digest = "0123456789abcdef";
    if (kind === 5) {
      const failed = { type: "failed", actor: WORKER, ...ref, token, digest, reason: this.#hostile() } as const;
      return { ...failed, code: "no_space", outcome: "deadLettered" };
    }
    if (kind === 6) return { type: "expired", ...ref, token, reason: "duration", outcome: "deadLettered" };
    return { type: "completed", actor: WORKER, ...ref, token, digest, result: this.#hostile() };
  }

  /** What is of no item. */
  #oddEvent(sequence: number): LogEvent {
    if (sequence % 3 === 0) return { type: "paused", actor: PRODUCER };
    if (sequence % 3 === 1) return { type: "resumed", actor: PRODUCER };
    return { type: "stateHash", hash: sequence.toString(16).padStart(16, "0") };
  }

  #hostile(): string {
    return HOSTILE_TEXTS[this.#draw() % HOSTILE_TEXTS.length] ?? "";
  }
}
