/** What a fault is: data that is planned from a seed, printed and logged, and the way in which its kind strikes a running mesh. */
import type { Mesh } from "../driver/mesh.ts";

/** Faults of one area never overlap; those of different areas may. */
export type Area = "dispatchers" | "links" | "nats" | "replicator" | "workers";

type FaultParams = Readonly<Record<string, number | string>>;

export interface PlannedFault {
  readonly kind: string;
  /** Whom it is to strike; a role, such as `leader`, is filled by who has it at that moment. */
  readonly target: string;
  /** From the start of the workload. ms. */
  readonly atMs: number;
  readonly durationMs: number;
  readonly params: FaultParams;
}

/** Both ends are possible. */
export type Range = readonly [min: number, max: number];

/** A fault that has struck and lasts. */
export interface Strike {
  /** Who was struck. */
  readonly target: string;
  /** Makes good what can be made good, and says what shows that the fault was there. */
  end(): Promise<StrikeEnd>;
}
export interface StrikeEnd {
  readonly applied: boolean;
  readonly evidence: Readonly<Record<string, unknown>>;
}

export interface FaultKind {
  readonly description: string;
  readonly area: Area;
  /** ms. */
  readonly durationMs: Range;
  /** One of them is drawn. */
  readonly targets: readonly string[];
  /** Drawn for each fault: a whole number of a range, or one of some words. */
  readonly params?: Readonly<Record<string, Range | readonly string[]>>;
  /** Longest time without an acknowledged write that it may cause: what was measured alone on two cores, and a margin for busy ones. ms. */
  readonly writeGapMs: number;
  /** Targets without which nobody can write: the fault's own length, and so much more, take the place of `writeGapMs`. ms. */
  readonly stopsWrites?: Readonly<Record<string, number>>;
  /** Whether it takes the shard from its leader when it strikes it. */
  readonly movesLeader?: boolean;
  /** Strikes. `draw` gives numbers in [0, 1) that follow from the seed. */
  readonly strike: (mesh: Mesh, fault: PlannedFault, draw: () => number) => Promise<Strike>;
}

export function numberParam({ params }: PlannedFault, name: string): number {
  return Number(params[name] ?? 0);
}

/** Something that goes on until the fault ends: if it fails before anybody asks for it, the asking fails, not the process. */
export function keptFor<Result>(end: Promise<Result>): Promise<Result> {
  end.catch(() => {});
  return end;
}
