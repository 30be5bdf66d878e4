/** The door of a shard: checks who asks, what, and where the answer may go, before anything reaches the leader. */
import type { Command } from "../../../contracts/commands.ts";
import { type ErrorBody, errorBody } from "../../../contracts/errors.ts";
import { TIMEOUT_MS_DEFAULT } from "../../../contracts/limits.ts";
import type { Clock, Closable, Ids, Net, NetMessage, Reporter } from "../../../contracts/ports.ts";
import {
  isReplySubjectPermitted,
  isVerb,
  parseRpcSubject,
  rpcSubscription,
  type Verb,
} from "../../../contracts/subjects.ts";
import { parseCommand } from "../../core/parse.ts";
import type { PendingHandover } from "./handover.ts";
import { MicroService } from "./micro-service.ts";
import type { NodeConfig } from "./node-config.ts";
import type { PendingRequest } from "./pending-request.ts";

export interface RpcEndpointOptions {
  readonly config: NodeConfig;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly net: Net;
  readonly reporter: Reporter;
}

/** Who decides: the leader's term, and about the leadership itself its node. */
export interface Decider {
  submit(request: PendingRequest): void;
  handOver(request: PendingHandover): void;
}

/** Lines about bad requests: at most one in this time, with the count of those left out. ms. */
const REPORT_EVERY_MS = 5_000;

/** By `Buffer`: the bytes of small answers come from a pool, where an encoder makes an array for each. */
const encoded = (body: object): Uint8Array => Buffer.from(JSON.stringify(body));

/** Nothing that a caller sends may throw here, reach the log unparsed, or turn into a publish outside the permitted reply subjects. */
export class RpcEndpoint {
  /** Requests without a permitted reply subject: dropped, because nobody could hear the answer, or because it would write with our rights. */
  dropped = 0;
  refused = 0;
  readonly #options: RpcEndpointOptions;
  #reportedMs = Number.NEGATIVE_INFINITY;
  #unreported = 0;

  constructor(options: RpcEndpointOptions) {
    this.#options = options;
  }

  /** Serves the shard's subjects until closed. Without a queue group: only the leader subscribes. */
  serve(decider: Decider, term: number): Closable {
    const { config, clock, ids, net } = this.#options;
    const service = new MicroService({ config, clock, id: ids.id("service"), net, term });
    const subscription = net.subscribe(rpcSubscription(config.shard), (message) =>
      this.#take(message, decider, service),
    );
    return {
      // Who asked before the server knew is told that we leave, instead of hearing nothing.
      close: () => {
        subscription.drain();
        service.close();
      },
    };
  }

  #take(message: NetMessage, decider: Decider, service: MicroService): void {
    if (!isReplySubjectPermitted(message.reply)) {
      this.dropped += 1;
      this.#report("reply_subject_refused", { subject: message.subject.slice(0, 256) });
      return;
    }
    const arrivedMs = this.#options.clock.monotonicMs();
    const address = parseRpcSubject(message.subject);
    if (address === undefined) {
      this.#refuse(
        message,
        service,
        errorBody("invalid_argument", "the subject is resourcelease.<shard>.<verb>.<principal>"),
      );
      return;
    }
    const { verb, principal } = address;
    if (!isVerb(verb)) {
      this.#refuse(message, service, errorBody("invalid_argument", "unknown verb"));
      return;
    }
    const parsed = parseCommand(verb, message.payload);
    if ("error" in parsed) {
      this.#refuse(message, service, parsed.error, verb);
      return;
    }
    if (parsed.verb === "handover") decider.handOver(this.#pending(parsed, principal, message, arrivedMs, service));
    else decider.submit(this.#pending(parsed, principal, message, arrivedMs, service));
  }

  #pending<C extends Command>(
    command: C,
    principal: string,
    message: NetMessage,
    arrivedMs: number,
    service: MicroService,
  ): PendingRequest<C> {
    const { request, verb }: Command = command;
    const timeoutMs = (request.timeoutMs ?? TIMEOUT_MS_DEFAULT) + ("waitMs" in request ? request.waitMs : 0);
    return {
      command,
      principal,
      peerId: verb === "lease" ? (request.peerId ?? principal) : principal,
      trace: message.trace.length <= 64 ? message.trace : "",
      bytes: message.payload.byteLength,
      arrivedMs,
      deadlineMs: arrivedMs + timeoutMs,
      send: (answer) => this.#send(message, verb, arrivedMs, answer, service),
      answered: false,
      joined: [],
    };
  }

  #send(
    message: NetMessage,
    verb: Verb,
    arrivedMs: number,
    answer: { readonly reply: object } | { readonly error: ErrorBody },
    service: MicroService,
  ): void {
    const elapsedMs = this.#options.clock.monotonicMs() - arrivedMs;
    if ("error" in answer) {
      service.count(verb, elapsedMs, answer.error);
      this.#options.net.publish(message.reply, encoded({ error: answer.error }), answer.error);
    } else {
      service.count(verb, elapsedMs, undefined);
      this.#options.net.publish(message.reply, encoded(answer.reply));
    }
  }

  #refuse(message: NetMessage, service: MicroService, error: ErrorBody, verb?: Verb): void {
    this.refused += 1;
    service.count(verb, 0, error);
    this.#report("request_refused", { subject: message.subject.slice(0, 256), code: error.code });
    this.#options.net.publish(message.reply, encoded({ error }), error);
  }

  /** One line at a time, never with the payload. */
  #report(event: string, fields: Readonly<Record<string, unknown>>): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#unreported += 1;
    if (nowMs - this.#reportedMs < REPORT_EVERY_MS) return;
    this.#options.reporter.warn(event, { ...fields, count: this.#unreported });
    this.#reportedMs = nowMs;
    this.#unreported = 0;
  }
}
