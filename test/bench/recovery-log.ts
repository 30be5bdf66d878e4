/** Writes a shard's log for the recovery benchmark through the production core, frame by frame, and a snapshot near its end. */
import assert from "node:assert/strict";
import type { RequestOf, ShardCommand } from "../../contracts/commands.ts";
import { logSubject } from "../../contracts/subjects.ts";
import { applyFrame } from "../../services/core/apply.ts";
import { execute } from "../../services/core/execute.ts";
import { stateHash } from "../../services/core/hash.ts";
import { LogReader } from "../../services/core/log-reader.ts";
import { SnapshotCut } from "../../services/core/snapshot-cut.ts";
import { createState, type ShardState } from "../../services/core/state.ts";
import { startTerm } from "../../services/core/term.ts";
import { OpenFrame, type SealedFrame } from "../../services/dispatcher/node/open-frame.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { JetStreamLog } from "../../services/jetstream/jetstream-log.ts";
import { provisionShard } from "../../services/jetstream/provision.ts";
import { SnapshotThread } from "../../services/persistence/mod.ts";
import { chainOf } from "../../services/runtime/frame-codec.ts";
import { createIds } from "../../services/runtime/ids.ts";

/** `life`: items are enqueued, leased and completed, and some of each kind are left. `pending`: nothing but enqueues. */
export type Mix = "life" | "pending";

export interface LogPlan {
  readonly url: string;
  readonly region: string;
  readonly shard: string;
  /** The leader in the log, and the dispatcher that is started on it. */
  readonly peerId: string;
  readonly events: number;
  readonly mix: Mix;
  /** Where the snapshot goes: the data folder of that dispatcher. */
  readonly dataDir: string;
  /** Share of the events that the snapshot covers. */
  readonly snapshotAt: number;
  readonly progress: (line: string) => void;
}

export interface WrittenLog {
  readonly logId: string;
  readonly sequence: number;
  readonly streamSequence: number;
  readonly payloadBytes: number;
  readonly hash: string;
  readonly counts: Readonly<Record<"pending" | "active" | "deadLettered" | "records", number>>;
  readonly snapshot: { readonly sequence: number; readonly textBytes: number; readonly bytes: number };
}

const EVENTS_PER_FRAME = 100;
/** Log time between two frames. ms. */
const FRAME_MS = 5;
const APPEND_TIMEOUT_MS = 10_000;
const PROGRESS_FRAMES = 2_000;
const SLICE_RECORDS = 1_000;

export async function writeLog(plan: LogPlan): Promise<WrittenLog> {
  const { url, region, shard, peerId } = plan;
  const connection = await connectNats({ servers: url, name: "bench log" });
  const ids = createIds();
  const frames = Math.ceil(plan.events / EVENTS_PER_FRAME);
  const startsAt = Date.now() - (frames + 10) * FRAME_MS;
  const { logId } = await provisionShard(connection, {
    ...{ region, shard, replicas: 1, maxBytes: -1, writer: peerId, at: startsAt },
    options: { pendingHigh: 10_000_000, bodyBytesHigh: 4_000_000_000, leasesPerPeerMax: 1_000_000 },
    newLogId: () => ids.id("log"),
  });
  const log = new JetStreamLog(connection, { region, shard });
  try {
    const writer = new LogWriter(plan, logId, log);
    await writer.begin();
    const load = plan.mix === "life" ? new Life(plan.events) : new Pending();
    let snapshot: WrittenLog["snapshot"] | undefined;
    for (let frame = 1; frame <= frames; frame += 1) {
      await writer.frame(startsAt + frame * FRAME_MS, (open) => load.fill(writer.state, open));
      if (frame % PROGRESS_FRAMES === 0) plan.progress(`${frame * EVENTS_PER_FRAME} events written`);
      if (snapshot === undefined && frame >= Math.floor(frames * plan.snapshotAt)) snapshot = await writer.snapshot();
    }
    assert(snapshot !== undefined);
    return { ...writer.written(), snapshot };
  } finally {
    log.close();
    await connection.close();
  }
}

/** The leader of the log that is written: one frame at a time, each on the condition that the one before is the last. */
class LogWriter {
  readonly state: ShardState = createState();
  readonly #plan: LogPlan;
  readonly #log: JetStreamLog;
  readonly #reader: LogReader;
  #streamSequence = 0;
  #payloadBytes = 0;

  constructor(plan: LogPlan, logId: string, log: JetStreamLog) {
    this.#plan = plan;
    this.#log = log;
    this.#reader = new LogReader({ region: plan.region, shard: plan.shard, logId, hashOf: chainOf });
  }

  /** Takes over the first frame and starts a term. */
  async begin(): Promise<void> {
    const first = await new Promise<SealedFrame>((resolve, reject) =>
      this.#log.read(1, APPEND_TIMEOUT_MS, (outcome) => {
        const verdict = outcome.kind === "found" ? this.#reader.classify(outcome.message) : undefined;
        if (verdict?.kind !== "frame" || outcome.kind !== "found") reject(new Error("the log has no first frame"));
        else resolve({ frame: verdict.frame, payload: outcome.message.payload, chain: verdict.chain });
      }),
    );
    applyFrame(this.state, first.frame);
    this.#took(first, 1);
    await this.frame(this.state.at, (open) =>
      startTerm(this.state, { term: 1, leader: this.#plan.peerId, tokenEpoch: 0 }, open.head, open),
    );
  }

  async frame(at: number, fill: (open: OpenFrame) => void): Promise<void> {
    const { region, shard, peerId } = this.#plan;
    const { state } = this;
    const { logId, tip } = this.#reader;
    const append = `bench-${this.#streamSequence}`;
    const first = state.sequence + 1;
    const head = { logId, region, shard, term: 1, writer: peerId, append, first, at, prev: tip.chain };
    const open = new OpenFrame(head);
    fill(open);
    const sealed = open.seal(state.pending, state.active);
    const streamSequence = await this.#append(sealed);
    this.#took(sealed, streamSequence);
  }

  /** Cuts the state and publishes it in the data folder, as a dispatcher's worker thread does. */
  async snapshot(): Promise<WrittenLog["snapshot"]> {
    const { region, shard, dataDir } = this.#plan;
    const { tip } = this.#reader;
    const { state } = this;
    const store = await SnapshotThread.open(dataDir);
    try {
      const writer = store.begin();
      const cut = new SnapshotCut(state);
      for (let text = cut.next(SLICE_RECORDS); text !== undefined; text = cut.next(SLICE_RECORDS))
        await writer.write(text);
      const { logId, logVersion, sequence } = state;
      const { chain, term, first, at } = tip;
      const info = await writer.publish({
        ...{ region, shard, logId, logVersion, streamSequence: this.#streamSequence, sequence, chain, term, first, at },
        ...{ hash: cut.hash, createdAtMs: Date.now() },
      });
      return { sequence, textBytes: info.textBytes, bytes: info.bytes };
    } finally {
      await store.close();
    }
  }

  written(): Omit<WrittenLog, "snapshot"> {
    const { logId, sequence, pending, active, deadLettered, records } = this.state;
    return {
      ...{ logId, sequence, streamSequence: this.#streamSequence, payloadBytes: this.#payloadBytes },
      hash: stateHash(this.state),
      counts: { pending, active, deadLettered, records: records.size },
    };
  }

  #append({ payload, chain }: SealedFrame): Promise<number> {
    return new Promise((resolve, reject) =>
      this.#log.append(payload, chain, this.#streamSequence, APPEND_TIMEOUT_MS, (outcome) => {
        if (outcome.kind === "acked") resolve(outcome.streamSequence);
        else reject(new Error(`a frame was not taken by ${logSubject(this.#plan.region, this.#plan.shard)}`));
      }),
    );
  }

  #took({ frame, payload, chain }: SealedFrame, streamSequence: number): void {
    this.#reader.advance(frame, chain);
    this.#streamSequence = streamSequence;
    this.#payloadBytes += payload.byteLength;
  }
}

interface Load {
  fill(state: ShardState, open: OpenFrame): void;
}

const BODY_REST = "x".repeat(180);
/** 250 bytes of JSON, as in the other benchmarks. */
const bodyOf = (index: number): string =>
  JSON.stringify({ table: `db.orders.${index}`, partition: "p1", rows: BODY_REST });

/** Requests as the SDK sends them: with an id of their own. */
class Requests {
  readonly #ids = createIds();
  #items = 0;

  enqueue(state: ShardState, open: OpenFrame, count: number): void {
    const items = Array.from({ length: count }, () => this.#item());
    const request = { items, requestId: this.newId() };
    this.run(state, open, { verb: "enqueue", request }, `seeder-${this.#items % 4}`);
  }

  newId(): string {
    return this.#ids.id("request");
  }

  run(state: ShardState, open: OpenFrame, command: ShardCommand, principal: string): object {
    const context = { at: open.head.at, principal, peerId: principal, frameBytesLeft: open.bytesLeft };
    const outcome = execute(state, command, context, open);
    assert(outcome.reply !== undefined, `${command.verb} was refused: ${JSON.stringify(outcome.error)}`);
    return outcome.reply;
  }

  /** One item in sixteen waits for others of its partition. */
  #item(): RequestOf<"enqueue">["items"][number] {
    this.#items += 1;
    const index = this.#items;
    const resource = { resourceType: `table-${index % 8}`, resourceId: `db.orders.${index}`, body: bodyOf(index) };
    if (index % 16 !== 0) return resource;
    return { ...resource, exclusivity: "partition", partitionKey: `p-${(index * 7) % 40_000}` };
  }
}

class Pending implements Load {
  readonly #requests = new Requests();

  fill(state: ShardState, open: OpenFrame): void {
    this.#requests.enqueue(state, open, EVENTS_PER_FRAME);
  }
}

/** Items that wait and leases that are held once the log has run in: at most so many, and so small a share of the events. */
const BACKLOG = { most: 20_000, share: 0.02 };
const HELD = { most: 5_000, share: 0.005 };
const REQUEST_ENTRIES_MAX = 40;
const WORKERS = 8;

/** Of 320 settlements eight fail and are tried again, one dead-letters, four give back, and the others complete. */
class Life implements Load {
  readonly #requests = new Requests();
  readonly #backlog: number;
  readonly #held: number;
  readonly #leases: { readonly worker: string; readonly itemId: string; readonly token: number }[] = [];
  #settlements = 0;
  #step = 0;

  constructor(events: number) {
    this.#backlog = Math.min(BACKLOG.most, Math.ceil(events * BACKLOG.share));
    this.#held = Math.min(HELD.most, Math.ceil(events * HELD.share));
  }

  fill(state: ShardState, open: OpenFrame): void {
    while (open.events.length < EVENTS_PER_FRAME) {
      const room = Math.min(REQUEST_ENTRIES_MAX, EVENTS_PER_FRAME - open.events.length);
      this.#step += 1;
      if (state.pending < this.#backlog) this.#requests.enqueue(state, open, room);
      else if (this.#leases.length < this.#held) this.#lease(state, open, room);
      else this.#settle(state, open, room);
    }
  }

  #lease(state: ShardState, open: OpenFrame, maxItems: number): void {
    const worker = `worker-${this.#step % WORKERS}`;
    const request = { maxItems, waitMs: 0, requestId: this.#requests.newId() };
    const reply = this.#requests.run(state, open, { verb: "lease", request }, worker) as {
      readonly leases: readonly { readonly itemId: string; readonly token: number }[];
    };
    for (const { itemId, token } of reply.leases) this.#leases.push({ worker, itemId, token });
  }

  /** Ends the oldest leases, as far as they are one worker's. */
  #settle(state: ShardState, open: OpenFrame, room: number): void {
    const worker = this.#leases[0]?.worker ?? "";
    const count = this.#leases.slice(0, room).findIndex((lease) => lease.worker !== worker);
    const leases = this.#leases.splice(0, count === -1 ? room : count).map(({ itemId, token }) => ({ itemId, token }));
    this.#settlements += 1;
    this.#requests.run(state, open, settlement(leases, this.#settlements), worker);
  }
}

function settlement(leases: { itemId: string; token: number }[], count: number): ShardCommand {
  const failed = (requeue: boolean): ShardCommand => ({
    verb: "fail",
    request: { leases: leases.map((lease) => ({ ...lease, reason: "the table could not be written", requeue })) },
  });
  if (count % 40 === 0) return failed(true);
  if (count % 320 === 1) return failed(false);
  if (count % 80 === 2) return { verb: "release", request: { leases } };
  return { verb: "complete", request: { leases } };
}
