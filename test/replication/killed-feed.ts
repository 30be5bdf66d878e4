/** The events that processes bring which are killed: the same in them and in the test that looks at what they left. */
import type { SinkScope } from "../../services/replication/sink.ts";
import { EventFeed } from "../../services/testing/event-feed.ts";

const SEED = 11;

export const SCOPE: SinkScope = { sink: "killed", region: "eu", shard: "orders", logId: "the-log" };

export const killedFeed = (count: number): EventFeed =>
  new EventFeed({ seed: SEED, count, logId: SCOPE.logId, region: SCOPE.region, shard: SCOPE.shard, stepMs: 60_000 });
