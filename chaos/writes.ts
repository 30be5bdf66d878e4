/** When the writes of a run were acknowledged: the gaps between them, and how soon after a fault there was one again. Pure; times on one line, in ms. */

/** A write as its caller saw it. */
export interface Write {
  readonly sentMs: number;
  readonly ackedMs: number;
}

/** A time without an acknowledged write. */
export interface Gap {
  readonly fromMs: number;
  readonly toMs: number;
}

/** From a moment of a fault to the first acknowledgement of a write that was sent after that moment; undefined when there was none. */
export interface Recovery {
  /** From the moment at which the fault had struck. */
  readonly afterStartMs: number | undefined;
  /** From its end. That of a fault of a NATS server is when all replicas were up to date again. */
  readonly afterEndMs: number | undefined;
}

/** Whether an ok answer tells of something that has just been put into the log: a read, an empty poll, a repeat and a refused entry do not. */
export function isWritten(reply: object | undefined): boolean {
  const { results = [] } = (reply ?? {}) as { readonly results?: readonly { readonly duplicate?: boolean }[] };
  return results.some(({ duplicate }) => duplicate === false);
}

/** From the beginning of the time line until `untilMs`, up to which somebody always wanted to write. */
export function gapsOf(writes: readonly Write[], untilMs: number): readonly Gap[] {
  const acked = writes.map(({ ackedMs }) => ackedMs).filter((ackedMs) => ackedMs < untilMs);
  const moments = [0, ...acked.sort((a, b) => a - b), untilMs];
  return moments.slice(1).map((toMs, index) => ({ fromMs: moments[index] as number, toMs }));
}

export function longestGapMs(gaps: readonly Gap[]): number {
  return Math.round(gaps.reduce((longest, { fromMs, toMs }) => Math.max(longest, toMs - fromMs), 0));
}

export function recoveryOf(writes: readonly Write[], struckMs: number, endMs: number): Recovery {
  return { afterStartMs: firstAfter(writes, struckMs), afterEndMs: firstAfter(writes, endMs) };
}

function firstAfter(writes: readonly Write[], momentMs: number): number | undefined {
  const acked = writes.filter(({ sentMs }) => sentMs >= momentMs).map(({ ackedMs }) => ackedMs);
  return acked.length === 0 ? undefined : Math.round(acked.reduce((a, b) => Math.min(a, b)) - momentMs);
}
