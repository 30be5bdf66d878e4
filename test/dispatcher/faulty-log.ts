/** A real log with faults on order: what a network or a server does to an append, done between the caller and JetStream. */
import type {
  AppendOutcome,
  Closable,
  FollowHandler,
  InfoOutcome,
  Log,
  ReadOutcome,
  TrimOutcome,
} from "../../contracts/ports.ts";
import type { AppendFault } from "../../services/testing/memory-log.ts";

export class FaultyLog implements Log {
  readonly #faults: AppendFault[] = [];
  readonly #log: Log;
  /** Sends what comes late, when the caller has long begun another append. */
  readonly #lateLog: Log;

  constructor(log: Log, lateLog: Log) {
    this.#log = log;
    this.#lateLog = lateLog;
  }

  fail(...faults: readonly AppendFault[]): void {
    this.#faults.push(...faults);
  }

  append(
    payload: Uint8Array,
    chain: string,
    expectedLast: number,
    timeoutMs: number,
    callback: (outcome: AppendOutcome) => void,
  ): void {
    const fault = this.#faults.shift();
    const send = (log: Log, done: (outcome: AppendOutcome) => void): void =>
      log.append(payload, chain, expectedLast, timeoutMs, done);
    switch (fault?.kind) {
      case undefined: {
        send(this.#log, callback);
        return;
      }
      case "lose_ack": {
        send(this.#log, () => callback({ kind: "timeout" }));
        return;
      }
      case "vanish": {
        callbackSoon(() => callback({ kind: "timeout" }));
        return;
      }
      case "late":
        callbackSoon(() => callback({ kind: "timeout" }));
        {
          send(this.#lateLog, () => {});
          return;
        }
      case "refuse": {
        callbackSoon(() =>
          callback({ kind: "unavailable", code: fault.code ?? 503, message: fault.message ?? "no responders" }),
        );
        return;
      }
      case "delay":
        return void setTimeout(() => send(this.#log, callback), fault.delayMs);
      case "disconnect":
        if (fault.isStored) {
          send(this.#log, () => callback({ kind: "disconnected" }));
          return;
        }
        {
          callbackSoon(() => callback({ kind: "disconnected" }));
          return;
        }
    }
  }

  read(streamSequence: number, timeoutMs: number, callback: (outcome: ReadOutcome) => void): void {
    this.#log.read(streamSequence, timeoutMs, callback);
  }

  info(timeoutMs: number, callback: (outcome: InfoOutcome) => void): void {
    this.#log.info(timeoutMs, callback);
  }

  trim(keepFrom: number, timeoutMs: number, callback: (outcome: TrimOutcome) => void): void {
    this.#log.trim(keepFrom, timeoutMs, callback);
  }

  follow(fromSequence: number, handler: FollowHandler): Closable {
    return this.#log.follow(fromSequence, handler);
  }
}

function callbackSoon(callback: () => void): void {
  setImmediate(callback);
}
