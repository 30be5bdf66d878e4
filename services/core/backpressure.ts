/** When a shard takes no new items: from a high watermark on until both low ones, and no shorter than the cooldown. A function of the log and of log time. */
import { BODY_BYTES_LOW_SHARE, LOG_VERSION_TERMS, PENDING_LOW_SHARE } from "../../contracts/limits.ts";
import type { ShardOptions } from "../../contracts/options.ts";
import type { ShardState } from "./state.ts";

/** The low watermarks, also where they follow from the high ones. */
export function lowsOf({ pendingLow, pendingHigh, bodyBytesLow, bodyBytesHigh }: ShardOptions) {
  return {
    pendingLow: pendingLow === 0 ? Math.floor(pendingHigh * PENDING_LOW_SHARE) : pendingLow,
    bodyBytesLow: bodyBytesLow === 0 ? Math.floor(bodyBytesHigh * BODY_BYTES_LOW_SHARE) : bodyBytesLow,
  };
}

/** Whether an enqueue at a log time is refused. In a log of state version 1 there are no low watermarks. */
export function isPressed(state: ShardState, at: number): boolean {
  if (state.logVersion < LOG_VERSION_TERMS) return isAbove(state);
  return state.pressedAt !== undefined && !mayEase(state, state.pressedAt, at);
}

/** Told by apply before an event: log time has gone on since the one before. */
export function easePressure(state: ShardState, at: number): void {
  if (state.pressedAt !== undefined && mayEase(state, state.pressedAt, at)) state.pressedAt = undefined;
}

/** Told by apply behind an event: counts and options may have changed. */
export function weighPressure(state: ShardState, at: number): void {
  if (state.logVersion < LOG_VERSION_TERMS) return;
  if (state.pressedAt !== undefined) easePressure(state, at);
  else if (isAbove(state)) state.pressedAt = at;
}

/** Whether a watermark that is not disabled is reached. */
export function isAbove({ pending, bodyBytes, options: { pendingHigh, bodyBytesHigh } }: ShardState): boolean {
  return (pending >= pendingHigh && pendingHigh !== 0) || (bodyBytes >= bodyBytesHigh && bodyBytesHigh !== 0);
}

function mayEase({ pending, bodyBytes, options }: ShardState, pressedAt: number, at: number): boolean {
  if (at < pressedAt + options.backpressureCooldownMs) return false;
  const { pendingLow, bodyBytesLow } = lowsOf(options);
  const isLow = options.pendingHigh === 0 || pending <= pendingLow;
  return isLow && (options.bodyBytesHigh === 0 || bodyBytes <= bodyBytesLow);
}
