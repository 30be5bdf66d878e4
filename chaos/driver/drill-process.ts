/** One process of a run under our hand: started, signalled, started again by us as its supervisor, and dead with us. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, type WriteStream } from "node:fs";
import { findWrappers, type Wrappers } from "../../infra/nats-server/bound-child.ts";
import { isStopped } from "../../infra/nats-server/process-state.ts";
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

/** Invariant: at most one child lives at a time; `#isWanted` says whether there should be one. */
export class DrillProcess {
  readonly name: string;
  /** Whether a fault keeps it from everything at this moment; for other faults to know. */
  isStill = false;
  readonly #options: DrillProcessOptions;
  readonly #log: WriteStream;
  #child: ChildProcess | undefined;
  #lives = 0;
  #isWanted = false;
  #isPaused = false;
  #starting: Promise<void> | undefined;
  readonly #listeners = new Set<(text: string) => void>();

  constructor(options: DrillProcessOptions) {
    this.name = options.name;
    this.#options = options;
    this.#log = createWriteStream(options.logFile, { flags: "a" });
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
    this.#isWanted = true;
    this.#starting ??= this.#keepUp().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  /** Ends it by SIGKILL, paused or not. Undefined when it does not run. */
  kill(): Promise<ProcessEnd | undefined> {
    return this.#end("SIGKILL");
  }

  /** Ends it in order, by SIGKILL when that takes longer than `boundMs`. */
  async stop(boundMs: number): Promise<ProcessEnd | undefined> {
    const late = setTimeout(() => this.#child?.kill("SIGKILL"), boundMs);
    const end = await this.#end("SIGTERM");
    clearTimeout(late);
    return end;
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
    this.#isWanted = false;
    const child = this.#child;
    if (child === undefined || !this.isRunning) return false;
    const exited = once(child, "exit");
    this.send(message);
    const late = setTimeout(() => child.kill("SIGKILL"), boundMs);
    await exited;
    clearTimeout(late);
    return child.exitCode === 0;
  }

  /** To a process that listens to messages. */
  send(message: object): void {
    if (this.#child?.connected === true) this.#child.send(message, () => {});
  }

  async close(): Promise<void> {
    this.#isWanted = false;
    await this.#end("SIGKILL");
    await new Promise<void>((resolve) => this.#log.end(() => resolve()));
  }

  async #end(signal: NodeJS.Signals): Promise<ProcessEnd | undefined> {
    this.#isWanted = false;
    const child = this.#child;
    if (child === undefined || !this.isRunning) return undefined;
    const exited = once(child, "exit");
    child.kill(signal);
    // A paused process takes an order to stop only when it goes on.
    if (signal !== "SIGKILL") this.resume();
    await exited;
    this.#isPaused = false;
    return { code: child.exitCode, signal: child.signalCode };
  }

  async #keepUp(): Promise<void> {
    while (this.#isWanted && !this.isRunning) {
      if (await this.#launch()) return;
      if (this.#isWanted) await pause(RESTART_MS);
    }
  }

  /** Starts it once; whether it came to serve. */
  async #launch(): Promise<boolean> {
    const { script, nodeFlags = [], argsOf, readyText } = this.#options;
    wrappers ??= findWrappers();
    const { setpriv } = await wrappers;
    if (!this.#isWanted) return false;
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
      if (!this.#isWanted || !hasServed) return;
      this.#options.onUnordered(`${this.name} ended by itself: code ${child.exitCode}, signal ${child.signalCode}`);
      void this.start();
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
