/** Bugs that a run must be caught by: patches of the product's source that only the drill's own dispatchers load. The product itself knows nothing of them. */

interface Plant {
  /** From the root of the repository. */
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly find: string;
  readonly replace: string;
  /** Invariants of the checker, one of which must be violated in each run. */
  readonly caughtBy: readonly string[];
}

export const PLANTS = {
  /**
   * Frames of a deposed leader get into the log, where they are void. That nobody is told of them is the doing of the other two guards: an
   * acknowledgement of another place is not believed, and a leader follows its own log.
   */
  "no-expected-sequence": {
    file: "services/jetstream/jetstream-log.ts",
    find: "    { name: EXPECTED_SEQUENCE_HEADER, value: String(expectedLast) },\n",
    replace: "",
    caughtBy: ["L5"],
  },
} as const satisfies Readonly<Record<string, Plant>>;
export type PlantName = keyof typeof PLANTS;

export const isPlant = (name: string): name is PlantName => Object.hasOwn(PLANTS, name);

/** Flags of Node under which a process carries the bug. */
export const plantFlags = (plant: PlantName): readonly string[] => [
  "--import",
  `${import.meta.resolve("./plant-loader.ts")}?plant=${plant}`,
];
