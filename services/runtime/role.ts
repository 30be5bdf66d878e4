/** What every role of the mesh looks like to whoever runs it: alone in a process, or beside others in the mesh host. */

export interface Readiness {
  readonly ready: boolean;
  /** Why not, or what it serves; for `/readyz` and for people. */
  readonly detail: string;
}

/** A part that can be started once and stopped. Invariant: `stop` may be called at any time, also twice and before `start` has ended. */
export interface Role {
  readonly name: string;
  /** Resolves when the role serves; rejects with an OperatingError that says what to do. */
  start(): Promise<void>;
  /** Ends what it does in order: nothing new is taken, what is under way is ended or given back. */
  stop(): Promise<void>;
  ready(): Readiness;
}
