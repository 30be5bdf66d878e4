/** What calls that only read take besides their filters. */
import type { CallOptions } from "./client-core.ts";

export interface ReadOptions extends CallOptions {
  /** Answer only from a state that has at least this sequence. */
  readonly minSequence?: number | undefined;
  /** Confirm through the log that the answer is current. */
  readonly consistent?: boolean | undefined;
}

/** The fields of the request, and the rest. */
export function readParts({
  minSequence,
  consistent,
  ...call
}: ReadOptions): [Pick<ReadOptions, "minSequence" | "consistent">, CallOptions] {
  return [{ minSequence, consistent }, call];
}
