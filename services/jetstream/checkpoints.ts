/** The checkpoints of a shard's followers, as the bucket has them. */
import type { NatsConnection } from "@nats-io/transport-node";
import { OperatingError } from "../../contracts/errors.ts";
import type { KvEntry, KvOutcome } from "../../contracts/ports.ts";
import { SinkCheckpoint } from "../../contracts/sinks.ts";
import { CHECKPOINT_BUCKET, checkpointKey } from "../../contracts/subjects.ts";
import { API_CODES, apiFailure, askApiAsync, asRecord } from "./api.ts";
import { Inbox } from "./inbox.ts";
import { NatsKv } from "./nats-kv.ts";

export interface FollowerCheckpoint {
  readonly follower: string;
  readonly shard: string;
  /** Revision of the entry: what a change of it must be conditional on. */
  readonly revision: number;
  /** undefined when the entry is no checkpoint. */
  readonly checkpoint: SinkCheckpoint | undefined;
}

const PREFIX = `$KV.${CHECKPOINT_BUCKET}.`;
const decoder = new TextDecoder();

/**
 * By shard and follower. Empty where there is no bucket yet.
 * Throws: OperatingError, what JetStream answers.
 */
export async function readCheckpoints(
  connection: NatsConnection,
  region: string,
  shards: readonly string[],
): Promise<readonly FollowerCheckpoint[]> {
  const inbox = new Inbox(connection);
  const kv = new NatsKv(connection, CHECKPOINT_BUCKET);
  try {
    const filter = `${PREFIX}${checkpointKey("*", region, "*")}`;
    const answer = await askApiAsync(inbox, `STREAM.INFO.KV_${CHECKPOINT_BUCKET}`, { subjects_filter: filter });
    if (answer.kind === "api_error" && answer.error.errCode === API_CODES.streamMissing) return [];
    if (answer.kind !== "ok") throw apiFailure(answer, "listing the checkpoints", true);
    const keys = Object.keys(asRecord(asRecord(answer.value["state"])["subjects"])).map((subject) =>
      subject.slice(PREFIX.length).split("."),
    );
    const wanted = keys.filter(([, , shard = ""]) => shards.includes(shard));
    const read = await Promise.all(
      wanted.map(async ([follower = "", , shard = ""]) => {
        const entry = await getEntry(kv, checkpointKey(follower, region, shard));
        return entry === undefined
          ? []
          : [{ follower, shard, revision: entry.revision, checkpoint: parse(entry.value) }];
      }),
    );
    const order = ({ shard, follower }: FollowerCheckpoint): string => `${shard} ${follower}`;
    return read.flat().sort((a, b) => (order(a) < order(b) ? -1 : 1));
  } finally {
    kv.close();
    inbox.close();
  }
}

async function getEntry(kv: NatsKv, key: string): Promise<KvEntry | undefined> {
  const outcome = await new Promise<KvOutcome<KvEntry | undefined>>((resolve) => kv.get(key, resolve));
  if (outcome.kind === "ok") return outcome.value;
  if (outcome.kind === "failed") throw outcome.error;
  throw new OperatingError("jetstream_error", `reading ${key}: a conflict`, { definite: true });
}

function parse(value: Uint8Array): SinkCheckpoint | undefined {
  try {
    const parsed = SinkCheckpoint.safeParse(JSON.parse(decoder.decode(value)));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined; // no JSON: nobody's checkpoint
  }
}
