/** What a scenario is: a load that a client process runs against a peer, or a hand that directs several of them and the servers. */
import type { Actor } from "../actor.ts";
import type { Items } from "../items.ts";
import type { Figures, Meter } from "../meter.ts";
import type { Peer, PeerClient, PeerSettings } from "../peers/peer.ts";

/** How much of it: `small` proves that it works, `full` is for figures. */
export type Size = "small" | "full";

/** How long and how many, by name. Each scenario says what its names mean. */
export type Amounts = Readonly<Record<string, number>>;

/** Results by case, such as `C=16`; a scenario without cases has one by the name of "". */
export type Cases = Readonly<Record<string, Figures>>;

export interface LoadRun {
  readonly peer: Peer;
  readonly client: PeerClient;
  readonly items: Items;
  readonly meter: Meter;
  readonly amounts: Amounts;
  readonly seed: number;
  /** A further client of the same peer. */
  connect(settings: PeerSettings): Promise<PeerClient>;
  readonly report: (line: string) => void;
}

export interface DirectRun {
  readonly peer: Peer;
  readonly amounts: Amounts;
  /** Kills the servers and starts them again, as `PeerServer` says. */
  crash(): Promise<void>;
  /** Starts a client process of its own. */
  actor(settings: PeerSettings): Promise<Actor>;
  readonly report: (line: string) => void;
}

interface Described {
  readonly name: string;
  readonly title: string;
  /** Of the value of its figures. */
  readonly unit: string;
  readonly better: "more" | "less";
  readonly sizes: Readonly<Record<Size, Amounts>>;
  /** Most runs that make sense of something that takes long. Absent: as many as are asked for. */
  readonly runsMax?: number;
  /** The only peers it is run for unless some are named. Absent: all. */
  readonly peers?: readonly string[];
  /** Why it says nothing about the peer, as a sentence; undefined when it does. */
  readonly unfit?: (peer: Peer) => string | undefined;
}

export interface LoadScenario extends Described {
  readonly kind: "load";
  /** Of the client that is connected for it. */
  readonly settings?: (amounts: Amounts) => PeerSettings;
  readonly load: (run: LoadRun) => Promise<Cases>;
}

export interface DirectScenario extends Described {
  readonly kind: "direct";
  readonly direct: (run: DirectRun) => Promise<Cases>;
}

export type Scenario = LoadScenario | DirectScenario;

/** The amount of that name. */
export function amount(amounts: Amounts, name: string): number {
  const value = amounts[name];
  if (value === undefined) throw new Error(`the scenario has no amount ${name}`);
  return value;
}

export const notAQueue = ({ abilities }: Peer): string | undefined =>
  abilities.queue ? undefined : "it is no queue, only a limit to compare with";
