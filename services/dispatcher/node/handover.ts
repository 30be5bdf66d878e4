/** The verb `handover`: leadership is no part of the state machine, so the node itself decides who leads next, and its term lets go. */
import type { Command, CommandOf } from "../../../contracts/commands.ts";
import { errorBody } from "../../../contracts/errors.ts";
import type { LeaderTerm } from "./leader-term.ts";
import type { NodeConfig } from "./node-config.ts";
import type { Precedence } from "./patience.ts";
import { answer, type PendingRequest } from "./pending-request.ts";
import type { Decider } from "./rpc-endpoint.ts";

export type PendingHandover = PendingRequest<CommandOf<"handover">>;

interface HandoversOptions {
  readonly config: NodeConfig;
  readonly precedence: Precedence;
  readonly term: LeaderTerm;
  /** Sequence of the event with which the term began. */
  readonly startedAt: number;
  /** Lets go of the shard; the request is answered behind the release. */
  readonly release: (successor: string, request: PendingRequest<Command>) => void;
}

/** Takes the requests of one term: the state machine's go to the term, those about the leadership are decided here. */
export class Handovers implements Decider {
  readonly #options: HandoversOptions;

  constructor(options: HandoversOptions) {
    this.#options = options;
  }

  submit(request: PendingRequest): void {
    this.#options.term.submit(request);
  }

  /**
   * Hands the shard to the dispatcher that is named, or to the one that leads least.
   *
   * Answers: `successor`, with the place of the release; what is handed over already, with our own term once the log has confirmed it.
   * Refuses with: unavailable, saying why and who could, when the successor does not follow closely.
   */
  handOver(request: PendingHandover): void {
    const { config, precedence, startedAt, release } = this.#options;
    const { to, after } = request.command.request;
    // A repeat whose first attempt brought the shard here must not send it on.
    const hasMoved = to === undefined ? (after ?? startedAt) < startedAt : to === config.peerId;
    if (hasMoved) {
      this.#answerConfirmed(request);
      return;
    }
    const { peer, reason, candidates } = precedence.successor(config.shard, to);
    if (peer === undefined) answer(request, { error: errorBody("unavailable", reason, { details: { candidates } }) });
    else release(peer, request);
  }

  /** Answers that we lead, by a consistent read: a deposed leader must not say so. */
  #answerConfirmed(request: PendingHandover): void {
    const { config } = this.#options;
    const { timeoutMs, minSequence } = request.command.request;
    this.submit({
      ...request,
      command: { verb: "stats", request: { consistent: true, timeoutMs, minSequence } },
      send: (body) => {
        if ("error" in body) return request.send(body);
        const { term, sequence } = body.reply as { readonly term: number; readonly sequence: number };
        request.send({ reply: { term, sequence, successor: config.peerId } });
      },
    });
  }
}
