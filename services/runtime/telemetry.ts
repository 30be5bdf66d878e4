/** Metrics of a process: one meter for all of its parts, read as Prometheus text. */
import type { Meter } from "@opentelemetry/api";
import { PrometheusExporter, PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import { MeterProvider } from "@opentelemetry/sdk-metrics";

export interface Telemetry {
  readonly meter: Meter;
  /** The metrics of now, in the text format of Prometheus. */
  text(): Promise<string>;
  close(): Promise<void>;
}

export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export function createTelemetry(): Telemetry {
  // It never listens: the text is served by the process's own HTTP server.
  const reader = new PrometheusExporter({ preventServerStart: true });
  const provider = new MeterProvider({ readers: [reader] });
  const serializer = new PrometheusSerializer();
  return {
    meter: provider.getMeter("omnirelay"),
    text: async () => {
      const { resourceMetrics, errors } = await reader.collect();
      const [first] = errors;
      if (first !== undefined) throw new Error("a metric could not be read", { cause: first });
      return serializer.serialize(resourceMetrics);
    },
    close: () => provider.shutdown(),
  };
}
