/**
 * A shard for the client's tests: the real core behind a real nats-server, without a log. It keeps what came over the wire, and a test
 * can drop, refuse or hold requests. The whole dispatcher stands behind the client in the tests of the mesh.
 */
import type { NatsConnection, Subscription } from "@nats-io/transport-node";
import { type ErrorBody, type ErrorCode, errorBody } from "../../contracts/errors.ts";
import { SHARD_OPTIONS_DEFAULT, type ShardOptionsPatch } from "../../contracts/options.ts";
import { beatSubject, parseRpcSubject, rpcSubscription, type Verb } from "../../contracts/subjects.ts";
import { execute } from "../../services/core/execute.ts";
import { cite, type EventSink, type Outcome } from "../../services/core/outcome.ts";
import { parseCommand } from "../../services/core/parse.ts";
import { createState, type ShardState } from "../../services/core/state.ts";
import { createLog, expire, startTerm } from "../../services/core/term.ts";
import { nextTick } from "../../services/runtime/cron.ts";

export const SHARD = "default";

/** One request as it came over the wire. */
export interface Received {
  readonly verb: Verb;
  readonly principal: string;
  readonly text: string;
  /** The request's own fields, unchecked. */
  readonly body: Record<string, unknown> & { readonly requestId?: string; readonly after?: number };
}

/**
 * What a test does to a request. `serve`: as usual. `drop`: neither done nor answered. `silent`: done, its answer lost.
 * An error: answered with it, not done. A function: called with what answers it, for later.
 */
export type Verdict = "serve" | "drop" | "silent" | ErrorBody | ((serve: () => void) => void);

interface Poll {
  readonly attempt: () => boolean;
  readonly timer: NodeJS.Timeout;
}

const NO_SINK: EventSink = { actor: () => 0, push: () => {} };

export class ShardDouble {
  readonly state: ShardState = createState();
  readonly received: Received[] = [];
  /** Called for each request before it is served. */
  judge: (received: Received) => Verdict = () => "serve";
  readonly #connection: NatsConnection;
  readonly #polls = new Set<Poll>();
  readonly #waiters: { readonly isTrue: () => boolean; readonly resolve: () => void }[] = [];
  #subscription: Subscription | undefined;
  #at = 1;

  constructor(connection: NatsConnection, options: ShardOptionsPatch = {}) {
    this.#connection = connection;
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    const log = { logId: "log", options: { ...SHARD_OPTIONS_DEFAULT, ...given }, tokenEpoch: 0 };
    createLog(this.state, log, { at: 1 }, NO_SINK);
    startTerm(this.state, { term: 1, leader: "dispatcher", tokenEpoch: 0 }, { at: 1 }, NO_SINK);
    this.serve();
  }

  /** Begins to answer, as a dispatcher does that comes to lead. */
  serve(): void {
    this.#subscription ??= this.#connection.subscribe(rpcSubscription(SHARD), {
      callback: (_error, message) => this.#take(message.subject, message.data, message.reply ?? ""),
    });
  }

  /** Ceases to answer: requests get "no responders". */
  async leave(): Promise<void> {
    this.#subscription?.unsubscribe();
    this.#subscription = undefined;
    await this.#connection.flush();
  }

  /** Publishes a beat as the leader of that term would; anything else instead of it as a stranger might. */
  async beat(term: number, instead?: string): Promise<void> {
    const beat = {
      logId: "log",
      term,
      leader: "dispatcher",
      sequence: 1,
      streamSequence: 1,
      incarnation: "i",
      state: "leading",
    };
    this.#connection.publish(beatSubject("anywhere", SHARD), instead ?? JSON.stringify(beat));
    await this.#connection.flush();
  }

  /** Ends the lease of an item as time would. */
  expire(itemId: string): void {
    const token = this.state.items.get(itemId)?.lease?.token;
    if (token === undefined) throw new Error(`item ${itemId} is not leased`);
    expire(this.state, itemId, token, "duration", { at: this.#now() }, NO_SINK);
    this.#servePolls();
  }

  /** Lets log time go by: what was delayed until then is granted. ms. */
  advance(ms: number): void {
    this.#at += ms;
    this.state.ready.release(this.#now());
    this.#servePolls();
  }

  of(verb: Verb): Received[] {
    return this.received.filter((one) => one.verb === verb);
  }

  /** Resolves once `count` requests of the verb have come. */
  arrived(verb: Verb, count: number): Promise<void> {
    return this.until(() => this.of(verb).length >= count);
  }

  /** Resolves once it holds; looked at whenever a request came or was served. */
  until(isTrue: () => boolean): Promise<void> {
    if (isTrue()) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ isTrue, resolve }));
  }

  close(): void {
    for (const { timer } of this.#polls) clearTimeout(timer);
    this.#polls.clear();
    this.#subscription?.unsubscribe();
  }

  #now(): number {
    this.#at += 1;
    return this.#at;
  }

  #take(subject: string, data: Uint8Array, reply: string): void {
    const address = parseRpcSubject(subject);
    if (address === undefined) throw new Error(`${subject} is no subject of a shard`);
    const { principal } = address;
    const verb = address.verb as Verb;
    const text = Buffer.from(data).toString();
    const received: Received = { verb, principal, text, body: JSON.parse(text) };
    this.received.push(received);
    const verdict = this.judge(received);
    const serve = (isSilent: boolean): void => this.#serve(verb, principal, data, isSilent ? "" : reply);
    if (verdict === "serve" || verdict === "silent") serve(verdict === "silent");
    else if (typeof verdict === "function") verdict(() => serve(false));
    else if (verdict !== "drop") this.#send(reply, { error: verdict });
    this.#changed();
  }

  #serve(verb: Verb, principal: string, data: Uint8Array, reply: string): void {
    const command = parseCommand(verb, data);
    if ("error" in command) {
      this.#send(reply, command);
      return;
    }
    if (command.verb === "handover") {
      this.#send(reply, { ...cite(this.state), successor: command.request.to ?? "other" });
      return;
    }
    const peerId = command.verb === "lease" ? (command.request.peerId ?? principal) : principal;
    const run = (): Outcome => execute(this.state, command, { at: this.#now(), nextTick, principal, peerId }, NO_SINK);
    const outcome = run();
    if (command.verb === "lease" && outcome.empty === true && command.request.waitMs > 0)
      this.#poll(run, reply, command.request.waitMs);
    else this.#answer(reply, outcome);
    this.#servePolls();
    this.#changed();
  }

  #poll(run: () => Outcome, reply: string, waitMs: number): void {
    const end = (): void => {
      this.#polls.delete(poll);
      this.#answer(reply, run());
    };
    const attempt = (): boolean => {
      const outcome = run();
      if (outcome.empty === true) return false;
      this.#answer(reply, outcome);
      return true;
    };
    const poll: Poll = { attempt, timer: setTimeout(end, waitMs) };
    this.#polls.add(poll);
  }

  #servePolls(): void {
    for (const poll of [...this.#polls])
      if (poll.attempt()) {
        clearTimeout(poll.timer);
        this.#polls.delete(poll);
      }
  }

  #answer(reply: string, { reply: body, error, validity }: Outcome): void {
    for (const { target, token } of validity)
      target.validMs = this.state.leased.find((item) => item.lease?.token === token)?.lease?.durationMs ?? 0;
    this.#send(reply, error === undefined ? body : { error });
  }

  #send(reply: string, body: unknown): void {
    if (reply !== "") this.#connection.publish(reply, JSON.stringify(body));
  }

  #changed(): void {
    for (const waiter of this.#waiters.splice(0)) {
      if (waiter.isTrue()) waiter.resolve();
      else this.#waiters.push(waiter);
    }
  }
}

/** A verdict that refuses. */
export const refusal = (code: ErrorCode, extra: Partial<ErrorBody> = {}): ErrorBody => ({
  ...errorBody(code, "as told"),
  ...extra,
});
