/** How near a shard's log is to its byte limit, and what that forbids. */
import { LOG_FULL_SHARE, LOG_HIGH_SHARE, LOG_TRIM_SHARE } from "../../../contracts/limits.ts";
import type { Alarm, LogInfo } from "../../../contracts/ports.ts";
import type { LogPressureLevel } from "../../core/outcome.ts";

/** How far below a mark the log must fall before the mark is left: a share of the limit. */
const HYSTERESIS = 0.05;
/** What the server stores with a message besides its payload, rounded up. Bytes. */
const ENVELOPE_BYTES = 300;

/** Between two looks at the stream the leader counts what it appends itself, so that a fast shard is not late to notice. */
export class LogPressure {
  #bytes = 0;
  #bytesMax = -1;
  #level: LogPressureLevel | undefined;

  /** Part of the limit that is used; 0 where there is no limit. */
  get share(): number {
    return this.#bytesMax > 0 ? this.#bytes / this.#bytesMax : 0;
  }

  get level(): LogPressureLevel | undefined {
    return this.#level;
  }

  /** Whether the log should be trimmed as far as can be. */
  get isTrimUrgent(): boolean {
    return this.share >= LOG_TRIM_SHARE;
  }

  looked({ bytes, bytesMax }: LogInfo): void {
    this.#bytes = bytes;
    this.#bytesMax = bytesMax;
    this.#judge();
  }

  appended(payloadBytes: number): void {
    this.#bytes += payloadBytes + ENVELOPE_BYTES;
    this.#judge();
  }

  /** What needs an operator; empty when nothing does. */
  get alarms(): readonly Alarm[] {
    if (this.#level === undefined) return [];
    const what = this.#level === "full" ? "nothing is granted or enqueued" : "enqueue is refused";
    const percent = Math.floor(this.share * 100);
    const message = `the log holds ${this.#bytes} bytes, ${percent} % of its limit of ${this.#bytesMax}: ${what} until it is trimmed; raise the limit, or see which follower or missing snapshot holds it`;
    return [{ code: "log_bytes_high", message, isServing: this.#level !== "full" }];
  }

  #judge(): void {
    const { share } = this;
    const isStill = (level: LogPressureLevel, mark: number): boolean =>
      share >= mark || (this.#level === level && share >= mark - HYSTERESIS);
    if (isStill("full", LOG_FULL_SHARE)) this.#level = "full";
    else if (isStill("high", LOG_HIGH_SHARE) || (this.#level === "full" && share >= LOG_HIGH_SHARE - HYSTERESIS))
      this.#level = "high";
    else this.#level = undefined;
  }
}
