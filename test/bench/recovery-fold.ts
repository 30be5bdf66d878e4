/**
 * A process that builds a shard's state and says how long it took: `node recovery-fold.ts <request as JSON>`. From the log alone, or from
 * the snapshot of a data folder and what stands behind it. A process of its own, so that nothing is warm and nothing else is in its heap.
 */
import type { Clock, Reporter } from "../../contracts/ports.ts";
import { stateHash } from "../../services/core/hash.ts";
import { NODE_TIMES } from "../../services/dispatcher/node/node-config.ts";
import { Replica } from "../../services/dispatcher/node/replica.ts";
import { ShardSnapshots } from "../../services/dispatcher/shard-snapshots.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { JetStreamLog } from "../../services/jetstream/jetstream-log.ts";
import { SnapshotThread } from "../../services/persistence/mod.ts";
import { createClock } from "../../services/runtime/clock.ts";

export interface FoldRequest {
  readonly url: string;
  readonly region: string;
  readonly shard: string;
  readonly peerId: string;
  readonly logId: string;
  /** The last message to fold. */
  readonly streamSequence: number;
  /** Data folder with the snapshot; absent: from the log's beginning. */
  readonly dataDir?: string | undefined;
}

export interface Folded {
  /** From the moment the replica was told to begin, to the last frame. ms. */
  readonly elapsedMs: number;
  /** The part until the snapshot was adopted, if there was one. ms. */
  readonly loadMs: number;
  readonly sequence: number;
  readonly hash: string;
  readonly rssMiB: number;
  /** Processor time of the whole process. ms. */
  readonly cpuMs: number;
}

const request = JSON.parse(process.argv[2] ?? "") as FoldRequest;

const complain = (event: string, fields?: object): void =>
  void process.stderr.write(`${event} ${JSON.stringify(fields)}\n`);
const reporter: Reporter = { info: () => {}, warn: complain, error: complain };

async function fold(clock: Clock): Promise<Folded> {
  const { url, region, shard, peerId, logId, streamSequence, dataDir } = request;
  const connection = await connectNats({ servers: url, name: "bench fold" });
  const log = new JetStreamLog(connection, { region, shard });
  const local = dataDir === undefined ? undefined : await SnapshotThread.open(dataDir);
  const isLeading = (): boolean => false;
  const snapshots =
    local && new ShardSnapshots({ region, shard, logId, clock, reporter, local, remote: local, isLeading });
  let loadMs = 0;
  const startMs = clock.monotonicMs();
  const folded = await new Promise<Pick<Folded, "elapsedMs" | "sequence" | "hash">>((resolve, reject) => {
    const settle = (): void => {
      if (replica.streamSequence !== streamSequence) return;
      const elapsedMs = clock.monotonicMs() - startMs;
      resolve({ elapsedMs, sequence: replica.state.sequence, hash: stateHash(replica.state) });
      // What stands behind it is the term of a dispatcher that was measured before.
      replica.close();
    };
    const replica = new Replica({
      config: { ...NODE_TIMES, region, shard, peerId, logId },
      ...{ log, clock, reporter, snapshots },
      onFrame: settle,
      onHalt: ({ message }) => reject(new Error(message)),
      onTrimmed: () => reject(new Error("the log was trimmed under the benchmark")),
      onShown: () => reject(new Error("the snapshot is ahead of the log")),
    });
    replica.rebuild(() => {
      loadMs = clock.monotonicMs() - startMs;
      settle();
    });
  });
  log.close();
  await local?.close();
  await connection.close();
  const { user, system } = process.cpuUsage();
  const rssMiB = Math.round(process.memoryUsage.rss() / 2 ** 20);
  const cpuMs = (user + system) / 1_000;
  return { ...folded, loadMs, rssMiB, cpuMs };
}

process.stdout.write(`${JSON.stringify(await fold(createClock()))}\n`);
