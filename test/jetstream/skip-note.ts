/** Why tests with a real server are skipped, for their titles. */
import type { natsAvailability } from "../support/nats.ts";

/** Empty when there is a server. */
export function skipNote(nats: Awaited<ReturnType<typeof natsAvailability>>): string {
  return nats.available ? "" : ` (skipped: ${nats.reason})`;
}
