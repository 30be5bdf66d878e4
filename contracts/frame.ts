/** The frame: one JetStream message that holds all events of one group commit, chained to the frame before it. */
import { z } from "zod";
import { Actor, LogEvent } from "./events.ts";
import { ChainValue, LogId, LogTimeMs, PeerId, RegionName, Sequence, ShardName } from "./ids.ts";
import { FRAME_SCHEMA } from "./limits.ts";

/** The chain value before the first frame. */
export const CHAIN_START = "";

export const Frame = z
  .strictObject({
    schema: z.literal(FRAME_SCHEMA),
    logId: LogId,
    region: RegionName,
    shard: ShardName,
    term: z.int().min(0).describe("Term of the writer; 0 for the frame that creates the log."),
    writer: PeerId.describe("Peer id of the process that wrote it."),
    append: z.string().min(1).max(64).describe("Unique per frame: process incarnation and counter."),
    first: z.int().min(1).describe("Event sequence of events[0]; of an empty frame: of the event to come."),
    count: z.int().min(0),
    at: LogTimeMs.describe("Log time of all its events. ms."),
    prev: ChainValue.describe("Chain value of the frame before: SHA-256 of its payload."),
    pending: z.int().min(0),
    active: z.int().min(0),
    actors: z.array(Actor),
    events: z.array(LogEvent),
  })
  .refine((frame) => frame.count === frame.events.length, {
    error: "count must be the number of events",
    path: ["count"],
  });
export type Frame = Readonly<z.infer<typeof Frame>>;

/** Who caused an event of a frame; undefined for what the leader does by itself. */
export function actorOf(event: LogEvent, { actors }: Pick<Frame, "actors">): Actor | undefined {
  return "actor" in event && event.actor !== undefined ? actors[event.actor] : undefined;
}

/** A place in a log: everything a reader needs to go on from there. */
export const LogPosition = z.strictObject({
  logId: LogId,
  streamSequence: Sequence,
  sequence: Sequence,
  chain: ChainValue,
});
export type LogPosition = Readonly<z.infer<typeof LogPosition>>;
