/** An independent reader of a shard's log in the test process: folds every frame as it comes, so that it also knows the state of a log that was trimmed since. */
import { applyFrame } from "../../services/core/apply.ts";
import { stateHash } from "../../services/core/hash.ts";
import { LogReader } from "../../services/core/log-reader.ts";
import { createState, type ShardState } from "../../services/core/state.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { JetStreamLog } from "../../services/jetstream/jetstream-log.ts";
import { chainOf } from "../../services/runtime/frame-codec.ts";
import type { Cleanup } from "./process.ts";

/** Longest wait for a sequence that somebody has cited. ms. */
const PATIENCE_MS = 20_000;

export interface LogWitness {
  readonly state: ShardState;
  /** Void messages that were stepped over. */
  readonly voids: number;
  /** The state's hash at exactly this sequence, once it is reached; fails when the log has gone beyond it, or stops being a chain. */
  hashAt(sequence: number): Promise<string>;
  /** The sequence of the message last read. */
  readonly streamSequence: number;
}

/** Reads from the first message on, which must still be there. */
export async function witnessLog(
  servers: string | readonly string[],
  shard: string,
  cleanup: Cleanup,
): Promise<LogWitness> {
  const connection = await connectNats({ servers, name: "witness" });
  const log = new JetStreamLog(connection, { region: "local", shard });
  const reader = new LogReader({ region: "local", shard, logId: "", hashOf: chainOf, strict: true });
  const state = createState();
  const waiting = new Set<() => void>();
  let problem: string | undefined;
  const seen = { voids: 0, streamSequence: 0 };
  log.follow(1, {
    message: (message) => {
      const verdict = reader.classify(message);
      if (message.streamSequence !== seen.streamSequence + 1) problem ??= `a hole before ${message.streamSequence}`;
      seen.streamSequence = message.streamSequence;
      if (verdict.kind === "halt") problem ??= verdict.message;
      else if (verdict.kind === "void") seen.voids += 1;
      else {
        applyFrame(state, verdict.frame);
        reader.advance(verdict.frame, verdict.chain);
      }
      for (const look of waiting) look();
    },
    failed: (error) => {
      problem ??= error.message;
      for (const look of waiting) look();
    },
  });
  cleanup(async () => {
    log.close();
    await connection.close();
  });
  const hashAt = (sequence: number): Promise<string> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => end(new Error(`the log is at ${state.sequence}, not at ${sequence}`)),
        PATIENCE_MS,
      );
      const end = (outcome: string | Error): void => {
        clearTimeout(timer);
        waiting.delete(look);
        if (outcome instanceof Error) reject(outcome);
        else resolve(outcome);
      };
      const look = (): void => {
        if (problem !== undefined) end(new Error(problem));
        else if (state.sequence === sequence) end(stateHash(state));
        else if (state.sequence > sequence) end(new Error(`the log is at ${state.sequence} already`));
      };
      waiting.add(look);
      look();
    });
  return {
    state,
    hashAt,
    get voids() {
      return seen.voids;
    },
    get streamSequence() {
      return seen.streamSequence;
    },
  };
}
