/** A client of the simulation: sends real bytes, and repeats the same ones until it knows the outcome or gives up. */
import { TIMEOUT_MS_DEFAULT } from "../../contracts/limits.ts";
import type { RequestOutcome } from "../../contracts/ports.ts";
import { rpcSubject, type Verb } from "../../contracts/subjects.ts";
import type { Answer } from "./answer-oracle.ts";
import type { Draws } from "./choices.ts";
import { SimProcess } from "./scheduler.ts";
import { SimConnection } from "./sim-broker.ts";
import { SimNet } from "./sim-net.ts";
import type { SimShard } from "./sim-shard.ts";
import type { World } from "./world.ts";

/** One time that the bytes of an operation were sent. */
export interface Attempt {
  readonly sentMs: number;
  readonly principal: string;
  /** Highest sequence that any client had been shown when it was sent. */
  readonly shownSequence: number;
  /** When the broker passed it on to the leader; infinite before. ms. */
  routedMs: number;
}

export interface Operation {
  readonly id: string;
  readonly verb: Verb;
  readonly principal: string;
  readonly body: object;
  readonly shard: SimShard;
  /** Whether a refusal as malformed is what it may get. */
  readonly mayBeInvalid: boolean;
  readonly payload: Uint8Array;
  readonly firstMs: number;
  attempts: number;
  answer: Answer | undefined;
  isOver: boolean;
  readonly done: (answer: Answer | undefined, sentMs: number) => void;
}

const decoder = new TextDecoder();
const PAUSE_MS = 50;
const PAUSE_MS_MAX = 800;

/** An answer that leaves open what became of the request, or of a part of it. */
function isOpen(answer: Answer): boolean {
  if (answer.error !== undefined) return answer.error.retryable;
  return (answer.results ?? []).some(({ error }) => error?.code === "unavailable");
}

export class SimClient {
  readonly principal: string;
  readonly world: World;
  readonly process: SimProcess;
  readonly connection: SimConnection;
  readonly draws: Draws;
  readonly open = new Set<Operation>();
  readonly #net: SimNet;
  #count = 0;

  constructor(principal: string, world: World) {
    this.principal = principal;
    this.world = world;
    this.draws = world.choices.draws(`client.${principal}`);
    const drift = world.plan.hasDrift ? this.draws.between(-0.01, 0.01) : 0;
    this.process = new SimProcess(principal, world.scheduler, { drift, startMs: 5_000, wallMs: 0 });
    this.connection = new SimConnection(world.broker, this.process, principal, world.choices.draws(`net.${principal}`));
    this.#net = new SimNet(this.connection);
  }

  /** Sends a request and repeats it; `done` hears the answer, or undefined when it is given up, and when the answered bytes had been sent. */
  issue(
    shard: SimShard,
    verb: Verb,
    fields: object,
    done: Operation["done"] = () => undefined,
    { hasId = true, mayBeInvalid = false } = {},
  ): Operation {
    this.#count += 1;
    const id = `${this.principal}-${this.#count}`;
    const body = { ...fields, ...(hasId ? { requestId: id } : {}) };
    const payload = Buffer.from(JSON.stringify(body));
    const operation: Operation = {
      ...{ id, verb, principal: this.principal, body, shard, mayBeInvalid, payload, done },
      ...{ firstMs: this.world.scheduler.nowMs, attempts: 0, answer: undefined, isOver: false },
    };
    shard.asked(operation);
    this.open.add(operation);
    this.#send(operation);
    return operation;
  }

  #send(operation: Operation): void {
    if (operation.isOver) return;
    operation.attempts += 1;
    const { shard, verb, principal } = operation;
    const { scheduler } = this.world;
    const attempt: Attempt = {
      ...{ sentMs: scheduler.nowMs, principal, shownSequence: shard.answers.shown, routedMs: Number.POSITIVE_INFINITY },
    };
    const { waitMs = 0, timeoutMs = TIMEOUT_MS_DEFAULT } = operation.body as { waitMs?: number; timeoutMs?: number };
    // An answer that comes behind the repeat is heard too: it is as true as any.
    let isTimed = false;
    const heard = (outcome: RequestOutcome): void => {
      if (outcome.kind === "reply") this.#heard(operation, attempt, JSON.parse(decoder.decode(outcome.payload)));
      else if (!isTimed) this.#later(operation);
      isTimed = true;
    };
    this.#net.request(
      rpcSubject(shard.shard, verb, principal),
      operation.payload,
      Number.POSITIVE_INFINITY,
      heard,
      () => {
        attempt.routedMs = scheduler.nowMs;
      },
    );
    this.process.setTimer(waitMs + timeoutMs + 200, () => {
      if (isTimed || operation.isOver) return;
      isTimed = true;
      this.world.cover("client_timeout");
      this.#again(operation);
    });
  }

  #heard(operation: Operation, attempt: Attempt, answer: Answer): void {
    this.world.stats.answers += 1;
    operation.shard.answers.heard(operation, attempt, answer);
    if (isOpen(answer)) {
      if (!operation.isOver) this.#later(operation);
      return;
    }
    if (operation.isOver) {
      operation.shard.compare(operation, answer);
      return;
    }
    operation.answer = answer;
    if (operation.attempts > 1) this.world.cover("answered_on_repeat");
    this.#end(operation, answer, attempt.sentMs);
  }

  #later(operation: Operation): void {
    const pauseMs = Math.min(PAUSE_MS_MAX, PAUSE_MS * 2 ** Math.min(operation.attempts, 5));
    this.process.setTimer(pauseMs * (0.5 + this.draws.next()), () => this.#again(operation));
  }

  #again(operation: Operation): void {
    if (operation.isOver) return;
    // While faults last some give up, and nobody insists on a handover; what became of their request stays open.
    const isTired = operation.attempts >= 4 && (operation.verb === "handover" || this.draws.chance(0.1));
    if (isTired && (operation.verb === "handover" || !this.world.isHealed)) {
      this.world.cover("client_gave_up");
      this.#end(operation, undefined, 0);
    } else this.#send(operation);
  }

  #end(operation: Operation, answer: Answer | undefined, sentMs: number): void {
    operation.isOver = true;
    this.open.delete(operation);
    if (answer !== undefined) this.world.stats.operations += 1;
    operation.done(answer, sentMs);
  }
}
