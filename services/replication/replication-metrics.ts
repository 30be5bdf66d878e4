/** What replication tells of itself, by sink and shard: both come from the configuration, so there are never more series than sinks times shards. */
import type { Attributes, Counter, Histogram, Meter, ObservableGauge } from "@opentelemetry/api";
import { type MetricRow, REPLICATION_METRICS } from "../../contracts/metrics.ts";

/** How far a sink is behind. */
export interface SinkLag {
  readonly events: number;
  /** From the log time of the newest event that had its effect, or of the oldest that waits, until now. */
  readonly ms: number;
}

const DELAY_BOUNDS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 30_000, 300_000];

export class ReplicationMetrics {
  readonly #events: Counter;
  readonly #failures: Counter;
  readonly #retries: Counter;
  readonly #parked: Counter;
  readonly #delay: Histogram;
  readonly #lag: ObservableGauge;
  readonly #lagMs: ObservableGauge;

  constructor(meter: Meter) {
    const counter = ({ name, unit, description }: MetricRow): Counter =>
      meter.createCounter(name, { unit, description });
    const gauge = ({ name, unit, description }: MetricRow): ObservableGauge =>
      meter.createObservableGauge(name, { unit, description });
    this.#events = counter(REPLICATION_METRICS.events);
    this.#failures = counter(REPLICATION_METRICS.failures);
    this.#retries = counter(REPLICATION_METRICS.retries);
    this.#parked = counter(REPLICATION_METRICS.parked);
    const { name, unit, description } = REPLICATION_METRICS.delay;
    this.#delay = meter.createHistogram(name, {
      unit,
      description,
      advice: { explicitBucketBoundaries: DELAY_BOUNDS_MS },
    });
    this.#lag = gauge(REPLICATION_METRICS.lag);
    this.#lagMs = gauge(REPLICATION_METRICS.lagMs);
  }

  /** The meters of one sink and shard. `lag` is asked whenever metrics are read; `close` ends that. */
  of(attributes: Attributes, lag: () => SinkLag): SinkMetrics {
    const onLag = (result: { observe(value: number, attributes: Attributes): void }): void =>
      result.observe(lag().events, attributes);
    const onLagMs = (result: { observe(value: number, attributes: Attributes): void }): void =>
      result.observe(lag().ms, attributes);
    this.#lag.addCallback(onLag);
    this.#lagMs.addCallback(onLagMs);
    return {
      delivered: (count, delayMs) => {
        this.#events.add(count, attributes);
        this.#delay.record(delayMs, attributes);
      },
      failed: (attempt) => {
        this.#failures.add(1, attributes);
        if (attempt > 1) this.#retries.add(1, attributes);
      },
      parked: () => this.#parked.add(1, attributes),
      close: () => {
        this.#lag.removeCallback(onLag);
        this.#lagMs.removeCallback(onLagMs);
      },
    };
  }
}

export interface SinkMetrics {
  delivered(count: number, delayMs: number): void;
  failed(attempt: number): void;
  parked(): void;
  close(): void;
}
