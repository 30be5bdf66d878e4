/** Hears the abort of a caller's signal. */

/**
 * Calls `listener` with the reason when the signal fires; the result ends that, and is undefined without a signal. A function listens, never an
 * object: Node keeps those in a weak map, which holds them and all that they lead to until the whole heap is collected.
 */
export function onAbort(
  signal: AbortSignal | undefined,
  listener: (reason: unknown) => void,
): (() => void) | undefined {
  if (signal === undefined) return undefined;
  const heard = (): void => listener(signal.reason);
  signal.addEventListener("abort", heard);
  return () => signal.removeEventListener("abort", heard);
}
