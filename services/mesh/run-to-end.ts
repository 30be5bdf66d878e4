/** A run with an end (`--items N --exit`): waits until every item is completed, counts at both ends, and prints what came out. */
import { setTimeout as delay } from "node:timers/promises";
import { OperatingError } from "../../contracts/errors.ts";
import { LeaseClient } from "../client/lease-client.ts";
import { RefusedError } from "../client/refusal.ts";
import { identityOf, partPeerId } from "../runtime/identity.ts";
import { EXIT_CODES } from "../runtime/lifecycle.ts";
import { natsServers } from "../runtime/settings.ts";
import type { Mesh } from "./host.ts";
import { createProgress } from "./progress.ts";

/** Ids in one `get`. */
const GET_MAX = 1_000;
/** Pause before items that were not ended yet are looked at again. ms. */
const LOOK_AGAIN_MS = 50;
/** Without any change for this long the run has failed; with a dead letter, which may halt its table, much earlier. ms. */
const STALL_MS = 60_000;
const STALL_DEAD_LETTER_MS = 5_000;

/** What `--json` prints: one line. */
interface RunSummary {
  readonly ok: boolean;
  /** Why not ok, in words. */
  readonly problems: readonly string[];
  readonly items: number;
  /** Items that this run added, and those that an earlier one with the same seed had added. */
  readonly enqueued: number;
  readonly duplicates: number;
  readonly refused: number;
  /** Items that the shards say are completed. */
  readonly completed: number;
  /** Items whose effect the workers' store holds. */
  readonly applied: number;
  readonly deadLettered: number;
  readonly elapsedMs: number;
  readonly itemsPerSecond: number;
  readonly shards: readonly ShardSummary[];
  readonly natsServer: Mesh["natsServer"];
}

interface ShardSummary {
  readonly shard: string;
  readonly logId: string;
  readonly leader: string;
  readonly term: number;
  readonly sequence: number;
  readonly pending: number;
  readonly active: number;
  readonly deadLettered: number;
  readonly completed: number;
}

/** Waits for the end, prints the summary and returns the exit code: 0 when every item was completed and applied exactly once. */
export async function runToEnd(mesh: Mesh, signal: AbortSignal): Promise<number> {
  const clients = new Map<string, LeaseClient>();
  const peerId = partPeerId(mesh.settings.peerId, "run");
  for (const shard of mesh.settings.shards)
    clients.set(shard, await LeaseClient.connect({ servers: natsServers(mesh.natsUrl), shard, ...identityOf(peerId) }));
  try {
    const counts = await asked(waitForItems(mesh, clients, signal));
    const elapsedMs = Math.round(performance.now() - mesh.startedAtMs);
    const summary = summarise(
      mesh,
      counts,
      elapsedMs,
      await asked(Promise.all([...clients.values()].map(shardSummary))),
    );
    tell(mesh, summary);
    return summary.ok ? EXIT_CODES.ok : EXIT_CODES.failed;
  } finally {
    await Promise.all([...clients.values()].map((client) => client.close()));
  }
}

/** A refusal of what we only read is an operating error of the run: the mesh does not serve it. */
async function asked<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof RefusedError) throw refusedRun(error);
    throw error;
  }
}

function refusedRun(refused: RefusedError): OperatingError {
  return new OperatingError(refused.code, `the run cannot be followed: ${refused.message}`, {
    definite: true,
    cause: refused,
  });
}

/** How the items of the run ended. `forgotten`: the shard knows it no more, so only the store can tell. */
interface EndCounts {
  completed: number;
  deadLettered: number;
  forgotten: number;
  stalled: boolean;
}

async function waitForItems(
  mesh: Mesh,
  clients: ReadonlyMap<string, LeaseClient>,
  signal: AbortSignal,
): Promise<EndCounts> {
  const items = mesh.settings.items ?? 0;
  const progress = createProgress(items, mesh.reporter);
  const counts: EndCounts = { completed: 0, deadLettered: 0, forgotten: 0, stalled: false };
  const seen = new Map([...clients.keys()].map((shard) => [shard, 0]));
  const open = new Map([...clients.keys()].map((shard): [string, string[]] => [shard, []]));
  let isSeeded = false;
  const seeded = mesh.seeder.done().then(() => {
    isSeeded = true;
  });
  let changedAtMs = performance.now();
  let last = "";
  try {
    while (true) {
      const before = ended(counts);
      for (const [shard, client] of clients) await look(mesh, client, open.get(shard) ?? [], seen, counts);
      progress.update(ended(counts));
      if (isSeeded && isAllSeen(mesh, seen) && [...open.values()].every((ids) => ids.length === 0)) break;
      signal.throwIfAborted();
      const now = JSON.stringify([
        mesh.seeder.progress().enqueued,
        mesh.workers.map((worker) => worker.progress()),
        counts,
      ]);
      if (now !== last) [last, changedAtMs] = [now, performance.now()];
      const patienceMs = counts.deadLettered > 0 ? STALL_DEAD_LETTER_MS : STALL_MS;
      if (performance.now() - changedAtMs > patienceMs) return { ...counts, stalled: true };
      if (ended(counts) === before) await delay(LOOK_AGAIN_MS, undefined, { signal }).catch(() => {});
    }
    await seeded;
    return counts;
  } finally {
    progress.stop();
  }
}

const ended = ({ completed, deadLettered, forgotten }: EndCounts): number => completed + deadLettered + forgotten;

const isAllSeen = (mesh: Mesh, seen: ReadonlyMap<string, number>): boolean =>
  [...mesh.seeder.progress().itemIds].every(([shard, ids]) => seen.get(shard) === ids.length);

/** Asks the shard about its oldest open items and drops the ended ones from `open`. They end about in order, so one page is enough. */
async function look(
  mesh: Mesh,
  client: LeaseClient,
  open: string[],
  seen: Map<string, number>,
  counts: EndCounts,
): Promise<void> {
  const ids = mesh.seeder.progress().itemIds.get(client.shard) ?? [];
  for (let index = seen.get(client.shard) ?? 0; index < ids.length; index += 1) open.push(ids[index] ?? "");
  seen.set(client.shard, ids.length);
  if (open.length === 0) return;
  const page = open.slice(0, GET_MAX);
  const results = await client.getMany(page);
  const left = page.filter((_, index) => {
    const result = results[index];
    if (result?.kind === "ok" && result.value.status === "completed") counts.completed += 1;
    else if (result?.kind === "ok" && result.value.status === "deadLettered") counts.deadLettered += 1;
    else if (result?.kind === "refused" && result.error.code === "item_not_found") counts.forgotten += 1;
    else return true;
    return false;
  });
  open.splice(0, page.length, ...left);
}

async function shardSummary(client: LeaseClient): Promise<ShardSummary> {
  const stats = await client.stats({ consistent: true });
  const { shard, logId, leader, term, sequence, pending, active, deadLettered, completed } = stats;
  return { shard, logId, leader, term, sequence, pending, active, deadLettered, completed };
}

function summarise(mesh: Mesh, counts: EndCounts, elapsedMs: number, shards: readonly ShardSummary[]): RunSummary {
  const items = mesh.settings.items ?? 0;
  const { enqueued, duplicates, refused, itemIds } = mesh.seeder.progress();
  const store = mesh.workers[0];
  const applied = [...itemIds].reduce(
    (sum, [shard, ids]) => sum + (store?.appliedCount(shard, [...new Set(ids)]) ?? 0),
    0,
  );
  const completed = counts.completed + counts.forgotten;
  const appliedNow = mesh.workers.reduce((sum, worker) => sum + worker.progress().applied, 0);
  const distinct = [...itemIds.values()].reduce((sum, ids) => sum + new Set(ids).size, 0);
  const checks: readonly [boolean, string][] = [
    [!counts.stalled, "nothing changed any more although items were open"],
    [refused === 0, `${refused} items were refused`],
    [enqueued + duplicates === items, `${enqueued} enqueued and ${duplicates} found are not ${items}`],
    [distinct === items, `${items} requests made ${distinct} items`],
    [counts.deadLettered === 0, `${counts.deadLettered} items are dead letters`],
    [completed === items, `${completed} of ${items} items are completed`],
    [applied === items, `the store holds ${applied} of ${items} items`],
    // A store that began empty was written exactly as often as it holds effects, if none was applied twice.
    [!mesh.isFresh || appliedNow === items, `the workers applied ${appliedNow} times, not ${items}`],
  ];
  const problems = checks.flatMap(([isMet, problem]) => (isMet ? [] : [problem]));
  const { natsServer } = mesh;
  return {
    ok: problems.length === 0,
    problems,
    ...{ items, enqueued, duplicates, refused, completed, applied, deadLettered: counts.deadLettered },
    elapsedMs,
    itemsPerSecond: Math.round((completed / Math.max(1, elapsedMs)) * 1_000),
    shards,
    natsServer,
  };
}

function tell(mesh: Mesh, summary: RunSummary): void {
  mesh.reporter.info("run_ended", { ...summary });
  if (mesh.settings.json) process.stdout.write(`${JSON.stringify(summary)}\n`);
  const seconds = (summary.elapsedMs / 1_000).toFixed(1);
  const text = summary.ok
    ? `${summary.items} items completed, each applied exactly once, in ${seconds} s (${summary.itemsPerSecond} per second)`
    : `the run failed after ${seconds} s: ${summary.problems.join("; ")}`;
  process.stderr.write(`${text}\n`);
}
