/**
 * Searches an order of operations that real time and a model allow (Wing and Gong, with Lowe's cache of what was tried): the judge that
 * trusts nothing but what callers saw. Pure, and bounded by steps, not by time.
 */

/** An operation whose effect lies at one moment between the two. `returned` is Infinity where nobody knows: it may also never happen. ns. */
export interface Interval {
  readonly invoked: number;
  readonly returned: number;
}

export interface Model<State, Step extends Interval> {
  readonly start: State;
  /** The state behind the step; undefined when it cannot have been answered so in this state. */
  step(state: State, step: Step): State | undefined;
  /** Equal for equal states. */
  keyOf(state: State): string;
}

/** `unknown`: the budget was used up. */
export interface SearchResult {
  readonly verdict: "possible" | "impossible" | "unknown";
  readonly steps: number;
}

/** Invocation or return of a step, in a doubly linked list in order of time. */
interface Place<Step> {
  readonly at: number;
  readonly step: Step;
  readonly index: number;
  /** Of an invocation that has one. */
  match: Place<Step> | undefined;
  readonly isReturn: boolean;
  before: Place<Step> | undefined;
  after: Place<Step> | undefined;
}

interface Try<State, Step> {
  readonly place: Place<Step>;
  readonly state: State;
}

export function search<State, Step extends Interval>(
  model: Model<State, Step>,
  operations: readonly Step[],
  stepsMax: number,
): SearchResult {
  const head = placesOf(operations);
  const tried: Try<State, Step>[] = [];
  const seen = new Set<string>();
  let { start: state } = model;
  let taken = 0n;
  let open = operations.filter(({ returned }) => returned < Number.POSITIVE_INFINITY).length;
  let steps = 0;
  let place = head.after;
  while (open > 0) {
    if (place === undefined || place.isReturn) {
      // Nothing that was invoked before this return can come next: the last choice was wrong.
      const last = tried.pop();
      if (last === undefined) return { verdict: "impossible", steps };
      if (last.place.match !== undefined) open += 1;
      taken ^= 1n << BigInt(last.place.index);
      state = last.state;
      putBack(last.place);
      place = last.place.after;
      continue;
    }
    steps += 1;
    if (steps > stepsMax) return { verdict: "unknown", steps };
    const next = model.step(state, place.step);
    const key = next === undefined ? "" : `${taken | (1n << BigInt(place.index))} ${model.keyOf(next)}`;
    if (next === undefined || seen.has(key)) {
      place = place.after;
      continue;
    }
    seen.add(key);
    tried.push({ place, state });
    taken |= 1n << BigInt(place.index);
    state = next;
    if (place.match !== undefined) open -= 1;
    takeOut(place);
    place = head.after;
  }
  return { verdict: "possible", steps };
}

/** The head of the list, which is no place itself. At one moment invocations come before returns: touching operations overlap. */
function placesOf<Step extends Interval>(operations: readonly Step[]): { after: Place<Step> | undefined } {
  const places: Place<Step>[] = [];
  for (const [index, step] of operations.entries()) {
    const bare = { step, index, match: undefined, before: undefined, after: undefined };
    const invocation: Place<Step> = { ...bare, at: step.invoked, isReturn: false };
    places.push(invocation);
    if (step.returned === Number.POSITIVE_INFINITY) continue;
    invocation.match = { ...bare, at: step.returned, isReturn: true };
    places.push(invocation.match);
  }
  places.sort((a, b) => a.at - b.at || Number(a.isReturn) - Number(b.isReturn));
  const head = { step: undefined, index: -1, at: -1, isReturn: false, match: undefined } as unknown as Place<Step>;
  let last = head;
  for (const place of places) {
    last.after = place;
    place.before = last;
    last = place;
  }
  return head;
}

function takeOut<Step>(place: Place<Step>): void {
  unlink(place);
  if (place.match !== undefined) unlink(place.match);
}

/** In the opposite order, so that each finds its neighbours as it left them. */
function putBack<Step>(place: Place<Step>): void {
  if (place.match !== undefined) link(place.match);
  link(place);
}

function unlink<Step>(place: Place<Step>): void {
  if (place.before !== undefined) place.before.after = place.after;
  if (place.after !== undefined) place.after.before = place.before;
}

function link<Step>(place: Place<Step>): void {
  if (place.before !== undefined) place.before.after = place;
  if (place.after !== undefined) place.after.before = place;
}
