/** One process of a run under our hand: started, signalled, started again by us as its supervisor, and dead with us. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, type WriteStream } from "node:fs";
import { findWrappers, type Wrappers } from "../../infra/nats-server/bound-child.ts";
import { isStopped } from "../../infra/nats-server/process-state.ts";
import { killAtEnd } from "../at-end.ts";
import { pause } from "../drill.ts";

export interface DrillProcessOptions {
  readonly name: string;
  readonly script: string;
  /** Flags of Node, before the script. */
  readonly nodeFlags?: readonly string[];
  /** Arguments of a life; lives are counted from 1. */
  readonly argsOf: (life: number) => readonly string[];
  /** Stands in the line by which it says that it serves. */
  readonly readyText: string;
  /** Takes what it writes, all lives together. */
  readonly logFile: string;
  /** An end that we did not order, of a process that had served. */
  readonly onUnordered: (what: string) => void;
}

export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Rest before a process that ended is started again. ms. */
const RESTART_MS = 300;
/** How long a signalled process may take to stand still. ms. */
const STANDSTILL_MS = 2_000;
const POLL_MS = 1;

let wrappers: Promise<Wrappers> | undefined;

/**
 * Orders may follow one another at any moment: the latest one counts, and a start waits until what was ordered before has ended.
 * Invariant: at most one child lives at a time.
 */
export class DrillProcess {
  readonly name: string;
  /** Whether a fault keeps it from everything at this moment; for other faults to know. */
  isStill = false;
  readonly #options: DrillProcessOptions;
  readonly #log: WriteStream;
  #child: ChildProcess | undefined;
  #lives = 0;
  #isPaused = false;
  /** The standing order to run; aborted and taken away by the order to end. */
  #order: AbortController | undefined;
  /** Of the latest order to run: it serves, or the order does not stand any more. */
  #started: Promise<void> = Promise.resolve();
  /** Of all orders to end so far, and of the starts that they ended. */
  #ended: Promise<unknown> = Promise.resolve();
  readonly #listeners = new Set<(text: string) => void>();

  constructor(options: DrillProcessOptions) {
    this.name = options.name;
    this.#options = options;
    this.#log = createWriteStream(options.logFile, { flags: "a" });
    killAtEnd(() => (this.isRunning ? this.pid : 0));
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }
  get isRunning(): boolean {
    const child = this.#child;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }
  /** How often it was started. */
  get lives(): number {
    return this.#lives;
  }

  /** Keeps it running from now on; resolves when it serves, or is not wanted any more. */
  start(): Promise<void> {
    if (this.#order === undefined) {
      this.#order = new AbortController();
      const { signal } = this.#order;
      this.#started = this.#ended.then(() => this.#keepUp(signal));
    }
    return this.#started;
  }

  /** Ends it by SIGKILL, paused or not. Undefined when it does not run. */
  kill(): Promise<ProcessEnd | undefined> {
    return this.#end((child) => child.kill("SIGKILL"));
  }

  /** Ends it in order, by SIGKILL when that takes longer than `boundMs`. */
  stop(boundMs: number): Promise<ProcessEnd | undefined> {
    return this.#end((child) => {
      child.kill("SIGTERM");
      this.resume(); // a paused process takes the signal only when it goes on
      killAfter(child, boundMs);
    });
  }

  /** Freezes it; false when it does not run, or did not stand still in time. */
  async pause(): Promise<boolean> {
    if (!this.isRunning) return false;
    this.#isPaused = true;
    this.#child?.kill("SIGSTOP");
    const start = performance.now();
    while (this.isRunning && performance.now() - start < STANDSTILL_MS) {
      if (await isStopped(this.pid)) return true;
      await pause(POLL_MS);
    }
    return false;
  }

  /** Lets it go on. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.isRunning) this.#child?.kill("SIGCONT");
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** The first match in what it writes from now on; undefined when none comes in time. */
  written(pattern: RegExp, boundMs: number): Promise<RegExpExecArray | undefined> {
    return new Promise((resolve) => {
      const done = (match: RegExpExecArray | undefined): void => {
        clearTimeout(timer);
        this.#listeners.delete(look);
        resolve(match);
      };
      const timer = setTimeout(() => done(undefined), boundMs);
      const look = (text: string): void => {
        const match = pattern.exec(text);
        if (match !== null) done(match);
      };
      this.#listeners.add(look);
    });
  }

  /** Tells it to end, and ends it by SIGKILL when that takes longer than `boundMs`; whether it ended by itself. */
  async dismiss(message: object, boundMs: number): Promise<boolean> {
    const end = await this.#end((child) => {
      this.send(message);
      killAfter(child, boundMs);
    });
    return end?.code === 0;
  }

  /** To a process that listens to messages. */
  send(message: object): void {
    if (this.#child?.connected === true) this.#child.send(message, () => {});
  }

  async close(): Promise<void> {
    await this.kill();
    await new Promise<void>((resolve) => this.#log.end(() => resolve()));
  }

  #end(strike: (child: ChildProcess) => void): Promise<ProcessEnd | undefined> {
    this.#order?.abort();
    this.#order = undefined;
    const ended = this.#endChild(strike);
    // Whoever ordered one of them sees its failure.
    this.#ended = Promise.allSettled([this.#ended, this.#started, ended]);
    return ended;
  }

  async #endChild(strike: (child: ChildProcess) => void): Promise<ProcessEnd | undefined> {
    const child = this.#child;
    if (child === undefined || !this.isRunning) return undefined;
    const exited = once(child, "exit");
    strike(child);
    await exited;
    this.#isPaused = false;
    return { code: child.exitCode, signal: child.signalCode };
  }

  async #keepUp(order: AbortSignal): Promise<void> {
    while (!order.aborted) {
      if (await this.#launch(order)) return;
      if (!order.aborted) await pause(RESTART_MS);
    }
  }

  /** Starts it once; whether it came to serve. */
  async #launch(order: AbortSignal): Promise<boolean> {
    const { script, nodeFlags = [], argsOf, readyText } = this.#options;
    wrappers ??= findWrappers();
    const { setpriv } = await wrappers;
    if (order.aborted) return false;
    this.#lives += 1;
    const bound = setpriv === undefined ? [] : [setpriv, "--pdeathsig", "KILL"];
    const [command = "", ...args] = [...bound, process.execPath, ...nodeFlags, script, ...argsOf(this.#lives)];
    const child = spawn(command, args, {
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      env: { ...process.env, NODE_NO_WARNINGS: "1" },
    });
    this.#child = child;
    this.#isPaused = false;
    for (const stream of [child.stdout, child.stderr]) stream?.on("data", (data: Buffer) => this.#wrote(data));
    let hasServed = false;
    const exited = once(child, "exit").then(() => {
      if (order.aborted || !hasServed) return;
      this.#options.onUnordered(`${this.name} ended by itself: code ${child.exitCode}, signal ${child.signalCode}`);
      this.#started = this.#keepUp(order);
    });
    const ready = new Promise<boolean>((resolve) => {
      let text = "";
      child.stdout?.on("data", (data: Buffer) => {
        if (hasServed) return;
        text += data.toString();
        hasServed = text.includes(readyText);
        if (hasServed) resolve(true);
      });
      void exited.then(() => resolve(false));
    });
    return ready;
  }

  #wrote(data: Buffer): void {
    this.#log.write(data);
    if (this.#listeners.size === 0) return;
    const text = data.toString();
    for (const listener of [...this.#listeners]) listener(text);
  }
}

/** Ends it by SIGKILL unless it has ended by then. */
function killAfter(child: ChildProcess, ms: number): void {
  const timer = setTimeout(() => child.kill("SIGKILL"), ms);
  child.once("exit", () => clearTimeout(timer));
}
