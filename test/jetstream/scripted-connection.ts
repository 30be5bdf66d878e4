/** A connection without a server: the test says what arrives and when the link breaks, and sees what is published. */
import type { Msg, NatsConnection, Status, SubscriptionOptions } from "@nats-io/transport-node";

interface Published {
  readonly subject: string;
  readonly reply: string;
  readonly text: string;
}

interface Subscribed {
  readonly subject: string;
  readonly callback: NonNullable<SubscriptionOptions["callback"]>;
  isOpen: boolean;
}

export interface Arrival {
  readonly subject: string;
  readonly reply?: string;
  readonly headers?: string;
  readonly text?: string;
}

const encoder = new TextEncoder();

export class ScriptedConnection {
  readonly published: Published[] = [];
  readonly subscribed: Subscribed[] = [];
  readonly #statuses: Status[] = [];
  #wake: () => void = () => undefined;
  #isClosed = false;

  /** As nats.js would have it. */
  get asNats(): NatsConnection {
    const connection: Pick<NatsConnection, "publish" | "subscribe" | "status" | "isClosed" | "isDraining"> = {
      publish: (subject, payload, options) => {
        const text = typeof payload === "string" ? payload : new TextDecoder().decode(payload ?? new Uint8Array(0));
        this.published.push({ subject, reply: options?.reply ?? "", text });
      },
      subscribe: (subject, options) => {
        const entry: Subscribed = { subject, callback: options?.callback ?? (() => undefined), isOpen: true };
        this.subscribed.push(entry);
        return { unsubscribe: () => this.#unsubscribe(entry) } as ReturnType<NatsConnection["subscribe"]>;
      },
      status: () => this.#status(),
      isClosed: () => this.#isClosed,
      isDraining: () => false,
    };
    return connection as NatsConnection;
  }

  /** Gives a message to a subscription, open or not: what was on its way still arrives. */
  arrive(subscription: Subscribed, { subject, reply = "", headers = "", text = "" }: Arrival): void {
    const header = encoder.encode(headers);
    const data = encoder.encode(text);
    const raw = Buffer.concat([header, data]);
    const message = { subject, reply, data, _msg: { hdr: header.length === 0 ? -1 : header.length }, _rdata: raw };
    void subscription.callback(null, message as unknown as Msg);
  }

  /** Answers the newest request on a subject. */
  answer(subject: string, body: object): void {
    const request = this.published.findLast((each) => each.subject.startsWith(subject));
    if (request === undefined) throw new Error(`nobody has asked ${subject}`);
    const prefix = request.reply.slice(0, request.reply.lastIndexOf("."));
    const inbox = this.subscribed.find((each) => each.subject === `${prefix}.*`);
    if (inbox === undefined) throw new Error(`nobody listens on ${prefix}.*`);
    this.arrive(inbox, { subject: request.reply, text: JSON.stringify(body) });
  }

  /** Requests sent to a subject, with their JSON. */
  requests(subject: string): readonly { readonly subject: string; readonly body: Readonly<Record<string, unknown>> }[] {
    return this.published
      .filter((each) => each.subject.startsWith(subject))
      .map((each) => ({ subject: each.subject, body: each.text === "" ? {} : JSON.parse(each.text) }));
  }

  /** Lets a status event reach its listeners. */
  async tell(status: Status): Promise<void> {
    this.#statuses.push(status);
    this.#wake();
    for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wake();
    for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
  }

  #unsubscribe(entry: Subscribed): void {
    entry.isOpen = false;
  }

  async *#status(): AsyncGenerator<Status> {
    while (!this.#isClosed) {
      const status = this.#statuses.shift();
      if (status !== undefined) yield status;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}
