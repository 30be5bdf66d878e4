/** The three processes of a profile run: starts them, asks their probes, and reads what CPU they have taken. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { DISPATCHER_NODE_FLAGS } from "../../../services/runtime/node-flags.ts";
import { bound } from "../bed.ts";
import type { Scenario } from "./options.ts";
import type { ProbeAnswer, ProbeQuestion } from "./summary.ts";

const PROBE = join(import.meta.dirname, "probe.ts");
const CLIENT = join(import.meta.dirname, "client.ts");
/** Ticks of `/proc/PID/stat` in a second: Linux says 100 to every program. */
const TICKS_PER_SECOND = 100;

/** CPU time that a process has taken so far, user and system. ms, to 10 ms. */
export function cpuMs(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name, in parentheses, may hold anything.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / TICKS_PER_SECOND;
}

/** A process with a probe in it. */
export class Probed {
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
  }

  get pid(): number {
    assert(this.#child.pid !== undefined, "a process that was started has a pid");
    return this.#child.pid;
  }

  async begin(what: ProbeQuestion["what"]): Promise<void> {
    await this.#ask({ probe: "begin", what });
  }

  async end(what: ProbeQuestion["what"]): Promise<ProbeAnswer> {
    return ((await this.#ask({ probe: "end", what })) as { readonly probed: ProbeAnswer }).probed;
  }

  /** Lets the client drive a scenario. Items per second. */
  async run(scenario: Scenario, items: number): Promise<number> {
    return ((await this.#ask({ scenario, items })) as { readonly rate: number }).rate;
  }

  /** Throws when the process ends instead of answering. */
  async #ask(question: object): Promise<unknown> {
    const ended = new AbortController();
    const exit = once(this.#child, "exit", { signal: ended.signal }).then(
      ([code]) => Promise.reject(new Error(`the process ended with ${code} instead of answering`)),
      () => undefined,
    );
    const answer = once(this.#child, "message").then(([message]) => message as unknown);
    this.#child.send(question);
    try {
      return await Promise.race([answer, exit]);
    } finally {
      ended.abort();
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    await exit;
  }
}

interface DispatcherOptions {
  readonly shard: string;
  readonly natsUrl: string;
  readonly dataDir: string;
  /** Events between two snapshots. */
  readonly snapshotEvents: number;
}

/** A dispatcher of a checkout that leads its shard. */
export async function startDispatcher(
  checkout: string,
  { shard, natsUrl, dataDir, snapshotEvents }: DispatcherOptions,
): Promise<Probed> {
  const main = join(checkout, "services/dispatcher/main.ts");
  const args = [
    ...DISPATCHER_NODE_FLAGS,
    "--import",
    PROBE,
    main,
    "--nats-url",
    natsUrl,
    "--shards",
    shard,
    "--data-dir",
    dataDir,
  ];
  args.push("--peer-id", `dispatcher--${shard}`, "--snapshot-ms", "0", "--snapshot-events", `${snapshotEvents}`);
  const child = spawn(...(await bound(process.execPath, args)), { stdio: ["ignore", "pipe", "inherit", "ipc"] });
  const leads = new Promise<void>((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`the dispatcher ended with ${code} before it led`)));
    createInterface({ input: child.stdout as NonNullable<typeof child.stdout> }).on("line", (line) => {
      if (line.includes('"msg":"leading"')) resolve();
    });
  });
  await leads;
  return new Probed(child);
}

/** A client process that drives a shard with the SDK of a checkout. */
export async function startClient(checkout: string, shard: string, natsUrl: string): Promise<Probed> {
  const args = ["--import", PROBE, CLIENT, checkout, natsUrl, shard];
  const child = spawn(...(await bound(process.execPath, args)), { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  await new Promise<void>((resolve, reject) => {
    child.once("message", () => resolve());
    child.once("exit", (code) => reject(new Error(`the client ended with ${code} before it was ready`)));
  });
  return new Probed(child);
}
