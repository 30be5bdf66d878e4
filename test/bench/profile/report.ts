/** Medians of the runs of a profile, and its tables as Markdown. */
import { type Machine, median } from "../machine.ts";
import type { Result } from "./main.ts";
import type { Line, ProbeAnswer, Summary } from "./summary.ts";

const PROCESSES = ["dispatcher", "client", "natsServer"] as const;
/** Enqueued, leased, completed. */
const EVENTS_PER_ITEM = 3;

export interface Run {
  /** Items per second. */
  readonly rate: number;
  readonly items: number;
  /** CPU time per item. µs. */
  readonly cpuUs: Readonly<Record<(typeof PROCESSES)[number], number>>;
  readonly dispatcher: ProbeAnswer;
  readonly client: ProbeAnswer;
}

/** Medians of the runs. */
export interface Figures {
  readonly itemsPerSecond: number;
  /** Each run. Items per second, in the order of the runs. */
  readonly rates: readonly number[];
  readonly cpuUsPerItem: Run["cpuUs"];
  readonly dispatcherCpuUsPerEvent: number;
  readonly dispatcher: ProcessFigures;
  readonly client: ProcessFigures;
}
interface ProcessFigures {
  readonly gcUsPerItem: number;
  readonly gcLongestMs: number;
  readonly busyShare: number;
  readonly delayMsP50: number;
  readonly delayMsP99: number;
  readonly delayMsMax: number;
}

export function figuresOf(runs: readonly Run[]): Figures {
  const middle = (of: (run: Run) => number): number => rounded(median(runs.map(of)));
  const ofProcess = (name: "dispatcher" | "client"): ProcessFigures => ({
    gcUsPerItem: middle((run) => (((run[name].gc?.minorMs ?? 0) + (run[name].gc?.majorMs ?? 0)) * 1_000) / run.items),
    gcLongestMs: middle((run) => run[name].gc?.longestMs ?? 0),
    busyShare: middle((run) => run[name].busyShare ?? 0),
    delayMsP50: middle((run) => run[name].delayMs?.p50 ?? 0),
    delayMsP99: middle((run) => run[name].delayMs?.p99 ?? 0),
    delayMsMax: middle((run) => run[name].delayMs?.max ?? 0),
  });
  const cpuUsPerItem = {
    dispatcher: middle(({ cpuUs }) => cpuUs.dispatcher),
    client: middle(({ cpuUs }) => cpuUs.client),
    natsServer: middle(({ cpuUs }) => cpuUs.natsServer),
  };
  return {
    itemsPerSecond: Math.round(median(runs.map(({ rate }) => rate))),
    rates: runs.map(({ rate }) => Math.round(rate)),
    cpuUsPerItem,
    dispatcherCpuUsPerEvent: rounded(cpuUsPerItem.dispatcher / EVENTS_PER_ITEM),
    dispatcher: ofProcess("dispatcher"),
    client: ofProcess("client"),
  };
}

const rounded = (value: number): number => Math.round(value * 100) / 100;

interface Report {
  readonly machine: Machine & { readonly natsServer: string };
  readonly results: readonly Result[];
}

export function tables({ machine, results }: Report, top: number): string {
  const { cpu, cores, node, natsServer, fsyncMs, commit } = machine;
  const parts = [
    `${cpu}, ${cores} cores, node ${node}, nats-server ${natsServer}, fsync ${fsyncMs} ms, commit ${commit}`,
  ];
  for (const { scenario, items, figures, cpu: ofCpu, heap } of results) {
    parts.push(`## ${scenario}, ${items} items a run\n\n${figuresTable(figures)}`);
    for (const side of ["dispatcher", "client"] as const) {
      if (ofCpu !== undefined) parts.push(...profileTables(`${side}: CPU`, "µs", ofCpu[side], top));
      if (heap !== undefined) parts.push(...profileTables(`${side}: allocated`, "bytes", heap[side], top));
    }
  }
  return `${parts.join("\n\n")}\n`;
}

function figuresTable(figures: Result["figures"]): string {
  const { before, here } = figures;
  const columns = [before, here].filter((one) => one !== undefined);
  const row = (name: string, of: (one: Figures) => number): string => {
    const ratio = before === undefined || here === undefined ? "" : ` ${rounded(of(here) / of(before))} |`;
    return `| ${name} | ${columns.map(of).join(" | ")} |${ratio}`;
  };
  const both = ["dispatcher", "client"] as const;
  const heads = before === undefined ? ["here"] : ["before", "here", "ratio"];
  return [
    `| median of the runs | ${heads.join(" | ")} |`,
    `|---|${heads.map(() => "---|").join("")}`,
    row("items/s", (one) => one.itemsPerSecond),
    ...PROCESSES.map((name) => row(`${name}: CPU, µs per item`, (one) => one.cpuUsPerItem[name])),
    row("dispatcher: CPU, µs per event", (one) => one.dispatcherCpuUsPerEvent),
    ...both.flatMap((name) => [
      row(`${name}: part of the time that its event loop is busy`, (one) => one[name].busyShare),
      row(`${name}: garbage collection, µs per item`, (one) => one[name].gcUsPerItem),
      row(`${name}: longest collection, ms`, (one) => one[name].gcLongestMs),
      row(`${name}: event-loop delay p50, ms`, (one) => one[name].delayMsP50),
      row(`${name}: event-loop delay p99, ms`, (one) => one[name].delayMsP99),
      row(`${name}: event-loop delay max, ms`, (one) => one[name].delayMsMax),
    ]),
  ].join("\n");
}

function profileTables(title: string, unit: string, summary: Summary, top: number): string[] {
  const table = (what: string, lines: readonly Line[]): string =>
    [
      `| ${what} | ${unit} per item | share |`,
      "|---|---|---|",
      ...lines.slice(0, top).map(({ name, perItem, share }) => `| ${name} | ${rounded(perItem)} | ${percent(share)} |`),
    ].join("\n");
  return [
    `### ${title}, ${rounded(summary.perItem)} ${unit} per item`,
    table("area", summary.areas),
    table("file", summary.files),
    table("function", summary.functions),
  ];
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
