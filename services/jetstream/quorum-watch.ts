/**
 * Leaves NATS servers that live but are cut off from the others. A connection to one looks healthy: the server answers pings and takes what is
 * published, and nothing of it reaches the rest of the mesh.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import type { Clock, Reporter, TimerHandle } from "../../contracts/ports.ts";
import { askApi, isPassing } from "./api.ts";
import { leaveServer } from "./connect.ts";
import { Inbox } from "./inbox.ts";

/** Time between two questions. ms. */
const EVERY_MS = 1_000;
/** How long an answer may take. ms. */
const ANSWER_MS = 900;
/**
 * Questions in a row without a good answer after which a server is left: an election of the cluster's leader takes 4 to 9 s, and the one before,
 * cut off, takes its own word for a majority's for as long.
 */
const SILENCES_MAX = 10;
/** How many times that long it may become where leaving has not helped: then the cluster has no leader, and streams may work all the same. */
const PATIENCE_MAX = 32;

export interface QuorumWatchOptions {
  readonly clock: Clock;
  readonly reporter: Reporter;
}

interface Watched {
  readonly connection: NatsConnection;
  readonly use: string;
  readonly inbox: Inbox;
  /** Questions in a row without a good answer. */
  silences: number;
  /** Doubled with each leave that has not helped. */
  patience: number;
  isAsking: boolean;
}

/**
 * Asks for the account's JetStream over each connection, which only the leader of the whole cluster answers: a follower that is cut off
 * answers questions about its streams for a while. Users need the right to publish on `$JS.API.INFO`; without it nothing is judged.
 */
export class QuorumWatch {
  readonly #options: QuorumWatchOptions;
  readonly #watched = new Set<Watched>();
  #timer: TimerHandle | undefined;
  #isClosed = false;

  constructor(options: QuorumWatchOptions) {
    this.#options = options;
  }

  /** Watches a connection until it or the watch is closed. `use` names it in what is reported. */
  watch(connection: NatsConnection, use: string): void {
    if (this.#isClosed) return;
    this.#watched.add({ connection, use, inbox: new Inbox(connection), silences: 0, patience: 1, isAsking: false });
    this.#timer ??= this.#options.clock.setTimer(EVERY_MS, () => this.#turn());
  }

  close(): void {
    this.#isClosed = true;
    if (this.#timer !== undefined) this.#options.clock.clearTimer(this.#timer);
    this.#timer = undefined;
    for (const { inbox } of this.#watched) inbox.close();
    this.#watched.clear();
  }

  #turn(): void {
    for (const each of this.#watched)
      if (each.connection.isClosed()) this.#watched.delete(each);
      else if (!each.isAsking) this.#ask(each);
    this.#timer = this.#options.clock.setTimer(EVERY_MS, () => this.#turn());
  }

  #ask(each: Watched): void {
    each.isAsking = true;
    askApi(each.inbox, "INFO", undefined, ANSWER_MS, (outcome) => {
      each.isAsking = false;
      if (!this.#watched.has(each)) return;
      const isSilent =
        outcome.kind === "timeout" ||
        outcome.kind === "no_responders" ||
        (outcome.kind === "api_error" && isPassing(outcome.error));
      each.silences = isSilent ? each.silences + 1 : 0;
      if (outcome.kind === "ok") each.patience = 1;
      if (isSilent) this.#judge(each, outcome.kind);
    });
  }

  #judge(each: Watched, last: string): void {
    if (each.silences < SILENCES_MAX * each.patience) return;
    each.silences = 0;
    each.patience = Math.min(each.patience * 2, PATIENCE_MAX);
    const server = each.connection.getServer();
    if (leaveServer(each.connection)) this.#options.reporter.warn("nats_server_left", { use: each.use, server, last });
  }
}
