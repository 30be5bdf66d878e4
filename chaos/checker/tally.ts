/** Counts by invariant what was checked and what was found wrong, so that a check that looked at nothing shows. */

/** What each name says. Those of a run (`run.*`) make it invalid, all others are broken promises. */
const INVARIANTS = {
  "run.records":
    "every line of the folder can be read, every operation is a request of its verb and every ok answer a reply of it",
  "run.sequential": "a process has one operation at a time, and none after one with an unknown outcome",
  "run.classified": "only what is certain is called ok or fail",
  "run.okMutations": "enough mutations were answered well",
  "run.okDuringFaults": "enough operations were answered well during faults",
  "run.faults": "every planned fault struck while operations were under way, lasted, and left evidence",
  "run.leaderChanges": "leadership changed as often as planned",
  "run.states": "every dispatcher told its state behind the last event that a client asked for",
  "run.wholeLog": "there is a dump of each replica, and one of them begins with the log's first frame",
  "run.sinks": "every sink of the plan, and no other, told what it holds and where its checkpoint stands",
  "run.searched": "the search came to an answer for 99 % of the items and requests",
  L1: "no replica has a hole in its stream",
  L2: "in the end every replica holds the same messages, byte for byte",
  L3: "what was acknowledged is in the log, on a majority of replicas",
  L4: "the log is one chain of frames",
  L5: "each frame was appended under the expectation of its place",
  L6: "terms grow, each begins with its leader's event, and only that leader writes",
  L7: "nothing was told before it was in the log",
  L9: "the log is one log",
  F1: "tokens grow",
  F2: "only who holds a live lease ends or renews it",
  F3: "an item has one live lease at most",
  "F3.search": "the answers about each item fit one order that real time allows, whatever sequences they cite",
  F4: "at the fenced resource tokens never go back, and each write is by the holder of its token",
  F6: "no lease ran out within the time that its holder was told",
  F7: "every answer is that of the term and sequence that it cites, every refusal was true",
  Q1: "each frame's counts are those of its events",
  Q2: "nothing is in the log that nobody asked for",
  Q3: "each acknowledged item is there at the end",
  Q4: "no item comes back once it has ended",
  Q5: "each grant is of the first item that may be granted",
  Q6: "attempts are counted, and an item dies at its last",
  Q7: "bounds hold, and a refused enqueue leaves no event",
  R1: "a request has one effect at most",
  "R1.search": "the answers to each request fit one effect in an order that real time allows",
  R2: "a repeat gets the same answer",
  R3: "an operation with an unknown outcome had one effect or none",
  R5: "each grant answers a request of its principal",
  K1: "no checkpoint is ahead of what its sink holds, and each is of this log",
  K2: "a sink that promises each event once has none twice",
  K3: "a sink holds every event up to its checkpoint as the log has it, and nothing else",
  K4: "events come to a sink in their order",
  K6: "a checkpoint never goes back",
  S1: "states are equal at equal sequences",
  S2: "the log replays",
  S6: "an answer is not older than was asked",
  O1: "counts that are told are those of the log",
  V1: "the longest time without an acknowledged write is no longer than the faults of the run explain, and what is due ticks",
} as const;
export type Invariant = keyof typeof INVARIANTS;

/** Violations that are kept in words; all are counted. */
const KEPT_MAX = 20;

export interface InvariantTally {
  /** How often it was looked at. */
  readonly checked: number;
  readonly violated: number;
  /** The first ones, in words. */
  readonly violations: readonly string[];
}

export class Tally {
  readonly #tallies = new Map<Invariant, { checked: number; violated: number; violations: string[] }>(
    (Object.keys(INVARIANTS) as Invariant[]).map((name) => [name, { checked: 0, violated: 0, violations: [] }]),
  );

  /** Answers whether it was right. */
  check(name: Invariant, isRight: boolean, message: () => string): boolean {
    this.checked(name);
    if (!isRight) this.violated(name, message());
    return isRight;
  }

  checked(name: Invariant, count = 1): void {
    this.#of(name).checked += count;
  }

  violated(name: Invariant, message: string): void {
    const tally = this.#of(name);
    tally.violated += 1;
    if (tally.violations.length < KEPT_MAX) tally.violations.push(message);
  }

  /** By name, in the order of their declaration. */
  all(): Readonly<Record<string, InvariantTally>> {
    return Object.fromEntries(this.#tallies);
  }

  #of(name: Invariant) {
    const tally = this.#tallies.get(name);
    if (tally === undefined) throw new Error(`${name} is no invariant of the checker`);
    return tally;
  }
}
