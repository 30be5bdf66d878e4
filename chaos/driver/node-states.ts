/**
 * What each dispatcher says of its state: of every snapshot that it took, in its log lines, and in the end of what it has in memory. A standby
 * answers nobody, so each one is made to lead in turn.
 */
import { readFileSync } from "node:fs";
import type { NatsConnection } from "@nats-io/transport-node";
import type { ErrorBody } from "../../contracts/errors.ts";
import type { ReplyOf } from "../../contracts/replies.ts";
import { rpcSubject, type Verb } from "../../contracts/subjects.ts";
import { pause } from "../drill.ts";
import type { NodeStates } from "../operations.ts";
import { SHARD } from "./mesh.ts";

const PRINCIPAL = "drill";
const TIMEOUT_MS = 3_000;
const RETRY_MS = 200;

/** The reply of whoever leads; undefined when there is none in time or it is a refusal. */
export async function ask<V extends Verb>(
  connection: NatsConnection,
  verb: V,
  request: Readonly<Record<string, unknown>> = {},
): Promise<ReplyOf<V> | undefined> {
  try {
    const answer = await connection.request(rpcSubject(SHARD, verb, PRINCIPAL), JSON.stringify(request), {
      timeout: TIMEOUT_MS,
    });
    const reply = answer.json<ReplyOf<V> & { readonly error?: ErrorBody }>();
    return reply.error === undefined ? reply : undefined;
  } catch (error) {
    // Nobody leads at this moment, or the server has gone: the caller asks again.
    if (error instanceof Error) return undefined;
    throw error;
  }
}

/** How often leadership moves at least when the states of so many dispatchers are collected. */
export const handoversFor = (peers: number): number => peers;

/** The state that each dispatcher leads from, and who did not come to lead within the bound. Whoever leads now has its turn last. */
export async function collectStates(
  connection: NatsConnection,
  peers: readonly string[],
  boundMs: number,
): Promise<{ readonly states: NodeStates; readonly silent: readonly string[] }> {
  const leader = (await ask(connection, "stats"))?.leader;
  const states: Record<string, NodeStates[string]> = {};
  for (const peer of [...peers].sort((a, b) => Number(a === leader) - Number(b === leader))) {
    const endMs = performance.now() + boundMs;
    while (states[peer] === undefined && performance.now() < endMs) {
      const stats = await ask(connection, "stats", { consistent: true });
      if (stats?.leader === peer) states[peer] = [{ sequence: stats.sequence, stateHash: stats.stateHash }];
      else if ((await ask(connection, "handover", { to: peer })) === undefined) await pause(RETRY_MS);
    }
  }
  return { states, silent: peers.filter((peer) => states[peer] === undefined) };
}

/** The states of the snapshots that a dispatcher has taken, by what it logged. */
export function loggedStates(logFile: string): NodeStates[string] {
  return readFileSync(logFile, "utf8")
    .split("\n")
    .flatMap((line) => {
      // Looked for in the text: a process that is killed may leave a piece of a line before those of its next life.
      const published = /"sequence":(\d+),"hash":"([0-9a-f]+)","msg":"snapshot_published"/.exec(line);
      return published === null ? [] : [{ sequence: Number(published[1]), stateHash: published[2] as string }];
    });
}
