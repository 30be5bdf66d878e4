/** Who leads the shard, by the leader's own beats, heard from every server: what faults aim at, and what the timeline shows. */
import type { NatsConnection } from "@nats-io/transport-node";
import { Beat } from "../../contracts/replies.ts";
import { beatSubscription } from "../../contracts/subjects.ts";

/** The first beat of a term. */
export interface LeaderChange {
  readonly term: number;
  readonly leader: string;
  readonly atNs: bigint;
}

export class Leadership {
  readonly changes: LeaderChange[] = [];

  constructor(connections: readonly NatsConnection[], shard: string) {
    for (const connection of connections)
      connection.subscribe(beatSubscription(shard), {
        callback: (error, message) => {
          if (error === null) this.#heard(Beat.parse(message.json()));
        },
      });
  }

  /** Peer id of who began the newest term that was heard of; undefined before the first. */
  get leader(): string | undefined {
    return this.changes.at(-1)?.leader;
  }

  #heard({ term, leader }: Beat): void {
    if (term > (this.changes.at(-1)?.term ?? 0)) this.changes.push({ term, leader, atNs: process.hrtime.bigint() });
  }
}
