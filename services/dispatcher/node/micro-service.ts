/** Shows a led shard as a NATS micro service (ADR-32), so that `nats micro ls`, `info` and `stats` see it. */
import type { ErrorBody } from "../../../contracts/errors.ts";
import type { Clock, Closable, Net } from "../../../contracts/ports.ts";
import { isReplySubjectPermitted, rpcSubject, SERVICE_NAME, VERBS, type Verb } from "../../../contracts/subjects.ts";
import { RELEASE_VERSION } from "../../../contracts/version.ts";
import type { NodeConfig } from "./node-config.ts";

const encoder = new TextEncoder();

interface EndpointCounts {
  requests: number;
  errors: number;
  /** From arrival to answer: the append is in it. ms. */
  processingMs: number;
  lastError: string;
}

export interface MicroServiceOptions {
  readonly config: NodeConfig;
  readonly clock: Clock;
  /** Id of this instance. */
  readonly id: string;
  readonly net: Net;
  readonly term: number;
}

/** Lives as long as one term: the instance that `nats micro` shows is the leader. */
export class MicroService implements Closable {
  readonly #options: MicroServiceOptions;
  readonly #started: string;
  readonly #counts = new Map<Verb, EndpointCounts>();
  readonly #subscriptions: Closable[] = [];

  constructor(options: MicroServiceOptions) {
    this.#options = options;
    this.#started = new Date(options.clock.wallMs()).toISOString();
    for (const verb of VERBS) this.#counts.set(verb, { requests: 0, errors: 0, processingMs: 0, lastError: "" });
    this.#answer("PING", () => this.#body("ping", {}));
    this.#answer("INFO", () => this.#info());
    this.#answer("STATS", () => this.#stats());
  }

  count(verb: Verb | undefined, elapsedMs: number, error: ErrorBody | undefined): void {
    const counts = verb === undefined ? undefined : this.#counts.get(verb);
    if (counts === undefined) return;
    counts.requests += 1;
    counts.processingMs += elapsedMs;
    if (error === undefined) return;
    counts.errors += 1;
    counts.lastError = `${error.code}: ${error.message}`.slice(0, 256);
  }

  close(): void {
    for (const subscription of this.#subscriptions.splice(0)) subscription.close();
  }

  #answer(verb: "PING" | "INFO" | "STATS", body: () => object): void {
    const { net, id } = this.#options;
    for (const subject of [`$SRV.${verb}`, `$SRV.${verb}.${SERVICE_NAME}`, `$SRV.${verb}.${SERVICE_NAME}.${id}`])
      this.#subscriptions.push(
        net.subscribe(subject, (message) => {
          if (isReplySubjectPermitted(message.reply))
            net.publish(message.reply, encoder.encode(JSON.stringify(body())));
        }),
      );
  }

  #body(kind: "ping" | "info" | "stats", fields: object): object {
    const { config, id, term } = this.#options;
    const metadata = { region: config.region, shard: config.shard, peer: config.peerId, term: String(term) };
    return {
      type: `io.nats.micro.v1.${kind}_response`,
      name: SERVICE_NAME,
      id,
      version: RELEASE_VERSION,
      metadata,
      ...fields,
    };
  }

  #info(): object {
    const endpoints = VERBS.map((verb) => ({ ...this.#endpoint(verb), metadata: null }));
    return this.#body("info", { description: "Resource leases of one shard, answered by its leader", endpoints });
  }

  #stats(): object {
    const endpoints = VERBS.map((verb) => {
      const counts = this.#counts.get(verb);
      const requests = counts?.requests ?? 0;
      const processing = Math.round((counts?.processingMs ?? 0) * 1e6);
      return {
        ...this.#endpoint(verb),
        num_requests: requests,
        num_errors: counts?.errors ?? 0,
        last_error: counts?.lastError ?? "",
        processing_time: processing,
        average_processing_time: requests === 0 ? 0 : Math.round(processing / requests),
      };
    });
    return this.#body("stats", { started: this.#started, endpoints });
  }

  #endpoint(verb: Verb): object {
    return { name: verb, subject: rpcSubject(this.#options.config.shard, verb, "*"), queue_group: "" };
  }
}
