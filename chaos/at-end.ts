/** What this process takes away however it ends: in order, by a failure, by a signal and a second one, or because nobody reads it any more. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isAlive } from "../infra/nats-server/process-state.ts";

const STOP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** Processes that were just killed may write for a moment yet: how often a folder is tried again, and the rest before. */
const REMOVE_TRIES = 20;
const REMOVE_REST_MS = 50;

/** In the order in which they were asked for; the last one is done first. */
const releases = new Set<() => void>();
let isGuarded = false;

export interface AtEnd {
  /** Does it now. The second time it does nothing. */
  now(): void;
  /** Not any more, whatever happens. */
  never(): void;
}

/** `release` must do all that it does before it returns: a process that ends waits for nothing. Only SIGKILL prevents it. */
export function atEnd(release: () => void): AtEnd {
  if (!isGuarded) guard();
  // Two may be the same function.
  const own = (): void => release();
  releases.add(own);
  return {
    now: () => {
      if (releases.delete(own)) own();
    },
    never: () => void releases.delete(own),
  };
}

export interface TemporaryFolder {
  readonly path: string;
  remove(): void;
  keep(): void;
}

/** A new folder, which is removed at the end at the latest. `prefix` begins its name. */
export function temporaryFolder(prefix: string): TemporaryFolder {
  const path = mkdtempSync(join(tmpdir(), prefix));
  const removal = atEnd(() =>
    rmSync(path, { recursive: true, force: true, maxRetries: REMOVE_TRIES, retryDelay: REMOVE_REST_MS }),
  );
  return { path, remove: removal.now, keep: removal.never };
}

/** A child that must be dead before its folder is removed. `pidOf`: of the life that runs; 0 for none. */
export function killAtEnd(pidOf: () => number): void {
  atEnd(() => {
    const pid = pidOf();
    if (pid !== 0 && isAlive(pid)) process.kill(pid, "SIGKILL");
  });
}

/** Ends this process when the reader of its words has left: nobody waits for the rest. */
export function endWhenUnread(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => process.exit(1));
}

function guard(): void {
  isGuarded = true;
  process.once("exit", releaseAll);
  const listeners = STOP_SIGNALS.map((signal) => {
    const listener = (): void => {
      releaseAll();
      for (const [other, its] of listeners) process.off(other, its);
      process.kill(process.pid, signal);
    };
    return [signal, listener] as const;
  });
  // They stay until all is done: a second signal would end the process in the middle of it.
  for (const [signal, listener] of listeners) process.on(signal, listener);
}

function releaseAll(): void {
  for (const release of [...releases].reverse()) {
    releases.delete(release);
    try {
      release();
    } catch (error) {
      // The others are owed all the same.
      process.stderr.write(`left behind: ${error instanceof Error ? error.message : String(error)}\n`);
    }
  }
}
