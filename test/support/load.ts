/** A steady load through the SDK, one client that enqueues and one worker, with the books to say that nothing was lost or done twice. */
import { expect } from "vitest";
import { type LeaseClient, LeaseWorker } from "../../services/client/mod.ts";
import type { Cleanup } from "./process.ts";

export interface Load {
  readonly acknowledged: ReadonlySet<string>;
  /** How often the handler ran, by item. */
  readonly applied: ReadonlyMap<string, number>;
  /** Codes of the errors that calls and worker have ended with. */
  readonly errors: readonly string[];
  /** Resolves when so many more items have been acknowledged, and as many more applied; with the time that took. ms. */
  more(count: number): Promise<number>;
  /** The longest time between two acknowledged items since this was last asked. ms. */
  longestGapMs(): number;
  /** Enqueues no more, and resolves when everything has been worked off: each acknowledged item exactly once. */
  finish(): Promise<void>;
}

const LOOPS = 4;
/** Longest wait for progress. ms. */
const PATIENCE_MS = 40_000;

export function startLoad(client: LeaseClient, workerClient: LeaseClient, cleanup: Cleanup): Load {
  const acknowledged = new Set<string>();
  const applied = new Map<string, number>();
  const errors: string[] = [];
  const watchers = new Set<() => void>();
  const tell = (): void => {
    for (const look of [...watchers]) look();
  };
  let isEnding = false;
  let acknowledgedMs = performance.now();
  let gapMs = 0;
  const codeOf = (error: unknown): string => (error as { code?: string }).code ?? String(error);
  const worker = new LeaseWorker(workerClient, {
    concurrency: 8,
    prefetch: 8,
    waitMs: 1_000,
    handler: async ({ itemId }) => {
      applied.set(itemId, (applied.get(itemId) ?? 0) + 1);
      tell();
    },
    onError: ({ error }) => void errors.push(`worker ${codeOf(error)}`),
  });
  worker.on("lost", ({ reason }) => void errors.push(`lost ${reason}`));
  worker.start();
  const enqueue = async (): Promise<void> => {
    while (!isEnding) {
      try {
        const { itemId } = await client.enqueue({ resourceType: "table", resourceId: "t" });
        acknowledged.add(itemId);
        gapMs = Math.max(gapMs, performance.now() - acknowledgedMs);
        acknowledgedMs = performance.now();
      } catch (error) {
        errors.push(codeOf(error));
      }
      tell();
    }
  };
  const loops = Array.from({ length: LOOPS }, enqueue);
  const until = async (what: string, isDone: () => boolean): Promise<number> => {
    const fromMs = performance.now();
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => end(new Error(`no ${what} within ${PATIENCE_MS} ms; errors: ${errors.join()}`)),
        PATIENCE_MS,
      );
      const end = (error?: Error): void => {
        clearTimeout(timer);
        watchers.delete(look);
        if (error === undefined) resolve();
        else reject(error);
      };
      const look = (): void => {
        if (isDone()) end();
      };
      watchers.add(look);
      look();
    });
    return performance.now() - fromMs;
  };
  cleanup(async () => {
    isEnding = true;
    await worker.stop();
  });
  return {
    acknowledged,
    applied,
    errors,
    more: (count) => {
      const wanted = { acknowledged: acknowledged.size + count, applied: applied.size + count };
      const isThere = (): boolean => acknowledged.size >= wanted.acknowledged && applied.size >= wanted.applied;
      return until(`${count} more items`, isThere);
    },
    longestGapMs: () => {
      const longest = gapMs;
      gapMs = 0;
      return longest;
    },
    finish: async () => {
      isEnding = true;
      await Promise.all(loops);
      await until("end of the work", () => [...acknowledged].every((itemId) => applied.has(itemId)));
      await worker.stop();
      expect([...applied].filter(([, count]) => count !== 1)).toEqual([]);
      const { pending, active, deadLettered } = await client.stats({ consistent: true });
      expect({ pending, active, deadLettered }).toEqual({ pending: 0, active: 0, deadLettered: 0 });
    },
  };
}
