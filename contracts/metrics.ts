/** The metrics of replication, each with attributes `sink`, `shard.id` and `region`. */
const PREFIX = "omnirelay.resourcelease.replication";

export interface MetricRow {
  readonly name: string;
  readonly unit: string;
  readonly description: string;
}

/** The reference table; the docs are generated from it. */
export const REPLICATION_METRICS = {
  events: row("events", "{event}", "Events that had their effect, and those that the filter left out."),
  lag: row("lag", "{event}", "Events of the log that a sink has not brought yet."),
  lagMs: row("lag.ms", "ms", "How long the oldest of these have waited, by log time; 0 when there are none."),
  delay: row("delay", "ms", "From the log time of each batch's newest event to its effect."),
  failures: row("failures", "{try}", "Tries that failed."),
  retries: row("retries", "{try}", "Tries that repeated a failed one."),
  parked: row("parked", "{event}", "Events that were parked."),
} as const;

function row(name: string, unit: string, description: string): MetricRow {
  return { name: `${PREFIX}.${name}`, unit, description };
}
