/** Holds leases by raw requests, keeps some alive and lets others run out, and notes every answer, also those that come late. */
import { createInbox, type NatsConnection } from "@nats-io/transport-node";

const RETRY_MS = 150;
const HEARTBEAT_MS = 1_000;
const PRINCIPAL = "holder";

interface ErrorBody {
  readonly code: string;
  readonly definite: boolean;
}
interface LeaseRef {
  readonly itemId: string;
  readonly token: number;
}
interface Reply {
  readonly term?: number;
  readonly sequence?: number;
  readonly error?: ErrorBody;
  readonly leases?: readonly LeaseRef[];
  readonly results?: readonly { readonly error?: ErrorBody }[];
}

/** Every lease that is kept lives until `stop`, so whoever refuses it definitely is wrong. */
export class LeaseHolder {
  /** Tokens of every lease that any answer has granted. */
  readonly granted = new Set<number>();
  /** What each ok answer cites. */
  readonly cited: { readonly term: number; readonly sequence: number }[] = [];
  /** Definite refusals of requests that nothing is wrong with. */
  readonly refusals: string[] = [];
  readonly #connection: NatsConnection;
  readonly #durationMs: number;
  readonly #inbox = createInbox();
  readonly #open = new Map<string, { readonly timer: NodeJS.Timeout; readonly resolve: (reply: Reply) => void }>();
  /** As they were taken: each group beats by itself, for a leader that knows none of a group refuses it as a whole. */
  readonly #kept: (readonly LeaseRef[])[] = [];
  #count = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(connection: NatsConnection, durationMs: number) {
    this.#connection = connection;
    this.#durationMs = durationMs;
    connection.subscribe(`${this.#inbox}.*`, {
      callback: (_error, message) => this.#answered(message.subject.slice(this.#inbox.length + 1), message.string()),
    });
  }

  /** Beats for the kept leases, whether earlier beats are answered or not. */
  start(): void {
    this.#timer = setInterval(() => {
      for (const leases of this.#kept) void this.#ask("heartbeat", { leases });
    }, HEARTBEAT_MS);
  }

  /** Takes so many leases, asking the same until they are granted. */
  async take(maxItems: number, isKept: boolean): Promise<void> {
    this.#count += 1;
    const requestId = `take-${this.#count}`;
    const { leases = [] } = await this.#ask("lease", { maxItems, leaseDurationMs: this.#durationMs, requestId });
    if (leases.length !== maxItems) throw new Error(`${leases.length} leases instead of ${maxItems}`);
    if (isKept) this.#kept.push(leases.map(({ itemId, token }) => ({ itemId, token })));
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const { timer } of this.#open.values()) clearTimeout(timer);
    this.#open.clear();
  }

  /** Resolves with the first ok answer; repeats until there is one. */
  #ask(verb: string, body: object): Promise<Reply> {
    this.#count += 1;
    const id = `${verb}-${this.#count}`;
    const payload = JSON.stringify(body);
    return new Promise((resolve) => {
      const send = (): void => {
        this.#connection.publish(`resourcelease.default.${verb}.${PRINCIPAL}`, payload, {
          reply: `${this.#inbox}.${id}`,
        });
        this.#open.set(id, { timer: setTimeout(send, RETRY_MS), resolve });
      };
      send();
    });
  }

  #answered(id: string, text: string): void {
    if (text === "") return; // no responders
    const reply = JSON.parse(text) as Reply;
    for (const { error } of [reply, ...(reply.results ?? [])])
      if (error?.definite === true) this.refusals.push(`${id}: ${error.code}`);
    if (reply.error !== undefined) return;
    this.cited.push({ term: reply.term ?? 0, sequence: reply.sequence ?? 0 });
    for (const { token } of reply.leases ?? []) this.granted.add(token);
    const open = this.#open.get(id);
    clearTimeout(open?.timer);
    this.#open.delete(id);
    open?.resolve(reply);
  }
}
