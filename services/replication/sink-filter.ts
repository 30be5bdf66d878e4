/** Which events a sink gets. */
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import type { SinkConfig } from "../../contracts/sinks.ts";

/** Whether the configuration wants an event. */
export function filterOf({ filter }: SinkConfig): (event: ReplicationEvent) => boolean {
  const eventTypes = filter.eventTypes === undefined ? undefined : new Set<string>(filter.eventTypes);
  const resourceTypes = filter.resourceTypes === undefined ? undefined : new Set<string>(filter.resourceTypes);
  return ({ eventType, resourceType }) =>
    (eventTypes === undefined || eventTypes.has(eventType)) &&
    (resourceTypes === undefined || (resourceType !== undefined && resourceTypes.has(resourceType)));
}
