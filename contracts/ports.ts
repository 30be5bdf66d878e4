/**
 * The ports through which the shard node touches the world. Callback-based, so that a simulator can run the same code on a
 * virtual clock. No implementation may call back before the call that registered the callback has returned.
 */
import type { OperatingError } from "./errors.ts";

/** Handle of a pending timer. */
export type TimerHandle = object;

export interface Clock {
  /** The host's wall clock. ms since 1970. Only compared and reported, never used to decide. */
  wallMs(): number;
  /** Monotonic clock. ms, fractional, from an arbitrary start. */
  monotonicMs(): number;
  /** Calls back once, not before `delayMs` have passed. */
  setTimer(delayMs: number, callback: () => void): TimerHandle;
  clearTimer(timer: TimerHandle): void;
  /** Calls back once, after the input at hand has been handled and before any timer. */
  defer(callback: () => void): void;
}

export interface Ids {
  /** A fresh unguessable id of [A-Za-z0-9], at most 32 characters. `draw` names the use, so that a simulator can keep draws apart. */
  id(draw: string): string;
  /** A number in [0, 1). */
  random(draw: string): number;
}

/** Something that can be closed once; closing twice is allowed. */
export interface Closable {
  close(): void;
}

/** A stored message of a shard's stream. */
export interface LogMessage {
  readonly streamSequence: number;
  readonly subject: string;
  readonly payload: Uint8Array;
  /** The `Omnirelay-Chain` header; empty when there is none. */
  readonly chainHeader: string;
  /** Messages that the server knew behind this one when it sent it; -1 when unknown. */
  readonly pending: number;
}

/**
 * How an append ended.
 * `acked`: stored durably at `streamSequence`. Everything else says nothing certain about the message: it may be in the stream, or may yet come.
 * `wrong_last`: refused by the expected last sequence. `unavailable`: no responders or an API error. `timeout`, `disconnected`: no answer.
 */
export type AppendOutcome =
  | { readonly kind: "acked"; readonly streamSequence: number }
  | { readonly kind: "wrong_last"; readonly lastSequence: number | undefined }
  | { readonly kind: "unavailable"; readonly code: number; readonly message: string }
  | { readonly kind: "timeout" }
  | { readonly kind: "disconnected" };

/** What stands at one stream sequence, as the stream's leader sees it. `absent` is the server's own word; `failed` says nothing. */
export type ReadOutcome =
  | { readonly kind: "found"; readonly message: LogMessage }
  | { readonly kind: "absent" }
  | { readonly kind: "failed"; readonly error: OperatingError };

export interface LogInfo {
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly messages: number;
  readonly bytes: number;
  /** Limit of the stream; -1 when there is none. Bytes. */
  readonly bytesMax: number;
  readonly replicas: number;
  /** The server's clock when it answered. ms since 1970. */
  readonly serverTimeMs: number;
}

/** `missing`: the server says that there is no such stream. */
export type InfoOutcome =
  | { readonly kind: "info"; readonly info: LogInfo }
  | { readonly kind: "missing" }
  | { readonly kind: "failed"; readonly error: OperatingError };

/** `trimmed`: nothing below is stored any more. `failed` says nothing certain; to trim again does no harm. */
export type TrimOutcome = { readonly kind: "trimmed" } | { readonly kind: "failed"; readonly error: OperatingError };

export interface FollowHandler {
  /** Called in stream order. A hole shows as a jump of `streamSequence`; the follower never skips by itself. */
  message(message: LogMessage): void;
  /** The subscription is over and must be opened again by the caller. */
  failed(error: OperatingError): void;
}

/** A subscription to a stream that its reader can slow down. */
export interface Following extends Closable {
  /** Takes little more for now: what is on the way still comes. Without effect while held. */
  hold(): void;
  /** Goes on behind what was delivered. */
  resume(): void;
}

/** One shard's stream. At most one append is under way at a time; the implementation asserts it. */
export interface Log {
  /** Appends one message on the condition that the stream's last sequence is `expectedLast`. Calls back exactly once. */
  append(
    payload: Uint8Array,
    chain: string,
    expectedLast: number,
    timeoutMs: number,
    callback: (outcome: AppendOutcome) => void,
  ): void;
  /** Reads one message from the stream's leader, never from a replica. Calls back exactly once. */
  read(streamSequence: number, timeoutMs: number, callback: (outcome: ReadOutcome) => void): void;
  /** Asks the stream's leader for its bounds. Calls back exactly once. */
  info(timeoutMs: number, callback: (outcome: InfoOutcome) => void): void;
  /** Removes every message below `keepFrom`, which must be above 1 and the sequence of a stored message. Calls back exactly once. */
  trim(keepFrom: number, timeoutMs: number, callback: (outcome: TrimOutcome) => void): void;
  /** Delivers what is stored from `fromSequence` on, then what comes, until closed. */
  follow(fromSequence: number, handler: FollowHandler): Closable;
}

/** A shard's stream for those who only read, at the pace that they can keep. */
export interface LogSource extends Pick<Log, "read" | "info"> {
  follow(fromSequence: number, handler: FollowHandler): Following;
}

export type KvEntry = { readonly value: Uint8Array; readonly revision: number };
export type KvOutcome<T> =
  | { readonly kind: "ok"; readonly value: T }
  | { readonly kind: "conflict" }
  | { readonly kind: "failed"; readonly error: OperatingError };

/** One bucket. Reads go to the leader of the bucket's stream. */
export interface Kv {
  get(key: string, callback: (outcome: KvOutcome<KvEntry | undefined>) => void): void;
  /** Writes on the condition that the key's revision is `revision`; 0 means that there is no such key. Answers the new revision. */
  put(key: string, value: Uint8Array, revision: number, callback: (outcome: KvOutcome<number>) => void): void;
}

export interface NetMessage {
  readonly subject: string;
  /** Where an answer goes; empty when none is wanted. */
  readonly reply: string;
  readonly payload: Uint8Array;
  /** The `traceparent` header; empty when there is none. */
  readonly trace: string;
}

export type RequestOutcome =
  | { readonly kind: "reply"; readonly payload: Uint8Array }
  | { readonly kind: "no_responders" }
  /** The server refuses the publish by permission: the request reached nobody. */
  | { readonly kind: "denied" }
  | { readonly kind: "timeout" }
  | { readonly kind: "disconnected" };

export interface NetSubscription extends Closable {
  /** Ends the subscription at the server; what is on the way to us is still delivered, so that it can be answered. */
  drain(): void;
}

/** Core messaging: at most once, in order per publisher and subject. */
export interface Net {
  subscribe(subject: string, handler: (message: NetMessage) => void): NetSubscription;
  /** Without effect while disconnected. `error` adds the two micro-service error headers. */
  publish(subject: string, payload: Uint8Array, error?: { readonly code: string; readonly message: string }): void;
  request(subject: string, payload: Uint8Array, timeoutMs: number, callback: (outcome: RequestOutcome) => void): void;
  isConnected(): boolean;
  /** Called at each change. */
  onConnection(handler: (connected: boolean) => void): Closable;
}

/** The node's own small durable memory (its data folder). Synchronous; `put` has reached the disk when it returns. */
export interface Store {
  get(key: string): string | undefined;
  put(key: string, value: string): void;
}

/** One line of the log of the process: an event name, fields, no text put together from parts. */
export interface Reporter {
  info(event: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(event: string, fields?: Readonly<Record<string, unknown>>): void;
  error(event: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** What needs an operator although a process goes on. */
export interface Alarm {
  readonly code: string;
  readonly message: string;
  /** Whether everything is served as it should be in spite of it; otherwise the process is not ready. */
  readonly isServing: boolean;
}
