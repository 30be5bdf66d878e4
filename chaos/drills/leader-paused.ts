/**
 * Drill D4: the leading dispatcher is stopped (SIGSTOP) for 10 s under a steady load of single calls and held leases, and continued.
 * Promise: another one leads meanwhile; the old one, which then reads everything that was sent to it, answers ok to nothing that is not in the log,
 * refuses nothing for good, and no lease is ended before its time.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startNatsServer } from "../../infra/nats-server/embedded.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { Dispatchers, leaderOf } from "../dispatchers.ts";
import { comparisonProblems, type DrillReport, type DrillRequest, pause } from "../drill.ts";
import { type Expiries, judgeExpiries } from "../expiries.ts";
import { History } from "../history.ts";
import { LeaseHolder } from "../lease-holder.ts";
import { Load } from "../load.ts";

/** Load before each pause, and after it: the old leader reads what has piled up. ms. */
const SETTLE_MS = 2_500;
const CONTINUED_MS = 5_000;
/** Leases taken in each round: before the pause, kept and left to run out; while the old leader stands still, kept. */
const KEPT = 20;
const LEFT = 10;
const TAKEN_MEANWHILE = 10;
const EXPIRY_POLL_MS = 200;

export interface PauseTimes {
  readonly pausedMs: number;
  readonly leaseMs: number;
}
const TIMES_DEFAULT: PauseTimes = { pausedMs: 10_000, leaseMs: 15_000 };

interface Run {
  readonly paused: string;
  readonly leader: string;
  readonly gapMs: number;
}
interface LeaderPausedReport extends DrillReport, Expiries {
  readonly runs: readonly Run[];
  readonly worstGapMs: number;
  readonly acknowledged: number;
  /** Ok answers to mutations that the log does not hold, or that cite a place of another term. */
  readonly okNotInLog: number;
  /** Definite refusals: nothing that was asked deserves one, so only a deposed leader could give it. */
  readonly definiteRefusals: number;
  /** Refusals that ask for a repeat: the old leader's answers to what had piled up are among them, or it was never tested. */
  readonly retryableRefusals: number;
}

export async function leaderPaused(
  { repeats, report }: DrillRequest,
  times: PauseTimes = TIMES_DEFAULT,
): Promise<LeaderPausedReport> {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-drill-"));
  const server = await startNatsServer({ storeDir: join(folder, "nats"), report: () => {} });
  const dispatchers = new Dispatchers({ natsUrls: [server.url], folder });
  const connection = await connectNats({ servers: [server.url], name: "drill" });
  const answers = new Answers();
  const load = new Load(connection, { onReply: (id, reply) => answers.take(id, reply) });
  const holder = new LeaseHolder(connection, times.leaseMs);
  try {
    await dispatchers.start("a");
    await dispatchers.start("b");
    load.start();
    holder.start();
    const runs: Run[] = [];
    for (let run = 1; run <= repeats; run += 1) {
      await pause(SETTLE_MS);
      await holder.take(KEPT, true);
      await holder.take(LEFT, false);
      const paused = await leaderOf(connection);
      const fromMs = performance.now();
      await dispatchers.signal(paused, "SIGSTOP");
      const taken = holder.take(TAKEN_MEANWHILE, true);
      await pause(times.pausedMs);
      await taken;
      await dispatchers.signal(paused, "SIGCONT");
      await pause(CONTINUED_MS);
      const leader = await leaderOf(connection);
      runs.push({ paused, leader, gapMs: load.longestGapMs(fromMs) });
      report(`run ${run}: ${paused} paused, ${leader} leads, longest gap ${runs.at(-1)?.gapMs} ms`);
    }
    await load.stop();
    await untilExpired(repeats * LEFT, times.leaseMs * 2, () => History.read(connection));
    holder.stop();
    // What is claimed before the log is read must stand in it.
    const claims = {
      items: [...answers.items],
      granted: [...holder.granted],
      cited: [...answers.cited, ...holder.cited],
      refusals: [...answers.refusals, ...holder.refusals],
      retryableRefusals: answers.retryableRefusals,
    };
    return { runs, ...figures(await History.read(connection), runs, load.acknowledged, claims, report) };
  } finally {
    load.abandon();
    holder.stop();
    await connection.close();
    dispatchers.killAll();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What was answered to the load, besides what was acknowledged first. */
class Answers {
  /** Every item id that was answered, by call. */
  readonly items: [id: string, itemId: string][] = [];
  readonly cited: { readonly term: number; readonly sequence: number }[] = [];
  readonly refusals: string[] = [];
  retryableRefusals = 0;

  take(id: string, reply: Readonly<Record<string, unknown>>): void {
    const {
      term,
      sequence,
      results = [],
      error,
    } = reply as {
      term?: number;
      sequence?: number;
      results?: { itemId?: string; error?: { code: string; definite: boolean } }[];
      error?: { code: string; definite: boolean };
    };
    for (const refused of [error, ...results.map((result) => result.error)])
      if (refused?.definite === true) this.refusals.push(`${id}: ${refused.code}`);
      else if (refused !== undefined) this.retryableRefusals += 1;
    for (const { itemId } of results) if (itemId !== undefined) this.items.push([id, itemId]);
    if (term !== undefined && sequence !== undefined) this.cited.push({ term, sequence });
  }
}

/** Until the leases that nobody kept have run out: else that none ran out early would say nothing. */
async function untilExpired(count: number, boundMs: number, read: () => Promise<History>): Promise<void> {
  const start = performance.now();
  for (;;) {
    const expired = (await read()).of("expired").length;
    if (expired >= count) return;
    if (performance.now() - start > boundMs)
      throw new Error(`${expired} of ${count} leases have run out in ${boundMs} ms`);
    await pause(EXPIRY_POLL_MS);
  }
}

/** What everybody was told. */
interface Claims {
  readonly items: readonly (readonly [id: string, itemId: string])[];
  readonly granted: readonly number[];
  readonly cited: readonly { readonly term: number; readonly sequence: number }[];
  readonly refusals: readonly string[];
  readonly retryableRefusals: number;
}

function figures(
  history: History,
  runs: readonly Run[],
  acknowledged: ReadonlyMap<string, string>,
  { items, granted, cited, refusals, retryableRefusals }: Claims,
  report: DrillRequest["report"],
): Omit<LeaderPausedReport, "runs"> {
  const calls = new Map(history.of("enqueued").map(({ event }) => [event.itemId, event.item.resourceId]));
  const grants = new Set(history.of("leased").map(({ sequence }) => sequence));
  const okNotInLog = [
    ...items.filter(([id, itemId]) => calls.get(itemId) !== id).map(([id, itemId]) => `${id}: item ${itemId}`),
    ...granted.filter((token) => !grants.has(token)).map((token) => `lease ${token}`),
    ...cited
      .filter(({ term, sequence }) => history.termAt(sequence) !== term)
      .map(({ term, sequence }) => `sequence ${sequence} as of term ${term}`),
  ];
  for (const line of [...okNotInLog, ...refusals].slice(0, 10)) report(line);
  const comparison = history.compareEnqueued(acknowledged);
  const expiries = judgeExpiries(history);
  const unmoved = runs.filter(({ paused, leader }) => paused === leader).length;
  return {
    worstGapMs: Math.max(...runs.map(({ gapMs }) => gapMs)),
    acknowledged: acknowledged.size,
    okNotInLog: okNotInLog.length,
    definiteRefusals: refusals.length,
    retryableRefusals,
    ...expiries,
    ...comparison,
    problems: [
      ...comparisonProblems(comparison),
      ...(okNotInLog.length === 0 ? [] : [`${okNotInLog.length} ok answers are not in the log`]),
      ...(refusals.length === 0 ? [] : [`${refusals.length} requests were refused for good`]),
      ...(expiries.expiredEarly === 0 ? [] : [`${expiries.expiredEarly} leases were ended early`]),
      ...(unmoved === 0 ? [] : [`${unmoved} times nobody else led`]),
    ],
  };
}
