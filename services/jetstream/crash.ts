/**
 * Keeps failed assertions loud: nats.js calls us from inside its socket reader, and an exception there is printed and ends the
 * reader while the connection still counts as open.
 */

/** Runs `step`; what it throws leaves on a stack of its own, where it becomes an uncaught exception of the process. */
export function crashOnThrow(step: () => void): void {
  try {
    step();
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}
