/**
 * A worker of a run: leases items, writes to the fenced resource under each lease, and ends the lease in one of the ways in which workers do.
 * It never looks at how long its lease is valid: a worker that was paused goes on as if nothing had happened, and only the fence stops it.
 */
import { OperatingError } from "../../contracts/errors.ts";
import type { ReplyOf } from "../../contracts/replies.ts";
import type { FencedStore } from "../../services/persistence/fenced-store.ts";
import { pause, randomFrom } from "../drill.ts";
import { openResource, writeFenced } from "./fenced-resource.ts";
import { WorkWishes } from "./work-wishes.ts";
import { type Caller, LEASE_MS, runWorkload, type WorkloadParts } from "./workload.ts";

const LANES = 8;
const HEARTBEAT_MS = 1_200;
const WAIT_MS = 300;
const LEASES_MAX = 2;
const REST_MS = 100;
/** A request of unknown outcome is sent again so often. */
const REPEATS_MAX = 3;

type Lease = ReplyOf<"lease">["leases"][number];
/** `hold`: keeps the lease alive for a while. `vanish`: never says a word again. `outlive`: comes back when the lease has run out. */
const FATES = ["complete", "hold", "fail", "bury", "release", "vanish", "outlive"] as const;
type Fate = (typeof FATES)[number];
const WEIGHTS: Readonly<Record<Fate, number>> = {
  complete: 0.84,
  hold: 0.03,
  fail: 0.06,
  bury: 0.02,
  release: 0.04,
  vanish: 0.005,
  outlive: 0.005,
};

class Lane {
  readonly #parts: WorkloadParts;
  readonly #store: FencedStore;
  readonly #own: Caller;
  readonly #draw: () => number;
  readonly #wishes: WorkWishes;

  constructor(parts: WorkloadParts, store: FencedStore, index: number) {
    this.#parts = parts;
    this.#store = store;
    this.#own = { name: `${parts.settings.name}-${index}`, isPatient: index === 0 };
    this.#draw = randomFrom(parts.settings.seed + index * 7_919);
    this.#wishes = new WorkWishes(parts.settings.features, parts.settings.seed + index * 7_919);
  }

  async run(): Promise<void> {
    for (let count = 1; !this.#parts.isStopping(); count += 1) {
      const leases = await this.#take(`${this.#own.name}-${count}`);
      for (const lease of leases) await this.#work(lease);
      if (leases.length === 0) await pause(REST_MS);
    }
  }

  async #take(requestId: string): Promise<readonly Lease[]> {
    const maxItems = 1 + Math.floor(this.#draw() * LEASES_MAX);
    const request = { requestId, maxItems, waitMs: WAIT_MS, ...this.#wishes.ofLease() };
    const { caller } = this.#parts;
    for (let repeat = 0; repeat < REPEATS_MAX; repeat += 1) {
      const outcome = await caller.call(this.#own, "lease", request);
      if (outcome.type === "ok") return outcome.reply.leases;
      if (outcome.type === "fail") return [];
      await pause(REST_MS);
    }
    return [];
  }

  async #work(lease: Lease): Promise<void> {
    const fate = this.#parts.isSettling() ? "complete" : this.#fate();
    this.#write(lease);
    switch (fate) {
      case "vanish":
        return;
      case "complete":
        return this.#complete(lease);
      case "hold": {
        const isCancelled = await this.#hold(lease, 1.25 * LEASE_MS * this.#draw());
        const end = isCancelled ? this.#wishes.ofCancel() : "complete";
        if (end === "fail") return this.#settle("fail", lease, { reason: "cancelled" });
        if (end === "release") return this.#settle("release", lease, {});
        this.#write(lease);
        return this.#complete(lease);
      }
      case "fail":
        return this.#settle("fail", lease, { reason: "drill", ...this.#wishes.ofFailure() });
      case "bury":
        return this.#settle("fail", lease, { reason: "drill", requeue: false });
      case "release":
        return this.#settle("release", lease, {});
      case "outlive":
        await pause(LEASE_MS * (1.2 + this.#draw()));
        this.#write(lease);
        return this.#complete(lease);
    }
  }

  #fate(): Fate {
    let left = this.#draw();
    for (const fate of FATES) {
      left -= WEIGHTS[fate];
      if (left < 0) return fate;
    }
    return "complete";
  }

  /** Ends early when it is told that nobody wants the item any more; whether it was. */
  async #hold({ itemId, token }: Lease, ms: number): Promise<boolean> {
    const endMs = performance.now() + ms;
    while (performance.now() < endMs) {
      const leases = [{ itemId, token, ...this.#wishes.ofBeat(token) }];
      const outcome = await this.#parts.caller.call(this.#own, "heartbeat", { leases });
      const [told] = outcome.type === "ok" ? outcome.reply.results : [];
      if (told?.["cancelRequested"] === true) return true;
      await pause(Math.max(0, Math.min(HEARTBEAT_MS, endMs - performance.now())));
    }
    return false;
  }

  #complete(lease: Lease): Promise<void> {
    return this.#settle("complete", lease, this.#wishes.ofCompletion(lease.token));
  }

  async #settle(f: "complete" | "fail" | "release", { itemId, token }: Lease, more: object): Promise<void> {
    for (let repeat = 0; repeat < REPEATS_MAX; repeat += 1) {
      const outcome = await this.#parts.caller.call(this.#own, f, { leases: [{ itemId, token, ...more }] });
      if (outcome.type === "ok") return;
      await pause(REST_MS);
    }
  }

  /** One write under the lease; the resource refuses it when a newer one has written. */
  #write({ itemId, token, fenceKey }: Lease): void {
    const { recorder } = this.#parts.caller;
    const { principal } = this.#parts.settings;
    const args = { resource: fenceKey, itemId, token };
    const operation = recorder.invoke({ caller: this.#own.name, principal, f: "fenced_write", args });
    try {
      const result = writeFenced(this.#store, args, operation.record.id);
      if (result.kind === "rejected") recorder.fail(operation, { code: result.code, definite: true });
      else recorder.ok(operation, {});
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      const { code, definite } = error;
      if (definite) recorder.fail(operation, { code, definite });
      else recorder.info(operation, { code, definite });
    }
  }
}

await runWorkload(async (parts) => {
  const store = openResource(parts.settings.folder);
  const lanes = Array.from({ length: LANES }, (_, index) => new Lane(parts, store, index).run());
  await Promise.all(lanes);
  store.close();
});
