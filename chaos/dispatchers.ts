/** The dispatcher processes of a drill: started, found by who leads, signalled, and none left behind. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { NatsConnection } from "@nats-io/transport-node";

const DISPATCHER = join(import.meta.dirname, "../services/dispatcher/main.ts");
const STATS_TIMEOUT_MS = 5_000;

export interface DispatchersOptions {
  readonly natsUrls: readonly string[];
  /** Each dispatcher keeps its data in a folder of its own below. */
  readonly folder: string;
  /** Further flags of every dispatcher. */
  readonly args?: readonly string[];
}

export class Dispatchers {
  readonly #options: DispatchersOptions;
  readonly #children = new Map<string, ChildProcess>();

  constructor(options: DispatchersOptions) {
    this.#options = options;
  }

  /** Starts the dispatcher of that peer id, again if it ran before, and returns when it serves. Throws when it ends before. */
  async start(peer: string): Promise<void> {
    const { natsUrls, folder, args = [] } = this.#options;
    const own = ["--nats-url", natsUrls.join(","), "--peer-id", peer, "--data-dir", join(folder, peer)];
    const child = spawn(process.execPath, [DISPATCHER, ...own, ...args], { stdio: ["ignore", "pipe", "inherit"] });
    this.#children.set(peer, child);
    for await (const line of createInterface({ input: child.stdout }))
      if (line.includes('"msg":"ready"')) {
        child.stdout.resume();
        return;
      }
    throw new Error(`dispatcher ${peer} ended before it was ready`);
  }

  /** Sends a signal; SIGKILL and SIGTERM wait for the end. */
  async signal(peer: string, signal: NodeJS.Signals): Promise<void> {
    const child = this.#children.get(peer);
    if (child === undefined) throw new Error(`there is no dispatcher ${peer}`);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    if (signal === "SIGKILL" || signal === "SIGTERM") await exited;
  }

  killAll(): void {
    for (const child of this.#children.values()) child.kill("SIGKILL");
  }
}

/** The peer id of the dispatcher that leads the shard. */
export async function leaderOf(connection: NatsConnection, shard = "default"): Promise<string> {
  const answer = await connection.request(`resourcelease.${shard}.stats.load`, "", { timeout: STATS_TIMEOUT_MS });
  return answer.json<{ leader: string }>().leader;
}
