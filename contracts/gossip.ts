/** What dispatchers tell each other about themselves: health and load, never anything that safety rests on. */
import { z } from "zod";
import { PeerId, Sequence, ShardName } from "./ids.ts";

/** A dispatcher's word on `omnirelay.gossip.<region>.<principal>`, on its own clock whether there is work or not. */
export const Gossip = z.looseObject({
  peer: PeerId,
  role: z.literal("dispatcher"),
  /** Whether it is letting go of its shards and must not be given any. */
  stopping: z.boolean().default(false),
  shards: z.array(
    z.looseObject({
      shard: ShardName,
      /** Whether it leads, follows closely enough to take over, or neither. */
      part: z.enum(["leads", "follows", "absent"]),
      term: z.int().min(0),
      sequence: Sequence,
    }),
  ),
});
export type Gossip = z.infer<typeof Gossip>;
