/** Who leads and who follows each shard: what the registry holds and what the dispatchers say of themselves while one listens. */
import type { NatsConnection } from "@nats-io/transport-node";
import type { z } from "zod";
import { Gossip } from "../../contracts/gossip.ts";
import { Beat } from "../../contracts/replies.ts";
import { beatSubject, gossipSubject } from "../../contracts/subjects.ts";
import { registeredShards } from "../jetstream/registered-shards.ts";

/** How long dispatchers are listened to: each speaks twice in that time. ms. */
const LISTEN_MS = 1_200;

interface FollowerSight {
  readonly peer: string;
  readonly sequence: number;
  /** Events between the leader's last word and its own; they are up to half a second apart. */
  readonly behind: number;
  /** Whether it is about to go, so that nothing may be handed to it. */
  readonly stopping: boolean;
}

export interface ShardSight {
  readonly region: string;
  readonly shard: string;
  readonly logId: string;
  /** Peer that was heard leading; null when none was. */
  readonly leader: string | null;
  readonly term: number | null;
  readonly sequence: number | null;
  readonly followers: readonly FollowerSight[];
  /** The leader that the registry remembers; null when it never had one. */
  readonly lastKnown: { readonly leader: string; readonly term: number } | null;
}

/** Every shard that is registered in the region. Throws: OperatingError `registry_missing`, and what JetStream answers. */
export async function surveyShards(connection: NatsConnection, region: string): Promise<readonly ShardSight[]> {
  const listening = new Listening(connection, region);
  try {
    const entries = await registeredShards(connection, region);
    await listening.over;
    return entries
      .map(({ shard, logId, leader, term }) => ({
        ...{ region, shard, logId, ...listening.sightOf(shard) },
        lastKnown: leader === undefined || term === undefined ? null : { leader, term },
      }))
      .sort((left, right) => (left.shard < right.shard ? -1 : 1));
  } finally {
    listening.close();
  }
}

class Listening {
  readonly over: Promise<void>;
  readonly #subscriptions: readonly { unsubscribe(): void }[];
  readonly #connection: NatsConnection;
  readonly #timer: { timer?: NodeJS.Timeout } = {};
  /** By shard. */
  readonly #beats = new Map<string, Beat>();
  /** By peer. */
  readonly #words = new Map<string, Gossip>();

  constructor(connection: NatsConnection, region: string) {
    this.#connection = connection;
    const subscribe = <T>(subject: string, schema: z.ZodType<T>, heard: (value: T, subject: string) => void) =>
      connection.subscribe(subject, {
        callback: (error, message) => {
          const parsed = error === null ? schema.safeParse(parseJson(message.data)) : undefined;
          if (parsed?.success === true) heard(parsed.data, message.subject);
        },
      });
    this.#subscriptions = [
      subscribe(beatSubject(region, "*"), Beat, (beat, subject) => {
        const shard = subject.split(".").at(-1) ?? "";
        if (beat.term >= (this.#beats.get(shard)?.term ?? 0)) this.#beats.set(shard, beat);
      }),
      subscribe(gossipSubject(region, "*"), Gossip, (word) => void this.#words.set(word.peer, word)),
    ];
    this.over = new Promise((resolve) => {
      this.#timer.timer = setTimeout(resolve, LISTEN_MS);
    });
  }

  sightOf(shard: string): Pick<ShardSight, "leader" | "term" | "sequence" | "followers"> {
    const beat = this.#beats.get(shard);
    const words = [...this.#words.values()].flatMap(({ peer, stopping, shards }) =>
      shards.filter((word) => word.shard === shard).map((word) => ({ ...word, peer, stopping })),
    );
    const sequence = Math.max(beat?.sequence ?? 0, ...words.filter(({ part }) => part === "leads").map(sequenceOf));
    const followers = words
      .filter(({ part, peer }) => part === "follows" && peer !== beat?.leader)
      .map((word) => ({
        ...{ peer: word.peer, sequence: word.sequence, stopping: word.stopping },
        behind: beat === undefined ? 0 : Math.max(0, sequence - word.sequence),
      }))
      .sort((left, right) => (left.peer < right.peer ? -1 : 1));
    if (beat === undefined) return { leader: null, term: null, sequence: null, followers };
    return { leader: beat.leader, term: beat.term, sequence, followers };
  }

  close(): void {
    clearTimeout(this.#timer.timer);
    if (!this.#connection.isClosed()) for (const subscription of this.#subscriptions) subscription.unsubscribe();
  }
}

const sequenceOf = ({ sequence }: { readonly sequence: number }): number => sequence;

function parseJson(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(payload));
  } catch {
    return undefined; // anybody may publish here
  }
}
