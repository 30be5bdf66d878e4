/** The parking stream: events that a sink refused for good, each once, with the reason, for a person to look at. */
import type { NatsConnection } from "@nats-io/transport-node";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import { OperatingError } from "../../contracts/errors.ts";
import { parkedStream, parkedSubject } from "../../contracts/subjects.ts";
import { API_CODES, apiFailure, askApiAsync, publishAsync } from "../jetstream/api.ts";
import { headerBlock } from "../jetstream/header-block.ts";
import { Inbox } from "../jetstream/inbox.ts";
import { storedMessage } from "../jetstream/stored-message.ts";
import type { SinkScope } from "./sink.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** Characters of a reason that are kept. */
const REASON_LENGTH_MAX = 2_000;
const NS_PER_MS = 1_000_000;
/** Codes of a server that has no such message, or no such stream. */
const NOTHING: ReadonlySet<number> = new Set([API_CODES.noMessage, API_CODES.streamMissing]);

export class Parking {
  readonly #inbox: Inbox;
  readonly #replicas: number;
  readonly #known = new Set<string>();

  /** `replicas` of streams that are made. The connection stays the caller's. */
  constructor(connection: NatsConnection, replicas: number) {
    this.#inbox = new Inbox(connection);
    this.#replicas = replicas;
  }

  /** Resolves when the event is stored; one that is parked already stays as it is. Throws: what JetStream answers. */
  async park(scope: SinkScope, event: ReplicationEvent, reason: OperatingError): Promise<void> {
    const { region, shard, sink, logId } = scope;
    await this.#ensure(region, shard);
    const subject = parkedSubject({ region, shard, sink, logId, sequence: event.sequenceNumber });
    const message = reason.message.slice(0, REASON_LENGTH_MAX);
    const body = { sink, reason: { code: reason.code, message }, event };
    // One event has one subject, so storing it twice fails instead of doubling it.
    const headers = headerBlock([{ name: "Nats-Expected-Last-Subject-Sequence", value: "0" }]);
    const outcome = await publishAsync(this.#inbox, subject, encoder.encode(JSON.stringify(body)), headers);
    if (outcome.kind === "ok") return;
    const errCode = outcome.kind === "api_error" ? outcome.error.errCode : 0;
    if (errCode === API_CODES.wrongLastSequence || errCode === API_CODES.wrongLastSequenceUnknown) return;
    // The stream may have been removed: it is made anew with the next try.
    this.#known.delete(parkedStream(region, shard));
    throw apiFailure(outcome, `parking event ${event.sequenceNumber} of shard ${shard} for the sink ${sink}`, false);
  }

  close(): void {
    this.#inbox.close();
  }

  async #ensure(region: string, shard: string): Promise<void> {
    const name = parkedStream(region, shard);
    if (this.#known.has(name)) return;
    const config = {
      name,
      description: "OmniRelay events that a sink refused",
      subjects: [`omnirelay.parked.${region}.${shard}.>`],
      retention: "limits",
      storage: "file",
      discard: "new",
      num_replicas: this.#replicas,
      duplicate_window: 120_000 * NS_PER_MS,
      allow_direct: true,
    };
    const created = await askApiAsync(this.#inbox, `STREAM.CREATE.${name}`, config);
    const isThere = created.kind === "api_error" && created.error.errCode === API_CODES.streamNameInUse;
    if (created.kind !== "ok" && !isThere) throw apiFailure(created, `making the stream ${name}`, false);
    this.#known.add(name);
  }
}

/** A parked event as it is stored. */
export interface ParkedEvent {
  readonly sink: string;
  readonly reason: { readonly code: string; readonly message: string };
  readonly event: ReplicationEvent;
}

/**
 * The parked events of a sink, oldest first, at most `limit`. Empty where nothing was ever parked.
 * Throws: OperatingError, what JetStream answers.
 */
export async function* parkedEvents(
  connection: NatsConnection,
  { region, shard, sink }: { readonly region: string; readonly shard: string; readonly sink: string },
  limit: number,
): AsyncGenerator<ParkedEvent> {
  const inbox = new Inbox(connection);
  const stream = parkedStream(region, shard);
  const filter = `omnirelay.parked.${region}.${shard}.${sink}.>`;
  try {
    for (let next = 1, count = 0; count < limit; count += 1) {
      const answer = await askApiAsync(inbox, `STREAM.MSG.GET.${stream}`, { seq: next, next_by_subj: filter });
      if (answer.kind === "api_error" && NOTHING.has(answer.error.errCode)) return;
      if (answer.kind !== "ok") throw apiFailure(answer, `reading ${stream}`, true);
      const message = storedMessage(answer.value);
      if (message === undefined)
        throw new OperatingError("jetstream_error", `reading ${stream}: the answer has not the expected shape`, {
          definite: true,
        });
      yield JSON.parse(decoder.decode(message.payload)) as ParkedEvent;
      next = message.streamSequence + 1;
    }
  } finally {
    inbox.close();
  }
}
