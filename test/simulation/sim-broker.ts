/** The message broker of the simulation: who has subscribed to what, as the server knows it, and where a message goes. */
import type { Draws } from "./choices.ts";
import type { Scheduler, SimProcess } from "./scheduler.ts";

/** What a subscriber hears. */
export interface BrokerMessage {
  readonly subject: string;
  readonly reply: string;
  readonly payload: Uint8Array;
}

/** One life of a connection: what was on its way when it broke is lost, or has been written already. */
interface Generation {
  isOutLost: boolean;
  isInLost: boolean;
}

/** `ok`; `held`: messages wait for the path to heal, as TCP repeats them; `lost`: the other side is not there any more. */
export type Path = "ok" | "held" | "lost";

/** Messages that a bus which repeats itself has at hand. */
const HEARD_MAX = 30;

interface Interest {
  readonly connection: SimConnection;
  readonly generation: Generation;
  readonly handler: (message: BrokerMessage) => void;
}

export class Broker {
  readonly scheduler: Scheduler;
  readonly #exact = new Map<string, Set<Interest>>();
  readonly #wild = new Map<Interest, readonly string[]>();
  readonly #inboxes = new Map<string, SimConnection>();
  /** Who wants a subject, as long as nobody comes or goes. */
  readonly #routes = new Map<string, readonly Interest[]>();
  /** Beats, words and pings that were said lately, oldest first. */
  readonly heard: BrokerMessage[] = [];

  constructor(scheduler: Scheduler) {
    this.scheduler = scheduler;
  }

  register(connection: SimConnection): void {
    this.#inboxes.set(connection.name, connection);
  }

  add(pattern: string, interest: Interest): void {
    this.#routes.clear();
    if (pattern.includes("*") || pattern.endsWith(">")) {
      this.#wild.set(interest, pattern.split("."));
      return;
    }
    const known = this.#exact.get(pattern);
    if (known === undefined) this.#exact.set(pattern, new Set([interest]));
    else known.add(interest);
  }

  remove(pattern: string, interest: Interest): void {
    this.#routes.clear();
    this.#wild.delete(interest);
    this.#exact.get(pattern)?.delete(interest);
  }

  /** The server has noticed that a connection is gone. */
  dropAll(generation: Generation): void {
    this.#routes.clear();
    for (const interest of [...this.#wild.keys()]) if (interest.generation === generation) this.#wild.delete(interest);
    for (const interests of this.#exact.values())
      for (const interest of [...interests]) if (interest.generation === generation) interests.delete(interest);
  }

  /** Sends a message on to whoever wants it now on the same side of a split; returns how many those are. */
  route(message: BrokerMessage, isCutOff = false): number {
    const { subject } = message;
    if (subject.startsWith("_INBOX.")) {
      const connection = this.#inboxes.get(subject.slice(7, subject.indexOf(".", 7)));
      if (connection === undefined || connection.isCutOff !== isCutOff) return 0;
      connection.receive(connection.generation, () => connection.onInbox(message));
      return 1;
    }
    if (subject.startsWith("omnirelay.")) {
      this.heard.push(message);
      if (this.heard.length > HEARD_MAX) this.heard.shift();
    }
    const interests = this.#interestsIn(subject);
    let count = 0;
    for (const { connection, generation, handler } of interests) {
      if (connection.isCutOff !== isCutOff) continue;
      connection.receive(generation, () => handler(message));
      count += 1;
    }
    return count;
  }

  #interestsIn(subject: string): readonly Interest[] {
    const known = this.#routes.get(subject);
    if (known !== undefined) return known;
    const tokens = subject.split(".");
    const interests = [...(this.#exact.get(subject) ?? [])];
    for (const [interest, pattern] of this.#wild) if (isMatch(pattern, tokens)) interests.push(interest);
    this.#routes.set(subject, interests);
    return interests;
  }
}

function isMatch(pattern: readonly string[], tokens: readonly string[]): boolean {
  for (const [index, part] of pattern.entries()) {
    if (part === ">") return tokens.length > index;
    if (index >= tokens.length || (part !== "*" && part !== tokens[index])) return false;
  }
  return pattern.length === tokens.length;
}

/**
 * A connection of a process to the broker. Each way keeps its order. What the process believes (`isUp`) and what is true differ while it
 * is half open.
 */
export class SimConnection {
  readonly name: string;
  readonly broker: Broker;
  readonly process: SimProcess;
  isUp = true;
  generation: Generation = { isOutLost: false, isInLost: false };
  out: Path = "ok";
  in: Path = "ok";
  /** Whether it ends at a server that the others cannot reach: no path to the logs leads over those. */
  isCutOff = false;
  /** Added to each way. ms. */
  slowMs = 0;
  /** An answer for one of our inboxes has come. */
  onInbox: (message: BrokerMessage) => void = () => undefined;
  readonly onChange = new Set<(isUp: boolean) => void>();
  readonly #draws: Draws;
  #outAt = 0;
  #inAt = 0;
  #heldOut: (() => void)[] = [];
  #heldIn: { readonly generation: Generation; readonly code: () => void }[] = [];

  constructor(broker: Broker, process: SimProcess, name: string, draws: Draws) {
    this.broker = broker;
    this.process = process;
    this.name = name;
    this.#draws = draws;
    broker.register(this);
  }

  /** Lets something happen at the broker when what we write now arrives there. */
  send(atBroker: () => void): void {
    if (!this.isUp || !this.process.isAlive || this.out === "lost") return;
    if (this.out === "held") {
      this.#heldOut.push(atBroker);
      return;
    }
    const { generation } = this;
    this.#outAt = Math.max(this.#outAt, this.broker.scheduler.nowMs + this.#latencyMs());
    this.broker.scheduler.at(this.#outAt, () => {
      if (!generation.isOutLost) atBroker();
    });
  }

  /** Lets code of the process run when what the broker writes now arrives. */
  receive(generation: Generation, code: () => void): void {
    if (generation.isInLost || this.in === "lost") return;
    if (this.in === "held") {
      this.#heldIn.push({ generation, code });
      return;
    }
    this.#inAt = Math.max(this.#inAt, this.broker.scheduler.nowMs + this.#latencyMs());
    this.broker.scheduler.at(this.#inAt, () => {
      if (!generation.isInLost) this.process.run(code);
    });
  }

  /** The connection breaks. `isWritten`: what was on its way to the broker still arrives. The broker notices `lingerMs` later. */
  disconnect(isWritten: boolean, lingerMs = 0): void {
    if (!this.isUp) return;
    const { generation } = this;
    generation.isInLost = true;
    generation.isOutLost = !isWritten;
    this.#heldOut = [];
    this.#heldIn = [];
    this.isUp = false;
    if (lingerMs > 0) this.broker.scheduler.after(lingerMs, () => this.broker.dropAll(generation));
    else this.broker.dropAll(generation);
    this.#tell();
  }

  reconnect(): void {
    if (this.isUp || !this.process.isAlive) return;
    this.generation = { isOutLost: false, isInLost: false };
    this.isCutOff = false;
    this.out = "ok";
    this.in = "ok";
    this.isUp = true;
    this.#outAt = 0;
    this.#inAt = 0;
    this.#tell();
  }

  /** What was held back arrives now. */
  heal(): void {
    this.slowMs = 0;
    this.isCutOff = false;
    this.out = "ok";
    this.in = "ok";
    for (const atBroker of this.#heldOut.splice(0)) this.send(atBroker);
    for (const { generation, code } of this.#heldIn.splice(0)) this.receive(generation, code);
  }

  /** The process is gone: what it had written arrives, unless the machine went with it. */
  die(isWritten: boolean): void {
    this.generation.isInLost = true;
    this.generation.isOutLost = !isWritten;
    this.isUp = false;
    this.broker.dropAll(this.generation);
  }

  #tell(): void {
    const { isUp } = this;
    this.process.run(() => {
      for (const handler of [...this.onChange]) handler(isUp);
    });
  }

  #latencyMs(): number {
    const drawn = this.#draws.next();
    return 0.1 + drawn * 0.4 + (drawn > 0.98 ? this.#draws.next() * 20 : 0) + this.slowMs;
  }
}
