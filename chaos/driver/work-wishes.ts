/** What a worker says of its leases beside their ends, as far as the run has it. */
import type { RequestInput } from "../../contracts/commands.ts";
import { randomFrom } from "../drill.ts";
import type { Feature } from "./features.ts";
import { LEASE_MS } from "./workload.ts";

const DELAY_MS_MAX = 1_000;

type Failure = RequestInput<"fail">["leases"][number];

/** Draws of one lane beside its others: a feature that is off changes nothing else. */
export class WorkWishes {
  readonly #features: ReadonlySet<Feature>;
  readonly #draw: () => number;

  constructor(features: readonly Feature[], seed: number) {
    this.#features = new Set(features);
    this.#draw = randomFrom(seed + 1);
  }

  /** Without a length of its own the lease is as long as its item says. */
  ofLease(): { readonly leaseDurationMs?: number } {
    return this.#wants("lease_lengths", 0.5) ? {} : { leaseDurationMs: LEASE_MS };
  }

  /** What a beat tells of the work under a lease. */
  ofBeat(token: number): { readonly progress?: string } {
    return this.#wants("reports", 0.6) ? { progress: `${token} ${Math.floor(this.#draw() * 100)} %` } : {};
  }

  /** What the completion of a lease leaves. */
  ofCompletion(token: number): { readonly result?: string } {
    return this.#wants("reports", 0.5) ? { result: `${token} done` } : {};
  }

  ofFailure(): Pick<Failure, "delayMs" | "penalty"> {
    return {
      ...(this.#wants("failure_terms", 0.5) ? { delayMs: Math.floor(this.#draw() * DELAY_MS_MAX) } : {}),
      ...(this.#wants("failure_terms", 0.4) ? { penalty: false } : {}),
    };
  }

  /** How somebody ends a lease who is told that nobody wants its item any more; some complete it all the same. */
  ofCancel(): "release" | "fail" | "complete" {
    const kind = this.#draw();
    return kind < 0.4 ? "release" : kind < 0.7 ? "fail" : "complete";
  }

  #wants(feature: Feature, part: number): boolean {
    return this.#features.has(feature) && this.#draw() < part;
  }
}
