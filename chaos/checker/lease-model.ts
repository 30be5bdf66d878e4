/** An item as callers see it: a model of its leases that knows no log and no sequences, only tokens that somebody was given. */
import type { Interval, Model } from "./search.ts";

/**
 * `retold`: a repeated lease request was told a lease that it had got before. `repeated`: a settlement was answered as a duplicate.
 * `stale`: the token was refused for certain. `shortened`: an unknown beat may have made the lease shorter. `drain`: one may have ended the
 * lease, until `latest`. A settlement is open where nobody was told what became of the item.
 */
export type LeaseStep = Interval &
  (
    | { readonly kind: "enqueue" | "redrive" | "purge" }
    | {
        readonly kind: "grant";
        readonly token: number;
        readonly attempt: number;
        readonly until: number;
        readonly peerId: string;
      }
    | { readonly kind: "retold"; readonly token: number; readonly until: number }
    | { readonly kind: "beat"; readonly token: number; readonly until: number; readonly isExact: boolean }
    | { readonly kind: "shortened" | "stale"; readonly token: number }
    | {
        readonly kind: "settle" | "repeated";
        readonly token: number;
        readonly end: "completed" | "dead" | "pending" | "gone";
        readonly isOpen: boolean;
      }
    | { readonly kind: "cancel"; readonly outcome: "ended" | "requested"; readonly isRepeat: boolean }
    | { readonly kind: "evict"; readonly peerId: string }
    | { readonly kind: "drain"; readonly latest: number }
  );
type Settlement = Extract<LeaseStep, { readonly isOpen: boolean }>;
type Kind<K extends LeaseStep["kind"]> = Extract<LeaseStep, { readonly kind: K }>;

interface LeaseState {
  /** `dead`: somebody may bring it back. `gone`: it was cancelled or purged. */
  readonly status: "absent" | "pending" | "leased" | "completed" | "dead" | "gone";
  /** Of the last grant. */
  readonly token: number;
  readonly attempt: number;
  readonly peerId: string;
  /** Before this moment the lease cannot have run out. ns. */
  readonly until: number;
  /** Its holder was asked to stop: however the lease ends, but by a completion, the item is gone. */
  readonly isAsked: boolean;
  /** The last settlement: token and end. */
  readonly settled: string;
  /** The latest invocation so far; it follows from the steps that were taken. ns. */
  readonly now: number;
}

/** A lease may run out unseen, once the time for which its holder knows it valid is over: then it is as if it had not been. */
export const leaseModel: Model<LeaseState, LeaseStep> = {
  start: {
    ...{ status: "absent", token: 0, attempt: 0, peerId: "", until: 0, isAsked: false, settled: "", now: 0 },
  },
  keyOf: ({ status, token, until, isAsked, settled }) => `${status} ${token} ${until} ${isAsked} ${settled}`,
  step(state, step) {
    const now = Math.max(state.now, step.invoked);
    const next = after({ ...state, now }, step);
    return next === undefined ? undefined : { ...next, now };
  },
};

function after(state: LeaseState, step: LeaseStep): LeaseState | undefined {
  const { status, token, until, isAsked } = state;
  const hasRunOut = status === "leased" && step.returned >= until;
  const isHeld = status === "leased" && "token" in step && token === step.token;
  /** Behind the end of a lease that nobody has settled. */
  const left = isAsked ? "gone" : "pending";
  switch (step.kind) {
    case "enqueue":
      return status === "absent" ? { ...state, status: "pending" } : undefined;
    case "grant":
      if (status !== "pending" && !(hasRunOut && !isAsked)) return undefined;
      if (step.token <= token || step.attempt <= state.attempt) return undefined;
      return { ...state, ...heldBy(step), status: "leased" };
    case "stale":
      if (!isHeld) return state;
      return hasRunOut ? { ...state, status: left, settled: "" } : undefined;
    case "repeated":
      return state.settled === settledText(step) ? state : undefined;
    case "retold":
      return isHeld ? { ...state, until: Math.max(until, step.until) } : undefined;
    case "beat":
      return isHeld ? { ...state, until: step.isExact ? step.until : Math.max(until, step.until) } : undefined;
    case "shortened":
      return isHeld ? { ...state, until: 0 } : undefined;
    case "settle":
      return isHeld ? settled(state, step) : undefined;
    case "evict":
      return status === "leased" && state.peerId === step.peerId ? { ...state, status: left } : state;
    case "drain":
      return status === "leased" && state.now <= step.latest ? { ...state, status: left } : undefined;
    case "cancel":
      return cancelled(state, step, hasRunOut);
    case "redrive":
    case "purge": {
      // It may have died unseen: its time was over, or nobody was told of its last lease.
      const mayBeDead = status === "dead" || status === "pending" || (hasRunOut && !isAsked);
      return mayBeDead ? { ...state, status: step.kind === "purge" ? "gone" : "pending" } : undefined;
    }
  }
}

const heldBy = ({ token, attempt, until, peerId }: Kind<"grant">) => ({
  token,
  attempt,
  until,
  peerId,
  isAsked: false,
});

function settled(state: LeaseState, step: Settlement): LeaseState | undefined {
  const { end, isOpen } = step;
  const next = { ...state, settled: settledText(step) };
  if (end === "completed") return { ...next, status: end };
  if (state.isAsked) return isOpen || end === "gone" ? { ...next, status: "gone" } : undefined;
  return end === "gone" ? undefined : { ...next, status: end };
}

function cancelled(
  state: LeaseState,
  { outcome, isRepeat }: Kind<"cancel">,
  hasRunOut: boolean,
): LeaseState | undefined {
  const { status, isAsked } = state;
  if (isRepeat) {
    if (status === "gone") return state;
    if (status !== "leased" || !isAsked) return undefined;
    if (outcome === "requested") return state;
    return hasRunOut ? { ...state, status: "gone" } : undefined;
  }
  // A pending item whose holder was asked has a lease that nobody was told of: it comes back to nobody.
  if (outcome === "ended" || status === "pending") {
    const isFree = status === "pending" || status === "dead" || (hasRunOut && !isAsked);
    return isFree ? { ...state, status: "gone" } : undefined;
  }
  return status === "leased" && !isAsked ? { ...state, isAsked: true } : undefined;
}

const settledText = ({ token, end }: Settlement) => `${token} ${end}`;
