/** Reads a shard's log as a chain: tells the next frame from void messages and halts on anything that should not be there. */
import assert from "node:assert/strict";
import { EVENTS } from "../../contracts/events.ts";
import { CHAIN_START, Frame } from "../../contracts/frame.ts";
import { FRAME_SCHEMA } from "../../contracts/limits.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import { logSubject } from "../../contracts/subjects.ts";

/** Why a reader stops for good. Each is a sentence for the operator in `message`. */
const HALT_CODES = [
  "log_fork",
  "log_gap",
  "log_wrong_first",
  "log_term_decreased",
  "log_time_decreased",
  "log_frame_invalid",
  "log_version_unknown",
  "log_identity",
  "log_missing",
  "log_tail_lost",
  "state_diverged",
  "peer_id_taken",
] as const;
export type HaltCode = (typeof HALT_CODES)[number];

export interface Halt {
  readonly code: HaltCode;
  readonly message: string;
}

/**
 * `frame`: the next frame of the chain. `void`: no frame of this log, or a copy of its past; every reader steps over it.
 * `halt`: neither; nothing behind it may be read.
 */
export type Verdict =
  | { readonly kind: "frame"; readonly frame: Frame; readonly chain: string }
  | { readonly kind: "void"; readonly reason: string }
  | ({ readonly kind: "halt" } & Halt);

/** Where the chain stands: values of the last frame, and of the event to come. */
export interface ChainTip {
  readonly chain: string;
  readonly term: number;
  readonly first: number;
  readonly nextSequence: number;
  readonly at: number;
}

export const TIP_START: ChainTip = { chain: CHAIN_START, term: 0, first: 0, nextSequence: 1, at: 0 };

export interface LogReaderOptions {
  readonly region: string;
  readonly shard: string;
  /** The log's id where it is known; empty adopts the id of the first frame. */
  readonly logId: string;
  /** SHA-256 of a payload as 64 hex digits. */
  readonly hashOf: (payload: Uint8Array) => string;
  /** Validate every event against its schema, as an auditor does; readers that only follow trust the chain. */
  readonly strict?: boolean;
  readonly tip?: ChainTip;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Invariant: `tip.chain` is the SHA-256 of the last accepted frame's payload, and `tip.nextSequence` = its `first` + `count`.
 * The order of the checks is that of architecture section 7: void first, so that no stranger can stop a shard.
 */
export class LogReader {
  readonly #options: LogReaderOptions;
  readonly #subject: string;
  #logId: string;
  #tip: ChainTip;

  constructor(options: LogReaderOptions) {
    this.#options = options;
    this.#subject = logSubject(options.region, options.shard);
    this.#logId = options.logId;
    this.#tip = options.tip ?? TIP_START;
  }

  get tip(): ChainTip {
    return this.#tip;
  }

  get logId(): string {
    return this.#logId;
  }

  /** What a stored message is to this chain. Changes nothing. */
  classify(message: LogMessage): Verdict {
    if (message.subject !== this.#subject) return { kind: "void", reason: "subject" };
    const candidate = parseCandidate(message.payload);
    if (candidate === undefined) return { kind: "void", reason: "unparsable" };
    if (typeof candidate["logId"] !== "string" || candidate["logId"] === "")
      return { kind: "void", reason: "no log id" };
    if (this.#logId !== "" && candidate["logId"] !== this.#logId) return { kind: "void", reason: "log id" };
    const chain = this.#options.hashOf(message.payload);
    if (message.chainHeader !== chain) return { kind: "void", reason: "chain header" };
    if (candidate["prev"] === this.#tip.chain) return this.#next(candidate, chain);
    const { term, first } = candidate;
    if (typeof term !== "number" || typeof first !== "number") return { kind: "void", reason: "unparsable" };
    if (term <= this.#tip.term && first <= this.#tip.first) return { kind: "void", reason: "copy of the past" };
    return halt(
      "log_fork",
      `stream sequence ${message.streamSequence} holds a frame (term ${term}, first ${first}) that does not continue the chain (term ${this.#tip.term}, next sequence ${this.#tip.nextSequence}): the log forked; compare its replicas and restore from the longest good one`,
    );
  }

  /** Takes the frame as the chain's last. Only for a frame that `classify` accepted, or one of our own that was stored. */
  advance(frame: Frame, chain: string): void {
    assert.equal(frame.prev, this.#tip.chain);
    assert.equal(frame.first, this.#tip.nextSequence);
    if (this.#logId === "") this.#logId = frame.logId;
    this.#tip = {
      chain,
      term: frame.term,
      first: frame.first,
      nextSequence: frame.first + frame.count,
      at: frame.at,
    };
  }

  #next(candidate: Record<string, unknown>, chain: string): Verdict {
    if (typeof candidate["schema"] === "number" && candidate["schema"] > FRAME_SCHEMA)
      return halt(
        "log_version_unknown",
        `a frame has schema ${candidate["schema"]}; this release reads up to ${FRAME_SCHEMA}: upgrade`,
      );
    const problem = this.#options.strict === true ? strictProblem(candidate) : frameProblem(candidate);
    if (problem !== undefined) return problem;
    const frame = candidate as unknown as Frame;
    const { region, shard } = this.#options;
    if (frame.region !== region || frame.shard !== shard)
      return halt("log_identity", `the log belongs to ${frame.region}/${frame.shard}, not to ${region}/${shard}`);
    if (frame.first !== this.#tip.nextSequence)
      return halt("log_wrong_first", `a frame begins at sequence ${frame.first}, expected ${this.#tip.nextSequence}`);
    if (frame.term < this.#tip.term)
      return halt("log_term_decreased", `a frame has term ${frame.term} after term ${this.#tip.term}`);
    if (frame.at < this.#tip.at)
      return halt("log_time_decreased", `a frame has log time ${frame.at} after log time ${this.#tip.at}`);
    if ((frame.first === 1) !== (frame.events[0]?.type === "logCreated"))
      return halt("log_frame_invalid", "a log begins with logCreated, and only there");
    return { kind: "frame", frame, chain };
  }
}

const halt = (code: HaltCode, message: string): Verdict & { kind: "halt" } => ({ kind: "halt", code, message });

function parseCandidate(payload: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(decoder.decode(payload));
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined; // not JSON, or not UTF-8: a stranger's message
  }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** The checks that a follower makes: everything that `apply` and the chain rely on, cheap enough for a replay. */
function frameProblem(candidate: Record<string, unknown>): (Verdict & { kind: "halt" }) | undefined {
  const { schema, term, first, count, at, pending, active, writer, append, actors, events } = candidate;
  const invalid = (what: string) => halt("log_frame_invalid", `a frame that continues the chain is not valid: ${what}`);
  if (schema !== FRAME_SCHEMA) return invalid("schema");
  for (const value of [term, first, count, at, pending, active]) if (!isCount(value)) return invalid("a number");
  if (typeof writer !== "string" || typeof append !== "string") return invalid("writer or append");
  if (!Array.isArray(actors) || !Array.isArray(events) || events.length !== count)
    return invalid("actors, events or count");
  // What was found good is not looked at again: events of one type and one actor come in runs.
  let knownType: unknown = events;
  let knownActor: unknown;
  for (const event of events as readonly { type?: unknown; actor?: unknown }[]) {
    if (typeof event !== "object" || event === null) return invalid("an event");
    const { type, actor } = event;
    if (type !== knownType) {
      if (typeof type !== "string") return invalid("an event");
      if (!Object.hasOwn(EVENTS, type))
        return halt(
          "log_version_unknown",
          `an event has the unknown type ${JSON.stringify(type)}: upgrade this release`,
        );
      knownType = type;
    }
    if (actor === knownActor || actor === undefined) continue;
    if (!isCount(actor) || actor >= actors.length) return invalid("an actor");
    knownActor = actor;
  }
  return undefined;
}

function strictProblem(candidate: Record<string, unknown>): (Verdict & { kind: "halt" }) | undefined {
  const problem = frameProblem(candidate);
  if (problem !== undefined) return problem;
  const parsed = Frame.safeParse(candidate);
  if (parsed.success) return undefined;
  const issue = parsed.error.issues[0];
  return halt(
    "log_frame_invalid",
    `a frame that continues the chain is not valid: ${issue?.path.join(".")}: ${issue?.message}`,
  );
}
