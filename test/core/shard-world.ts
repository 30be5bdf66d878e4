/** One shard in memory: commands in, frames out, and the fold of those frames as a second opinion. */
import { REQUESTS, type RequestInput, type ShardCommand } from "../../contracts/commands.ts";
import type { ErrorBody } from "../../contracts/errors.ts";
import type { Actor, LogEvent } from "../../contracts/events.ts";
import type { Frame } from "../../contracts/frame.ts";
import { SHARD_OPTIONS_DEFAULT, type ShardOptions } from "../../contracts/options.ts";
import { REPLIES } from "../../contracts/replies.ts";
import { apply, applyFrame } from "../../services/core/apply.ts";
import { execute } from "../../services/core/execute.ts";
import type { Context, EventSink, Outcome } from "../../services/core/outcome.ts";
import { createState, type ShardState } from "../../services/core/state.ts";
import { createLog, expire, startTerm } from "../../services/core/term.ts";

const LEADER = "dispatcher--a";

/** The open frame of a test: keeps what it is told. */
class FrameSink implements EventSink {
  readonly actors: Actor[] = [];
  readonly events: LogEvent[] = [];

  actor(actor: Actor): number {
    return this.actors.push(actor) - 1;
  }

  push(event: LogEvent): void {
    this.events.push(event);
  }
}

/** What a test looks into: a reply with every field that any verb has. */
export interface AnyReply {
  readonly error?: ErrorBody;
  readonly term: number;
  readonly sequence: number;
  // biome-ignore lint/suspicious/noExplicitAny: a test that asks a wrong field fails by its expectation
  readonly [field: string]: any;
}

export interface WorldOptions {
  readonly options?: Partial<ShardOptions>;
  readonly tokenEpoch?: number;
  readonly at?: number;
}

export class ShardWorld {
  readonly state: ShardState = createState();
  readonly frames: Frame[] = [];
  at: number;
  last: Outcome | undefined;

  constructor(world: WorldOptions = {}) {
    this.at = world.at ?? 1_000;
    const tokenEpoch = world.tokenEpoch ?? 0;
    this.frame((sink) => {
      const options = { ...SHARD_OPTIONS_DEFAULT, ...world.options };
      createLog(this.state, { logId: "log-1", options, tokenEpoch }, { at: this.at }, sink);
    });
    this.frame((sink) => startTerm(this.state, { term: 1, leader: LEADER, tokenEpoch }, { at: this.at }, sink));
  }

  /** Writes one frame with whatever the body pushes; none when it pushes nothing. */
  frame<Result>(body: (sink: FrameSink) => Result): Result {
    const first = this.state.sequence + 1;
    const sink = new FrameSink();
    const result = body(sink);
    if (sink.events.length === 0) return result;
    const frame: Frame = {
      schema: 1,
      logId: this.state.logId,
      region: "local",
      shard: "default",
      term: this.state.term,
      writer: LEADER,
      append: `a-${this.frames.length + 1}`,
      first,
      count: sink.events.length,
      at: this.at,
      prev: "",
      pending: this.state.pending,
      active: this.state.active,
      actors: sink.actors,
      events: sink.events,
    };
    // What goes through the log comes back as other objects, without what JSON does not carry.
    this.frames.push(JSON.parse(JSON.stringify(frame)) as Frame);
    return result;
  }

  /** Runs a request as it would be after parsing; the reply is checked against its schema. */
  send<V extends ShardCommand["verb"]>(verb: V, request: RequestInput<V>, context: Partial<Context> = {}): AnyReply {
    const command = { verb, request: REQUESTS[verb].parse(request) } as ShardCommand;
    return this.sendCommand(command, context);
  }

  sendCommand(command: ShardCommand, context: Partial<Context> = {}): AnyReply {
    const principal = context.principal ?? "worker";
    const outcome = this.frame((sink) =>
      execute(this.state, command, { at: this.at, peerId: principal, ...context, principal }, sink),
    );
    this.last = outcome;
    if (outcome.error !== undefined)
      return { error: outcome.error, term: this.state.term, sequence: this.state.sequence };
    REPLIES[command.verb].parse(outcome.reply);
    return JSON.parse(JSON.stringify(outcome.reply)) as AnyReply;
  }

  expire(itemId: string, reason: "duration" | "age" = "duration", random?: () => number): boolean {
    const token = this.state.items.get(itemId)?.lease?.token ?? 1;
    return this.frame((sink) => expire(this.state, itemId, token, reason, { at: this.at, random }, sink));
  }

  /** Events of the last frame. */
  lastEvents(): readonly LogEvent[] {
    return this.frames.at(-1)?.events ?? [];
  }

  events(): readonly LogEvent[] {
    return this.frames.flatMap((frame) => frame.events);
  }

  /** A fresh state that has seen only the frames. */
  fold(): ShardState {
    return foldFrames(this.frames);
  }

  /** Enqueues items of one type and answers their ids. */
  seed(count: number, item: Partial<RequestInput<"enqueue">["items"][number]> = {}): string[] {
    const items = Array.from({ length: count }, (_, index) => ({
      resourceType: "table",
      resourceId: `r-${index + 1}`,
      ...item,
    }));
    const reply = this.send("enqueue", { items }, { principal: "seeder" });
    return (reply["results"] as { itemId: string }[]).map((result) => result.itemId);
  }

  /** Leases one item and answers its id and token. */
  take(request: RequestInput<"lease"> = {}, context: Partial<Context> = {}): { itemId: string; token: number } {
    const reply = this.send("lease", request, context);
    const [lease] = reply["leases"] as { itemId: string; token: number }[];
    if (lease === undefined) throw new Error(`nothing was leased: ${JSON.stringify(reply)}`);
    return { itemId: lease.itemId, token: lease.token };
  }
}

export function foldFrames(frames: readonly Frame[]): ShardState {
  const state = createState();
  for (const frame of frames) applyFrame(state, frame);
  return state;
}

/** The state after some events, each caused by `worker` unless another actor is named. */
export function given(
  ...history: readonly (LogEvent | { readonly by: string; readonly event: LogEvent })[]
): ShardState {
  const world = new ShardWorld();
  for (const step of history) {
    const { by, event } = "event" in step ? step : { by: "worker", event: step };
    apply(world.state, event, { at: world.at, actor: { principal: by, peerId: by } });
  }
  return world.state;
}
