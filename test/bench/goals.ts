/** What the benchmarks are to show, worked out from raw results: each goal with what was measured, whether it was met or not. */
import { middleOf, moreOf } from "./report-tables.ts";
import type { Results, Row } from "./results.ts";

export interface Goal {
  readonly text: string;
  /** Undefined: the run does not say. */
  readonly measured: number | undefined;
  readonly bound: number;
  readonly wants: "at least" | "at most";
}

const CLASS = "D2";

export function goalsOf(results: Results): readonly Goal[] {
  const find = (scenario: string, peer: string, each = ""): Row | undefined =>
    results.rows.find(
      (row) => row.scenario === scenario && row.peer === peer && row.case === each && row.durability === CLASS,
    );
  const rate = (peer: string, scenario = "S5", each = ""): number | undefined => {
    const row = find(scenario, peer, each);
    return row === undefined ? undefined : middleOf(row);
  };
  const best = (...peers: string[]): number | undefined => {
    const rates = peers.flatMap((peer) => rate(peer) ?? []);
    return rates.length === 0 ? undefined : Math.max(...rates);
  };
  const more = (peer: string, scenario: string, name: string): number | undefined => {
    const row = find(scenario, peer);
    return row === undefined ? undefined : moreOf(row, name);
  };
  const latency = (each: string, part: "p99" | "p999"): number | undefined => {
    const row = find("S6", "omnirelay-single", each);
    return row?.runs.map(({ latencyMs }) => latencyMs?.[part] ?? Number.NaN).toSorted((left, right) => left - right)[
      row.runs.length >> 1
    ];
  };
  const [batch, single, raw] = ["omnirelay-batch", "omnirelay-single", "omnirelay-raw"].map((peer) => rate(peer));
  const graphile = best("graphile-batched", "graphile-default");
  const limit = rate("nats-request");
  const syncs = results.syncs.find(({ peer, durability }) => peer === "omnirelay-batch" && durability === CLASS);
  const deep = find("S9", "omnirelay-batch", "depth 1000000");
  return [
    atLeast("life of an item in batches, times graphile-worker's best", ratio(batch, graphile), 10),
    atLeast("… times BullMQ", ratio(batch, rate("bullmq")), 15),
    atLeast("… times pg-boss", ratio(batch, rate("pg-boss")), 30),
    atLeast("… times the raw JetStream work queue", ratio(batch, best("jetstream", "jetstream-confirmed")), 12),
    atLeast("single calls through the SDK, times BullMQ's best", ratio(single, rate("bullmq")), 4),
    atLeast("… times graphile-worker in batches", ratio(single, rate("graphile-batched")), 2),
    atLeast(
      "raw requests, by a third of bare request and reply",
      ratio(raw, limit === undefined ? undefined : limit / 3),
      0.8,
    ),
    atMost(
      "dispatcher, µs of processor per event at batch 100",
      more("omnirelay-batch", "S5", "dispatcherMicrosPerEvent"),
      4,
    ),
    atMost("fsyncs per frame", syncs?.frames === undefined ? undefined : syncs.calls / syncs.frames, 1),
    atMost(
      "bytes in the log per payload byte, 150 per event apart",
      more("omnirelay-batch", "S5", "logBytesPerPayloadByte"),
      1.3,
    ),
    atMost("open loop at 2,000 items/s, p99, ms", latency("2000/s", "p99"), 5),
    atMost("… p99.9, ms", latency("2000/s", "p999"), 20),
    atMost("open loop at 75 % of capacity, p99, ms", latency("75%", "p99"), 25),
    atLeast(
      "throughput at depth 1,000,000 by that at 1,000",
      ratio(deep === undefined ? undefined : middleOf(deep), rate("omnirelay-batch", "S9", "depth 1000")),
      0.8,
    ),
    atMost(
      "memory of the dispatcher at depth 1,000,000, MiB",
      deep === undefined ? undefined : moreOf(deep, "rssMib dispatcher"),
      700,
    ),
    atLeast("8 shards in 2 processes by 1 shard in 1", ratio(rate("omnirelay-8-shards-2"), batch), 1),
  ];
}

export const isMet = ({ measured, bound, wants }: Goal): boolean | undefined =>
  measured === undefined ? undefined : wants === "at least" ? measured >= bound : measured <= bound;

const ratio = (value: number | undefined, by: number | undefined): number | undefined =>
  value === undefined || by === undefined ? undefined : value / by;
const atLeast = (text: string, measured: number | undefined, bound: number): Goal => ({
  text,
  measured,
  bound,
  wants: "at least",
});
const atMost = (text: string, measured: number | undefined, bound: number): Goal => ({
  text,
  measured,
  bound,
  wants: "at most",
});
