/** The client of a peer as a process of its own, so that what it uses is told apart from what the servers use. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Happening, Order } from "./actor.ts";
import type { Durability, PeerSettings, ServerProcess } from "./peers/peer.ts";
import type { Amounts, Cases } from "./scenarios/scenario.ts";

/** What the process is for: sent first, once. */
export interface ClientRequest {
  readonly kind: "open";
  readonly peer: string;
  /** The other checkout of `--compare`. */
  readonly base: string | undefined;
  readonly url: string;
  readonly durability: Durability;
  readonly settings: PeerSettings;
}
export interface LoadRequest {
  readonly kind: "load";
  readonly scenario: string;
  readonly amounts: Amounts;
  readonly seed: number;
  readonly processes: readonly ServerProcess[];
  readonly folder: string;
}
export type Request = ClientRequest | LoadRequest | { readonly kind: "order"; readonly order: Order };

export interface LoadResult {
  readonly cases: Cases;
  readonly doubles: number;
  /** Of the whole run, warm-up included. */
  readonly itemsMade: number;
}
export type Answer =
  | { readonly kind: "done"; readonly result?: LoadResult }
  | { readonly kind: "refused"; readonly message: string }
  | { readonly kind: "happened"; readonly happening: Happening }
  | { readonly kind: "says"; readonly line: string };

const END_BOUND_MS = 10_000;
/** How long connecting, or what an actor is told, may take. A load has its own bound: for as long as items move it goes on. ms. */
const ANSWER_BOUND_MS = 180_000;

/** A started client process; it ends with this one. Questions are answered in their order. */
export class RunningClient {
  readonly #child: ChildProcess;
  readonly #asked: { resolve(result: LoadResult | undefined): void; reject(error: Error): void }[] = [];
  #onHappening: (happening: Happening) => void = () => {};

  /** Starts it and connects it. Throws what it says when it cannot. */
  static async open(request: ClientRequest, report: (line: string) => void): Promise<RunningClient> {
    const child = fork(join(import.meta.dirname, "client.ts"), {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      env: { ...process.env, NODE_NO_WARNINGS: "1", NO_LOG_SUCCESS: "1" },
      detached: true, // a Ctrl-C at the terminal is the suite's to act on
    });
    const client = new RunningClient(child, report);
    try {
      await client.ask(request);
    } catch (error) {
      await client.end();
      throw error;
    }
    return client;
  }

  private constructor(child: ChildProcess, report: (line: string) => void) {
    this.#child = child;
    child.on("message", (answer: Answer) => {
      if (answer.kind === "says") report(answer.line);
      else if (answer.kind === "happened") this.#onHappening(answer.happening);
      else if (answer.kind === "done") this.#asked.shift()?.resolve(answer.result);
      else this.#asked.shift()?.reject(new Error(answer.message));
    });
    child.once("exit", (code, signal) => {
      for (const { reject } of this.#asked.splice(0)) reject(new Error(`the client ended with ${code ?? signal}`));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  onHappening(listener: (happening: Happening) => void): void {
    this.#onHappening = listener;
  }

  /** Throws when it refuses, ends, or does not answer within the bound. */
  async ask(request: Request): Promise<LoadResult | undefined> {
    if (!this.#child.connected) throw new Error("the client has ended");
    const answer = Promise.withResolvers<LoadResult | undefined>();
    this.#asked.push(answer);
    this.#child.send(request);
    const what = request.kind === "order" ? request.order.order : request.kind;
    const tooLate = (): void =>
      answer.reject(new Error(`the client gave no answer to ${what} within ${ANSWER_BOUND_MS / 1_000} s`));
    const timer = request.kind === "load" ? undefined : setTimeout(tooLate, ANSWER_BOUND_MS);
    try {
      return await answer.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Ends it; its connections are closed first unless that takes too long. */
  async end(): Promise<void> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill("SIGCONT");
    if (child.connected) child.disconnect();
    const timer = setTimeout(() => child.kill("SIGKILL"), END_BOUND_MS);
    await exited;
    clearTimeout(timer);
  }
}
