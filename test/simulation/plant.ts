/** One bug that the simulator must find: a text of the source, and what takes its place. */
export interface Plant {
  readonly name: string;
  /** From the root of the repository. */
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly find: string;
  readonly replace: string;
  /** Invariants by which it may show; any violation counts as found. */
  readonly foundBy: string;
}

export const NODE = "services/dispatcher/node";
export const CORE = "services/core";
export const PERSISTENCE = "services/persistence";

export const plant = (name: string, file: string, find: string, replace: string, foundBy: string): Plant => ({
  ...{ name, file, find, replace, foundBy },
});
