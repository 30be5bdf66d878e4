/** Somebody on the bus who is no part of the mesh, and a bus that repeats itself: what they publish costs a term at most, never data. */
import type { Frame } from "../../contracts/frame.ts";
import type { Gossip } from "../../contracts/gossip.ts";
import { beatSubject, gossipSubject, logSubject, VERBS } from "../../contracts/subjects.ts";
import { encodeBeat } from "../../services/dispatcher/node/beats.ts";
import { chainOf, encodeFrame } from "../../services/runtime/frame-codec.ts";
import type { Dice } from "./nemesis.ts";
import { SimProcess } from "./scheduler.ts";
import { SimConnection } from "./sim-broker.ts";
import { SimNet } from "./sim-net.ts";
import { REGION, type SimShard } from "./sim-shard.ts";
import type { World } from "./world.ts";

const GHOST = "ghost";
/** Nothing of this is a request, a beat, a word or a frame. */
const JUNK: readonly Uint8Array[] = [
  ...["{", "[]", "null", "1e400", '{"__proto__":{"a":1}}', `${"[".repeat(300)}`, '{"items":[{}],"timeoutMs":-1}'],
  '{"leases":[{"itemId":7,"token":"x"}]}',
].map((text) => Buffer.from(text));
const NO_UTF8 = Buffer.from([0x7b, 0xff, 0xfe, 0x7d]);
/** Where no dispatcher may publish for somebody else. */
const FOREIGN_REPLIES = ["", logSubject(REGION, "alpha"), "$JS.API.STREAM.DELETE.x", "_INBOX.>", "_INBOX.a.*"];

export class Stranger {
  readonly #world: World;
  readonly #process: SimProcess;
  readonly #net: SimNet;

  constructor(world: World) {
    this.#world = world;
    this.#process = new SimProcess("stranger", world.scheduler, { drift: 0, startMs: 0, wallMs: 0 });
    const draws = world.choices.draws("net.stranger");
    this.#net = new SimNet(new SimConnection(world.broker, this.#process, "stranger", draws));
  }

  /** Publishes on the log's subject what is no frame of it. */
  stray({ stream, log }: SimShard, dice: Dice): void {
    const newest = stream.messages.at(-1);
    const next = { ...(log.frames.at(-1) as Frame), first: log.sequence + 1, prev: log.reader.tip.chain };
    const other = encodeFrame({ ...next, logId: "log-other" });
    const [payload, chain] = dice.pick("stray", [
      [dice.pick("junk", JUNK), ""],
      [NO_UTF8, chainOf(NO_UTF8)],
      [other, chainOf(other)],
      [encodeFrame(next), ""],
      [newest?.payload.subarray(0, 40) ?? NO_UTF8, newest?.chainHeader ?? ""],
    ] as const);
    stream.append(payload, chain, undefined, undefined);
  }

  /** Stores a frame of the log once more. */
  copy({ stream }: SimShard, dice: Dice): void {
    const messages = stream.messages.slice(stream.firstSequence - 1);
    const copied = messages[Math.floor(dice.between("copied", 0, messages.length))];
    if (copied !== undefined) stream.append(copied.payload, copied.chainHeader, undefined, undefined);
  }

  /** Sends what is no request, with and without a place where an answer may go. */
  junk({ shard }: SimShard, dice: Dice): void {
    const verb = dice.pick("verb", [...VERBS, "purge", "nothing", "*"]);
    const subject = `resourcelease.${shard}.${verb}.${dice.pick("principal", ["stranger", "a b", "x.y", ""])}`;
    for (const payload of [...JUNK, NO_UTF8]) {
      const reply = dice.pick("reply", FOREIGN_REPLIES);
      this.#net.publishAs({ subject, reply, payload });
      this.#net.request(subject, payload, 1_000, (outcome) => {
        if (outcome.kind !== "reply") return;
        const { error } = JSON.parse(Buffer.from(outcome.payload).toString()) as { error?: { code: string } };
        if (error === undefined) this.#world.fail("R5", `${subject} with ${Buffer.from(payload)} was answered well`);
        else this.#world.cover("junk_refused");
      });
    }
  }

  /** Beats of nobody, of another log, and of a leader that may be gone. */
  beats(hall: SimShard, dice: Dice): void {
    const kind = dice.pick("kind", ["ghost", "foreign", "leader", "junk"] as const);
    this.#again(dice, () => {
      const { term, leader } = hall.log.model;
      const beat = { logId: hall.logId, term, leader, sequence: hall.log.sequence, incarnation: "forged" };
      const streamSequence = hall.stream.lastSequence;
      const subject = beatSubject(REGION, hall.shard);
      if (kind === "junk") this.#publish(subject, dice.pick("junk", JUNK));
      else if (kind === "foreign")
        this.#publish(subject, encodeBeat({ ...beat, logId: "log-other", streamSequence, state: "leading" }));
      else if (kind === "ghost") {
        const ghost = { term: term + 1 + Math.floor(dice.between("term", 0, 5)), leader: GHOST };
        this.#publish(subject, encodeBeat({ ...beat, ...ghost, streamSequence: 1e9, state: "leading" }));
      } else if (this.#mayBeNamed(leader, hall))
        this.#publish(subject, encodeBeat({ ...beat, streamSequence, state: "leading" }));
    });
  }

  /** Who hears its own name from another process must believe that there are two of it; a leader, and one that is gone, need not. */
  #mayBeNamed(peerId: string, { shard }: SimShard): boolean {
    const dispatcher = this.#world.dispatchers.find((each) => each.peerId === peerId);
    const mode = dispatcher?.statuses().find((status) => status.shard === shard)?.mode;
    return dispatcher !== undefined && (mode === undefined || mode === "leading");
  }

  /** Words of a dispatcher that is not there, or in the name of one that is. */
  words(dice: Dice): void {
    const { dispatchers, shards } = this.#world;
    const peer = dice.pick("peer", [GHOST, GHOST, ...dispatchers.map(({ peerId }) => peerId)]);
    const part = dice.pick("part", ["leads", "follows", "absent"] as const);
    const stopping = dice.pick("stopping", [false, false, true]);
    this.#again(dice, () => {
      const words = shards.map(({ shard, log }) => ({ shard, part, term: log.model.term + 1, sequence: 1e9 }));
      const word: Gossip = { peer, role: "dispatcher", stopping, shards: words };
      this.#publish(gossipSubject(REGION, GHOST), Buffer.from(JSON.stringify(word)));
    });
  }

  /** What was said lately is heard again: twice, late, and in another order. */
  repeat(dice: Dice): void {
    const { broker, scheduler } = this.#world;
    const lateMs = dice.between("late", 10, 8_000);
    for (const [index, message] of broker.heard.entries())
      scheduler.after(((index * 7) % 11) * 0.1 * lateMs, () => void broker.route(message));
  }

  #publish(subject: string, payload: Uint8Array): void {
    this.#net.publish(subject, payload);
  }

  #again(dice: Dice, publish: () => void): void {
    const { scheduler } = this.#world;
    const endMs = scheduler.nowMs + dice.between("ms", 200, 6_000);
    const everyMs = dice.between("every", 50, 500);
    const next = (): void => {
      if (scheduler.nowMs > endMs || this.#world.isHealed) return;
      publish();
      scheduler.after(everyMs, next);
    };
    next();
  }
}
