/** Places in a log, compared: what a sink that keeps its own place decides with. */
import type { ReplicationEvent } from "../../../contracts/envelope.ts";
import type { Checkpoint } from "../../../contracts/followers.ts";

/** Whether a place is behind another one. Frames without events move a place too. */
export function isBehind(place: Checkpoint, other: Checkpoint): boolean {
  if (place.sequence !== other.sequence) return place.sequence < other.sequence;
  return place.streamSequence < other.streamSequence;
}

/** Those of a batch that are newer than a sequence; the batch itself where that is all of it. */
export function eventsBehind(events: readonly ReplicationEvent[], sequence: number): readonly ReplicationEvent[] {
  const [first] = events;
  if (first === undefined || first.sequenceNumber > sequence) return events;
  return events.filter((event) => event.sequenceNumber > sequence);
}

/** The place alone of a checkpoint that may hold more, such as who moves it. */
export function placeIn(checkpoint: Checkpoint): Checkpoint {
  const { logId, streamSequence, sequence, chain, term, at, first, tokenEpoch } = checkpoint;
  return {
    ...{ logId, streamSequence, sequence, chain, term, at },
    ...(first === undefined ? {} : { first }),
    ...(tokenEpoch === undefined ? {} : { tokenEpoch }),
  };
}
