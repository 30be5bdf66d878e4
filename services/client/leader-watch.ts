/** The beats of the shard's leader, from which a client learns that another one leads: separate because it is only ever a hint. */
import type { NatsConnection, Subscription } from "@nats-io/transport-node";
import { beatSubscription } from "../../contracts/subjects.ts";
import { crashOnThrow } from "../jetstream/crash.ts";

/** A beat is a few hundred bytes; what is longer is none. */
const BEAT_BYTES_MAX = 4_096;

const decoder = new TextDecoder();

/** Tells the term of every beat. Where the server refuses the subscription nothing is told, and requests wait for their own silence. */
export class LeaderWatch {
  readonly #connection: NatsConnection;
  readonly #subscription: Subscription;

  constructor(connection: NatsConnection, shard: string, heard: (term: number) => void) {
    this.#connection = connection;
    this.#subscription = connection.subscribe(beatSubscription(shard), {
      callback: (error, message) => {
        const term = error === null ? termOf(message.data) : undefined;
        if (term !== undefined) crashOnThrow(() => heard(term));
      },
    });
  }

  close(): void {
    if (!this.#connection.isClosed()) this.#subscription.unsubscribe();
  }
}

/** The term in a beat; undefined for anything else, which anybody may have published. */
function termOf(payload: Uint8Array): number | undefined {
  if (payload.length > BEAT_BYTES_MAX) return undefined;
  try {
    const beat: unknown = JSON.parse(decoder.decode(payload));
    const term = typeof beat === "object" && beat !== null && "term" in beat ? beat.term : undefined;
    return Number.isSafeInteger(term) ? (term as number) : undefined;
  } catch {
    return undefined;
  }
}
