/** What benchmarks of one dispatcher share: its process, its memory, and requests without the SDK in the way. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { NatsConnection } from "@nats-io/transport-node";
import { findWrappers } from "../../infra/nats-server/bound-child.ts";
import { DISPATCHER_NODE_FLAGS } from "../../services/runtime/node-flags.ts";

export const REPOSITORY = join(import.meta.dirname, "../..");

/** A program and its arguments such that it does not outlive this process, where the system can do that. */
export async function bound(program: string, args: readonly string[]): Promise<readonly [string, string[]]> {
  const { setpriv } = await findWrappers();
  return setpriv === undefined ? [program, [...args]] : [setpriv, ["--pdeathsig", "KILL", program, ...args]];
}

/** Starts a dispatcher of a checkout and waits until it leads all of its shards. `heard`: each line that it writes. */
export async function startDispatcher(
  args: readonly string[],
  {
    shards,
    checkout = REPOSITORY,
    heard,
  }: { shards: readonly string[]; checkout?: string; heard?: (line: string) => void },
): Promise<ChildProcess> {
  const main = join(checkout, "services/dispatcher/main.ts");
  const words = [...DISPATCHER_NODE_FLAGS, main, "--shards", shards.join(","), ...args];
  const dispatcher = spawn(...(await bound(process.execPath, words)), { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: dispatcher.stdout });
  let left = shards.length;
  await new Promise<void>((resolve, reject) => {
    dispatcher.once("exit", (code) => reject(new Error(`the dispatcher ended with ${code} before it led`)));
    lines.on("line", (line) => {
      heard?.(line);
      if (line.includes('"msg":"leading"')) left -= 1;
      if (left === 0) resolve();
    });
  });
  return dispatcher;
}

export function rssMib({ pid }: ChildProcess): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Math.round(Number(match?.[1] ?? 0) / 1_024);
}

/** Asks the leader of a shard. Throws what it refuses. */
export async function ask<Reply>(
  connection: NatsConnection,
  shard: string,
  verb: string,
  body: object,
): Promise<Reply> {
  const subject = `resourcelease.${shard}.${verb}.bench`;
  const answer = await connection.request(subject, JSON.stringify(body), { timeout: 30_000 });
  const reply = answer.json<Reply & { readonly error?: object }>();
  if (reply.error !== undefined) throw new Error(`${verb}: ${JSON.stringify(reply.error)}`);
  return reply;
}
