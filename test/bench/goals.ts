/** What the benchmarks are to show, worked out from raw results: each goal with what was measured, whether it was met or not. */
import { bedOf, type KeptRun, type Merged, roundsWanted, tableOf } from "./merge.ts";
import { middleOf, moreOf } from "./report-tables.ts";
import type { Results, Row, Syncs } from "./results.ts";

/** What is wanted, and how it is worked out of rows of one scenario. */
interface Aim {
  readonly text: string;
  readonly scenario: string;
  /** Judged by the rows of that placement; by the fullest table when absent. */
  readonly placement?: Results["placement"];
  readonly wants: "at least" | "at most";
  /** Absent: it is shown beside another, and not judged. */
  readonly bound?: number;
  /** Undefined when a row is missing. */
  readonly measure: (look: Look) => number | undefined;
}

export interface Goal {
  readonly aim: Aim;
  /** Undefined: no run says. */
  readonly measured: number | undefined;
  /** The one run that every row of it is from. */
  readonly from?: KeptRun;
  /** Of the row that has the fewest. */
  readonly rounds?: number;
  /** Its rows have been measured, but never in one run: what the machine did in between would be a part of their ratio. */
  readonly isApart: boolean;
}

const CLASS = "D2";

/** The rows that a goal is worked out of, remembered as they are asked for. */
class Look {
  readonly used: Row[] = [];
  readonly #rows: readonly Row[];
  readonly #syncs: readonly Syncs[];

  constructor(rows: readonly Row[], syncs: readonly Syncs[]) {
    this.#rows = rows;
    this.#syncs = syncs;
  }

  row(peer: string, each = ""): Row | undefined {
    const row = this.#rows.find((one) => one.peer === peer && one.case === each);
    if (row !== undefined) this.used.push(row);
    return row;
  }

  rate(peer: string, each = ""): number | undefined {
    const row = this.row(peer, each);
    return row === undefined ? undefined : middleOf(row);
  }

  /** The better of the rows of one system. Undefined without the first, which is its best in all runs so far. */
  best(peer: string, ...others: string[]): number | undefined {
    const rate = this.rate(peer);
    return rate === undefined ? undefined : Math.max(rate, ...others.flatMap((one) => this.rate(one) ?? []));
  }

  more(peer: string, name: string, each = ""): number | undefined {
    const row = this.row(peer, each);
    return row === undefined ? undefined : moreOf(row, name);
  }

  latency(peer: string, each: string, part: "p99" | "p999"): number | undefined {
    const row = this.row(peer, each);
    return row?.runs.map(({ latencyMs }) => latencyMs?.[part] ?? Number.NaN).toSorted((left, right) => left - right)[
      row.runs.length >> 1
    ];
  }

  syncsPerFrame(peer: string): number | undefined {
    this.row(peer);
    const syncs = this.#syncs.find((one) => one.peer === peer && one.durability === CLASS);
    return syncs?.frames === undefined ? undefined : syncs.calls / syncs.frames;
  }
}

const [BATCH, SINGLE, RAW] = ["omnirelay-batch", "omnirelay-single", "omnirelay-raw"] as const;
const life = { scenario: "S5", wants: "at least" } as const;
const open = { scenario: "S6", wants: "at most" } as const;
const deep = { scenario: "S9" } as const;
const amount = { scenario: "S14", wants: "at most" } as const;

/** Cost grows with the items and no faster: what is above 1 is the spread of a measurement. */
const LINEAR = 1.2;

const AIMS: readonly Aim[] = [
  {
    ...{ ...life, text: "life of an item in batches, times graphile-worker's best", bound: 10 },
    measure: (look) => ratio(look.rate(BATCH), look.best("graphile-batched", "graphile-default")),
  },
  {
    ...{ ...life, text: "… times BullMQ", bound: 15 },
    measure: (look) => ratio(look.rate(BATCH), look.rate("bullmq")),
  },
  {
    ...{ ...life, text: "… times pg-boss", bound: 30 },
    measure: (look) => ratio(look.rate(BATCH), look.rate("pg-boss")),
  },
  {
    ...{ ...life, text: "… times the raw JetStream work queue", bound: 12 },
    measure: (look) => ratio(look.rate(BATCH), look.best("jetstream", "jetstream-confirmed")),
  },
  {
    ...{ ...life, text: "single calls through the SDK, times BullMQ's best", bound: 4 },
    measure: (look) => ratio(look.rate(SINGLE), look.rate("bullmq")),
  },
  {
    ...{ ...life, text: "… times graphile-worker in batches", bound: 2 },
    measure: (look) => ratio(look.rate(SINGLE), look.rate("graphile-batched")),
  },
  {
    ...{ ...life, text: "raw requests, by a third of bare request and reply", bound: 0.8 },
    measure: (look) => ratio(look.rate(RAW), third(look.rate("nats-request"))),
  },
  {
    ...{ ...life, text: "dispatcher, µs of processor per event at batch 100", wants: "at most", bound: 4 },
    measure: (look) => look.more(BATCH, "dispatcherMicrosPerEvent"),
  },
  {
    ...{ ...life, text: "fsyncs per frame", wants: "at most", bound: 1 },
    measure: (look) => look.syncsPerFrame(BATCH),
  },
  {
    ...{ ...life, text: "bytes in the log per payload byte, 150 per event apart", wants: "at most", bound: 1.3 },
    measure: (look) => look.more(BATCH, "logBytesPerPayloadByte"),
  },
  {
    ...{ ...open, text: "open loop at 2,000 items/s, p99, ms", bound: 5 },
    measure: (look) => look.latency(SINGLE, "2000/s", "p99"),
  },
  { ...{ ...open, text: "… p99.9, ms", bound: 20 }, measure: (look) => look.latency(SINGLE, "2000/s", "p999") },
  {
    ...{ ...open, text: "… p99 of bare frames on the same disk" },
    measure: (look) => look.latency("nats-frames", "2000/s", "p99"),
  },
  {
    ...{ ...open, text: "… p99.9 of bare frames on the same disk" },
    measure: (look) => look.latency("nats-frames", "2000/s", "p999"),
  },
  {
    ...{ ...open, text: "open loop at 75 % of capacity, p99, ms", bound: 25 },
    measure: (look) => look.latency(SINGLE, "75%", "p99"),
  },
  {
    ...{ ...deep, text: "throughput at depth 1,000,000 by that at 1,000", wants: "at least", bound: 0.8 },
    measure: (look) => ratio(look.rate(BATCH, "depth 1000000"), look.rate(BATCH, "depth 1000")),
  },
  {
    ...{ ...deep, text: "memory of the dispatcher at depth 1,000,000, MB", wants: "at most", bound: 700 },
    measure: (look) => megabytes(look.more(BATCH, "rssMib dispatcher", "depth 1000000")),
  },
  {
    ...{ ...amount, text: "processor time per item of 100,000 items by that of 10,000", bound: LINEAR },
    measure: (look) => ratio(look.rate(BATCH, "100000 items"), look.rate(BATCH, "10000 items")),
  },
  {
    ...{ ...amount, text: "… of 1,000,000 items by that of 10,000", bound: LINEAR },
    measure: (look) => ratio(look.rate(BATCH, "1000000 items"), look.rate(BATCH, "10000 items")),
  },
  {
    ...{ ...life, text: "8 shards in 2 processes by 1 shard in 1, unpinned", placement: "free", bound: 1 },
    measure: (look) => ratio(look.rate("omnirelay-8-shards-2-free"), look.rate("omnirelay-batch-free")),
  },
  {
    // Two processes that share a processor can only show what sharing costs.
    ...{ ...life, text: "… all servers on one processor", placement: "pinned" },
    measure: (look) => ratio(look.rate("omnirelay-8-shards-2"), look.rate(BATCH)),
  },
];

export function goalsOf(merged: Merged): readonly Goal[] {
  return AIMS.map((aim) => goalOf(aim, merged));
}

/** From the newest run that has all of its rows, with enough rounds if there is one. */
function goalOf(aim: Aim, merged: Merged): Goal {
  const table = tableOf(merged, aim.scenario, CLASS, aim.placement);
  const found: Goal[] = [];
  for (const from of merged.runs) {
    const { rows, syncs } = from.results;
    const own = rows.filter(
      (row) => row.scenario === aim.scenario && row.durability === CLASS && bedOf(from, row) === table?.bed,
    );
    const look = new Look(own, syncs);
    const measured = aim.measure(look);
    if (measured === undefined) continue;
    found.push({ aim, measured, from, rounds: Math.min(...look.used.map(({ runs }) => runs.length)), isApart: false });
  }
  const best = found.find(({ rounds = 0 }) => rounds >= roundsWanted(aim.scenario)) ?? found[0];
  const isApart = aim.measure(new Look(table?.rows ?? [], merged.syncs)) !== undefined;
  return best ?? { aim, measured: undefined, isApart };
}

export const isMet = ({ measured, aim: { bound, wants } }: Goal): boolean | undefined =>
  measured === undefined || bound === undefined
    ? undefined
    : wants === "at least"
      ? measured >= bound
      : measured <= bound;

const third = (value: number | undefined): number | undefined => (value === undefined ? undefined : value / 3);
const megabytes = (mib: number | undefined): number | undefined => (mib === undefined ? undefined : mib * 1.048576);
const ratio = (value: number | undefined, by: number | undefined): number | undefined =>
  value === undefined || by === undefined ? undefined : value / by;
