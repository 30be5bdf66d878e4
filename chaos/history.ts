/** What a shard's log says happened: read strictly from its first frame, for comparing with what callers were told. */
import type { NatsConnection } from "@nats-io/transport-node";
import type { EventOf, EventType, LogEvent } from "../contracts/events.ts";
import { LogReader } from "../services/core/log-reader.ts";
import { readLogMessages } from "../services/jetstream/read-log.ts";
import { chainOf } from "../services/runtime/frame-codec.ts";

const REGION = "local";
const SHARD = "default";

/** An event with its place in the log. */
export interface PlacedEvent<E extends LogEvent = LogEvent> {
  readonly event: E;
  readonly sequence: number;
  readonly term: number;
  /** Log time of its frame. ms. */
  readonly at: number;
}

export class History {
  readonly events: readonly PlacedEvent[];

  constructor(events: readonly PlacedEvent[]) {
    this.events = events;
  }

  /** Throws when the log is not whole from its first frame on. */
  static async read(connection: NatsConnection): Promise<History> {
    const reader = new LogReader({ region: REGION, shard: SHARD, logId: "", hashOf: chainOf, strict: true });
    const placed: PlacedEvent[] = [];
    for await (const message of readLogMessages(connection, { region: REGION, shard: SHARD })) {
      const verdict = reader.classify(message);
      if (verdict.kind === "halt") throw new Error(`the log is not whole: ${verdict.code}: ${verdict.message}`);
      if (verdict.kind === "void") continue;
      const { frame, chain } = verdict;
      for (const [index, event] of frame.events.entries())
        placed.push({ event, sequence: frame.first + index, term: frame.term, at: frame.at });
      reader.advance(frame, chain);
    }
    return new History(placed);
  }

  of<T extends EventType>(type: T): readonly PlacedEvent<EventOf<T>>[] {
    return this.events.filter((placed): placed is PlacedEvent<EventOf<T>> => placed.event.type === type);
  }

  /** Term of the event with this sequence; undefined when the log has none. */
  termAt(sequence: number): number | undefined {
    return this.events[sequence - 1]?.term;
  }

  /** Acknowledged items (call, item id) that were never enqueued, and calls that were enqueued more than once. */
  compareEnqueued(acknowledged: ReadonlyMap<string, string>): { readonly lost: number; readonly doubled: number } {
    const items = new Map(this.of("enqueued").map(({ event }) => [event.itemId, event.item.resourceId]));
    const calls = countBy([...items.values()]);
    return {
      lost: [...acknowledged].filter(([call, itemId]) => items.get(itemId) !== call).length,
      doubled: [...calls.values()].filter((count) => count > 1).length,
    };
  }

  /** Item ids whose completion was acknowledged but is not there, and items that were completed more than once. */
  compareCompleted(acknowledged: ReadonlySet<string>): { readonly lost: number; readonly doubled: number } {
    const counts = countBy(this.of("completed").map(({ event }) => event.itemId));
    return {
      lost: [...acknowledged].filter((itemId) => !counts.has(itemId)).length,
      doubled: [...counts.values()].filter((count) => count > 1).length,
    };
  }
}

function countBy(keys: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}
