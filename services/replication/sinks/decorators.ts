/** Sinks around sinks: one that lets some events through, and one that brings them to several. */
import type { ReplicationEvent } from "../../../contracts/envelope.ts";
import { OperatingError } from "../../../contracts/errors.ts";
import type { Checkpoint } from "../../../contracts/followers.ts";
import type { Sink, SinkBatch, SinkScope } from "../sink.ts";
import { eventsBehind, isBehind, placeIn } from "./places.ts";

/** The sink without the events that `wants` says no to. Its place moves past them. The guarantee stays that of the sink. */
export function filtered(sink: Sink, wants: (event: ReplicationEvent) => boolean): Sink {
  return {
    open: (scope, checkpoint) => sink.open(scope, checkpoint),
    apply: (batch, signal) => sink.apply({ ...batch, events: batch.events.filter(wants) }, signal),
    seek: async (to) => sink.seek?.(to),
    close: () => sink.close(),
  };
}

/** A sink of a composite, by the name that its errors are told with. */
export interface ChildSink {
  readonly name: string;
  readonly sink: Sink;
}

/**
 * One sink of several: a batch is done when all of them have it, at least once each. Its place is the lowest of theirs; one that is further
 * skips what it has. An error is that of one child, whose name stands in `details.child`.
 */
export function composite(children: readonly ChildSink[]): Sink {
  return new CompositeSink(children);
}

interface Child extends ChildSink {
  /** Up to where it has had its effects; undefined where nobody knows. */
  reached: Checkpoint | undefined;
}

class CompositeSink implements Sink {
  readonly #children: readonly Child[];

  constructor(children: readonly ChildSink[]) {
    if (children.length === 0) throw invalid("a composite sink needs at least one child");
    if (new Set(children.map(({ name }) => name)).size < children.length)
      throw invalid("the children of a composite sink need names of their own");
    this.#children = children.map(({ name, sink }) => ({ name, sink, reached: undefined }));
  }

  /** Answers the lowest place, where any child keeps one. Throws: what a child throws; those that are open already are closed by `close`. */
  async open(scope: SinkScope, checkpoint: Checkpoint | undefined): Promise<Checkpoint | undefined> {
    const known = checkpoint && placeIn(checkpoint);
    let keepsPlace = false;
    for (const child of this.#children) {
      const own = await named(child, child.sink.open(scope, checkpoint));
      keepsPlace ||= own !== undefined;
      child.reached = own ?? known;
    }
    return keepsPlace ? lowest(this.#children) : undefined;
  }

  /** All children at once. What can pass is told before what blames events, so that no event is given up that a child still has to get. */
  async apply(batch: SinkBatch, signal: AbortSignal): Promise<void> {
    const outcomes = await Promise.allSettled(this.#children.map((child) => bring(child, batch, signal)));
    const errors = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason as unknown] : []));
    if (errors.length > 0) throw errors.reduce((worst, error) => (rankOf(error) < rankOf(worst) ? error : worst));
  }

  async seek(to: Checkpoint): Promise<void> {
    for (const child of this.#children) {
      if (child.sink.seek !== undefined) await named(child, child.sink.seek(to));
      child.reached = placeIn(to);
    }
  }

  /** Closes all, also when one cannot be; then throws its error. */
  async close(): Promise<void> {
    const outcomes = await Promise.allSettled(this.#children.map((child) => named(child, child.sink.close())));
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  }
}

async function bring(child: Child, batch: SinkBatch, signal: AbortSignal): Promise<void> {
  const { reached } = child;
  if (reached !== undefined && !isBehind(reached, batch.upTo)) return;
  const isPartlyThere = reached !== undefined && isBehind(batch.after, reached);
  const rest = isPartlyThere
    ? { ...batch, after: reached, events: eventsBehind(batch.events, reached.sequence) }
    : batch;
  await named(child, child.sink.apply(rest, signal));
  child.reached = placeIn(batch.upTo);
}

/** Undefined, the beginning of all, where one child's place is not known. */
function lowest([first, ...others]: readonly Child[]): Checkpoint | undefined {
  let low = first?.reached;
  for (const { reached } of others) {
    if (low === undefined || reached === undefined) return undefined;
    if (isBehind(reached, low)) low = reached;
  }
  return low;
}

/** What ends the ownership, then what passes by itself or is a defect, then what blames events. */
function rankOf(error: unknown): number {
  if (!(error instanceof OperatingError)) return 1;
  if (error.code === "sink_taken") return 0;
  return error.code.endsWith("_refused") ? 2 : 1;
}

async function named<T>({ name }: ChildSink, attempt: Promise<T>): Promise<T> {
  try {
    return await attempt;
  } catch (error) {
    throw error instanceof OperatingError ? errorOfChild(name, error) : error;
  }
}

function errorOfChild(child: string, cause: OperatingError): OperatingError {
  const { code, definite, details, message } = cause;
  return new OperatingError(code, `${child}: ${message}`, { definite, cause, details: { ...details, child } });
}

const invalid = (message: string): OperatingError => new OperatingError("invalid_options", message, { definite: true });
