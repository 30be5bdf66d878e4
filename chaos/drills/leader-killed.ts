/**
 * Drill D1: the leading dispatcher is killed under a steady load of single calls; a second one takes over.
 * Promise: no acknowledged item lost, none doubled, and the longest gap between two acknowledged mutations stays short.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { connect, createInbox, type NatsConnection } from "@nats-io/transport-node";
import { startNatsServer } from "../../infra/nats-server/embedded.ts";

const DISPATCHER = join(import.meta.dirname, "../../services/dispatcher/main.ts");
const CALLS_PER_SECOND = 200;
const RETRY_MS = 150;
/** Load before and after each kill. ms. */
const SETTLE_MS = 2_500;

interface DrillRun {
  readonly gapMs: number;
  readonly acknowledged: number;
}
export interface DrillReport {
  readonly runs: readonly DrillRun[];
  readonly worstGapMs: number;
  readonly lost: number;
  readonly doubled: number;
}

/** One call: repeated with the same bytes every 150 ms until it is acknowledged. */
class Load {
  readonly acknowledged = new Map<string, string>();
  readonly ackTimes: number[] = [];
  readonly #connection: NatsConnection;
  readonly #inbox = createInbox();
  readonly #open = new Map<string, NodeJS.Timeout>();
  #count = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
    connection.subscribe(`${this.#inbox}.*`, {
      callback: (_error, message) => this.#answered(message.subject.slice(this.#inbox.length + 1), message.string()),
    });
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#count += 1;
      this.#send(`call-${this.#count}`);
    }, 1_000 / CALLS_PER_SECOND);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    while (this.#open.size > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  #send(id: string): void {
    const body = JSON.stringify({ items: [{ resourceType: "table", resourceId: id, requestId: id }] });
    this.#connection.publish("resourcelease.default.enqueue.load", body, { reply: `${this.#inbox}.${id}` });
    this.#open.set(
      id,
      setTimeout(() => this.#send(id), RETRY_MS),
    );
  }

  #answered(id: string, text: string): void {
    if (!this.#open.has(id) || text === "") return;
    const reply = JSON.parse(text) as { results?: { itemId?: string }[] };
    const itemId = reply.results?.[0]?.itemId;
    if (itemId === undefined) return; // refused as retryable: the timer repeats it
    clearTimeout(this.#open.get(id));
    this.#open.delete(id);
    this.acknowledged.set(id, itemId);
    this.ackTimes.push(performance.now());
  }
}

export async function leaderKilled(repeats: number, report: (line: string) => void): Promise<DrillReport> {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-drill-"));
  const server = await startNatsServer({ storeDir: join(folder, "nats"), report: () => {} });
  const dispatchers = new Map<string, ChildProcess>();
  const start = async (peer: string): Promise<void> => {
    const args = [DISPATCHER, "--nats-url", server.url, "--peer-id", peer, "--data-dir", join(folder, peer)];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    dispatchers.set(peer, child);
    for await (const line of createInterface({ input: child.stdout })) if (line.includes('"msg":"ready"')) break;
    child.stdout.resume();
  };
  const connection = await connect({ servers: server.url });
  try {
    await start("a");
    await start("b");
    const load = new Load(connection);
    load.start();
    const runs: DrillRun[] = [];
    for (let run = 1; run <= repeats; run += 1) {
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      const stats = (await connection.request("resourcelease.default.stats.load", "", { timeout: 5_000 })).json<{
        leader: string;
      }>();
      const leader = dispatchers.get(stats.leader);
      const from = performance.now();
      leader?.kill("SIGKILL");
      if (leader?.exitCode === null && leader.signalCode === null) await once(leader, "exit");
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      const gapMs = longestGap(load.ackTimes.filter((time) => time > from - 100));
      runs.push({ gapMs, acknowledged: load.acknowledged.size });
      report(`run ${run}: ${stats.leader} killed, longest gap ${gapMs} ms, ${load.acknowledged.size} acknowledged`);
      await start(stats.leader);
    }
    await load.stop();
    return { runs, worstGapMs: Math.max(...runs.map(({ gapMs }) => gapMs)), ...(await compare(connection, load)) };
  } finally {
    await connection.close();
    for (const child of dispatchers.values()) child.kill("SIGKILL");
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Every acknowledged call against what the shard holds: each exactly once, under the id that was answered. */
async function compare(connection: NatsConnection, load: Load): Promise<{ lost: number; doubled: number }> {
  const held = new Map<string, string[]>();
  let cursor: string | undefined;
  do {
    const body = JSON.stringify({ limit: 1_000, consistent: true, ...(cursor === undefined ? {} : { cursor }) });
    const page = (await connection.request("resourcelease.default.list.load", body, { timeout: 10_000 })).json<{
      items: { itemId: string; item: { resourceId: string } }[];
      cursor?: string;
    }>();
    for (const { itemId, item } of page.items)
      held.set(item.resourceId, [...(held.get(item.resourceId) ?? []), itemId]);
    cursor = page.cursor;
  } while (cursor !== undefined);
  const calls = [...load.acknowledged];
  return {
    lost: calls.filter(([id, itemId]) => held.get(id)?.includes(itemId) !== true).length,
    doubled: [...held.values()].filter((itemIds) => itemIds.length > 1).length,
  };
}

function longestGap(times: readonly number[]): number {
  let longest = 0;
  for (const [index, time] of times.entries())
    if (index > 0) longest = Math.max(longest, time - (times[index - 1] ?? time));
  return Math.round(longest);
}
