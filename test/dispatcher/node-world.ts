/** Shard nodes on a virtual clock: the production node over the ports in memory, with one caller that sends real bytes. */

import type { Frame } from "../../contracts/frame.ts";
import { SHARD_OPTIONS_DEFAULT, type ShardOptionsPatch } from "../../contracts/options.ts";
import type { Ids, Reporter } from "../../contracts/ports.ts";
import { logSubject, type Verb } from "../../contracts/subjects.ts";
import { applyFrame } from "../../services/core/apply.ts";
import { canonicalState } from "../../services/core/canonical.ts";
import { stateHash } from "../../services/core/hash.ts";
import { LogReader } from "../../services/core/log-reader.ts";
import { createState, type ShardState } from "../../services/core/state.ts";
import { NODE_TIMES, type NodeConfig } from "../../services/dispatcher/node/node-config.ts";
import type { NodeStatus } from "../../services/dispatcher/node/node-ports.ts";
import type { Precedence } from "../../services/dispatcher/node/patience.ts";
import { ShardNode } from "../../services/dispatcher/node/shard-node.ts";
import type { Snapshots } from "../../services/dispatcher/node/snapshooter.ts";
import { nextTick } from "../../services/runtime/cron.ts";
import { chainOf, encodeFrame } from "../../services/runtime/frame-codec.ts";
import { FakeClock } from "../../services/testing/fake-clock.ts";
import { MemoryKv, MemoryStore } from "../../services/testing/memory-kv.ts";
import { MemoryLog } from "../../services/testing/memory-log.ts";
import { MemoryNet, MemoryWire } from "../../services/testing/memory-net.ts";
import { MemoryStream } from "../../services/testing/memory-stream.ts";

const REGION = "local";
const SHARD = "default";
const SUBJECT = logSubject(REGION, SHARD);

export interface Answer {
  readonly body: Record<string, unknown> & {
    readonly error?: { readonly code: string; readonly retryable: boolean; readonly details?: unknown };
  };
  readonly at: number;
}

/** One dispatcher's node with everything of its own; `store` outlives it. */
export interface NodeUnit {
  readonly node: ShardNode;
  readonly log: MemoryLog;
  readonly rpc: MemoryNet;
  readonly gossip: MemoryNet;
  readonly logNet: MemoryNet;
  readonly store: MemoryStore;
  /** What was dumped at a halt. */
  readonly dumps: { readonly code: string; readonly sequence: number }[];
  readonly lines: { readonly level: string; readonly event: string; readonly fields: unknown }[];
}

export class NodeWorld {
  readonly clock = new FakeClock();
  readonly stream: MemoryStream;
  readonly wire = new MemoryWire(this.clock);
  readonly kv = new MemoryKv(this.clock);
  readonly client = new MemoryNet(this.wire, this.clock);
  /** What a node is told of the other dispatchers; by default that there are none. */
  precedenceOf: (peerId: string, gossip: MemoryNet, status: () => NodeStatus) => Precedence = () => ({
    isFirst: () => true,
    gone: () => {},
    asked: () => {},
    successor: () => ({ reason: "nobody else is here", candidates: [] }),
  });
  #draws = 0;

  constructor(options: ShardOptionsPatch = {}, bytesMax = -1) {
    this.stream = new MemoryStream({ subject: SUBJECT, bytesMax });
    const genesis: Frame = {
      schema: 1,
      logId: "log-1",
      region: REGION,
      shard: SHARD,
      term: 0,
      writer: "provisioner",
      append: "genesis",
      first: 1,
      count: 1,
      at: 1_000,
      prev: "",
      pending: 0,
      active: 0,
      actors: [],
      events: [
        {
          type: "logCreated",
          logId: "log-1",
          logVersion: 1,
          options: { ...SHARD_OPTIONS_DEFAULT, ...(options as object) },
          tokenEpoch: 0,
        },
      ],
    };
    const payload = encodeFrame(genesis);
    this.stream.publish(payload, chainOf(payload));
  }

  /** Ids and chance in a fixed order. */
  ids(): Ids {
    const next = (): number => {
      this.#draws += 1;
      return this.#draws;
    };
    return { id: (draw) => `${draw}${next()}`, random: () => (next() * 0.618) % 1 };
  }

  addNode(
    peerId: string,
    changes: Partial<NodeConfig> = {},
    store = new MemoryStore(),
    snapshots?: Snapshots,
  ): NodeUnit {
    const log = new MemoryLog({ clock: this.clock, stream: this.stream });
    const rpc = new MemoryNet(this.wire, this.clock);
    const gossip = new MemoryNet(this.wire, this.clock);
    const logNet = new MemoryNet(this.wire, this.clock);
    const lines: NodeUnit["lines"] = [];
    const dumps: NodeUnit["dumps"] = [];
    const reporter: Reporter = {
      info: (event, fields) => void lines.push({ level: "info", event, fields }),
      warn: (event, fields) => void lines.push({ level: "warn", event, fields }),
      error: (event, fields) => void lines.push({ level: "error", event, fields }),
    };
    const config: NodeConfig = { ...NODE_TIMES, region: REGION, shard: SHARD, peerId, logId: "log-1", ...changes };
    const node: ShardNode = new ShardNode(config, {
      clock: this.clock,
      ids: this.ids(),
      log,
      kv: this.kv,
      rpc,
      gossip,
      logNet,
      store,
      snapshots,
      checkpoints: this.kv,
      dump: (halt, state) => void dumps.push({ code: halt.code, sequence: state.sequence }),
      nextTick,
      precedence: this.precedenceOf(peerId, gossip, () => node.status()),
      reporter,
    });
    node.start();
    // The process answers pings beside its nodes.
    rpc.subscribe(`omnirelay.ping.${REGION}.${peerId}`, (message) => rpc.publish(message.reply, new Uint8Array(0)));
    return { node, log, rpc, gossip, logNet, store, lines, dumps };
  }

  leading(unit: NodeUnit): NodeUnit {
    this.clock.until(() => unit.node.status().mode === "leading");
    return unit;
  }

  /** The process dies: nothing of it runs, hears or says anything any more. */
  kill(unit: NodeUnit): void {
    unit.rpc.setConnected(false);
    unit.gossip.setConnected(false);
    unit.logNet.setConnected(false);
    unit.log.disconnect();
    unit.node.abandon();
    unit.log.close();
  }

  /** Sends a request; the answers that come are in `answers`, in order. */
  send(verb: Verb | string, body: unknown, principal = "me", reply = this.wire.inbox()): Answer[] {
    const answers: Answer[] = [];
    this.client.subscribe(reply, ({ payload }) => {
      answers.push({ body: JSON.parse(Buffer.from(payload).toString()), at: this.clock.monotonicMs() });
    });
    const payload =
      body instanceof Uint8Array ? body : Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
    this.wire.deliver({ subject: `resourcelease.${SHARD}.${verb}.${principal}`, reply, payload, trace: "" });
    return answers;
  }

  /** Sends a request and waits for its answer. */
  ask(verb: Verb | string, body: unknown, principal = "me", limitMs = 60_000): Answer["body"] {
    const answers = this.send(verb, body, principal);
    this.clock.until(() => answers.length > 0, limitMs);
    return (answers[0] as Answer).body;
  }

  enqueue(count: number, changes: object = {}): string[] {
    const items = Array.from({ length: count }, (_, index) => ({
      resourceType: "table",
      resourceId: `t-${index}`,
      ...changes,
    }));
    const body = this.ask("enqueue", { items }) as unknown as { results: { itemId: string }[] };
    return body.results.map(({ itemId }) => itemId);
  }

  /** All frames of the stream, read as an auditor reads them: strictly, from the first one. */
  frames(): readonly Frame[] {
    const reader = new LogReader({ region: REGION, shard: SHARD, logId: "log-1", hashOf: chainOf, strict: true });
    const frames: Frame[] = [];
    for (const message of this.stream.messages()) {
      const verdict = reader.classify({ ...message, pending: 0 });
      if (verdict.kind === "halt") throw new Error(`${verdict.code}: ${verdict.message}`);
      if (verdict.kind === "void") continue;
      reader.advance(verdict.frame, verdict.chain);
      frames.push(verdict.frame);
    }
    return frames;
  }

  /** The state that the log folds to. */
  fold(): ShardState {
    const state = createState();
    for (const frame of this.frames()) applyFrame(state, frame);
    return state;
  }

  foldHash(): string {
    return stateHash(this.fold());
  }

  foldLines(): readonly string[] {
    return [...canonicalState(this.fold())];
  }
}
