/** The questions of a worker for items: as many as it has room for, two at a time, each answered as soon as there is anything. */
import { OperatingError } from "../../contracts/errors.ts";
import type { Lease, LeaseAnswer, LeaseClient } from "./lease-client.ts";
import { RefusedError } from "./refusal.ts";

/**
 * Questions under way at once. With one, what comes while its answer travels waits for the next one, so for a further frame of the log; a
 * second one is there meanwhile. More would only cut the room of a worker into smaller requests.
 */
const POLLS = 2;
/** Rest after a question that failed, or was answered empty at once. ms. */
const REST_FIRST_MS = 250;
const REST_MAX_MS = 10_000;

export interface PollSettings {
  readonly waitMs: number;
  readonly leaseDurationMs?: number | undefined;
  readonly resourceTypes?: string[] | undefined;
}

/** What the questions need of their worker. */
export interface PollOwner {
  readonly isRunning: boolean;
  /** Leases that it would take now. */
  readonly room: number;
  take(leases: readonly Lease[]): void;
  /** A question without an answer: what went wrong. */
  failed(error: unknown): void;
  /** Waits until a change makes it true, at most `timeoutMs`. */
  until(isOver: () => boolean, timeoutMs?: number): Promise<void>;
  /** Something that `until` may wait for has changed. */
  changed(): void;
}

interface Question {
  readonly asked: { readonly requestId: string; readonly maxItems: number; readonly after: number };
  /** Tokens of the leases that answers to it have brought. */
  readonly tokens: Set<number>;
}

interface Poll {
  /** Until it is answered: when the answer is lost it is asked again under its id, so that leases it may have got are found. */
  question: Question | undefined;
  /** How often it had no answer since any of them had one. */
  failures: number;
}

/** Invariant: what the worker holds and what its questions may bring is never more than its room. */
export class LeasePolls {
  readonly #client: LeaseClient;
  readonly #settings: PollSettings;
  readonly #owner: PollOwner;
  readonly #abort = new AbortController();
  readonly #polls: readonly Poll[] = Array.from({ length: POLLS }, () => ({ question: undefined, failures: 0 }));
  #loops = 0;

  constructor(client: LeaseClient, settings: PollSettings, owner: PollOwner) {
    this.#client = client;
    this.#settings = settings;
    this.#owner = owner;
  }

  /** Whether answers fail to come: then one alone asks anew. */
  get #isFailing(): boolean {
    return this.#polls.some(({ failures }) => failures > 0);
  }

  /** Whether nothing is asked any more. */
  get isOver(): boolean {
    return this.#loops === 0;
  }

  start(): void {
    this.#loops = POLLS;
    for (const [index, poll] of this.#polls.entries()) void this.#run(poll, index === 0);
  }

  /** Asks what waits once more without waiting: the leader then answers both, at once. */
  end(): void {
    for (const { question } of this.#polls) if (question !== undefined) void this.#askAtOnce(question);
  }

  /** Waits for no answer any more. */
  abort(reason: Error): void {
    this.#abort.abort(reason);
  }

  async #run(poll: Poll, isFirst: boolean): Promise<void> {
    const isOver = (): boolean => !this.#owner.isRunning || this.#client.isClosed;
    // A lost question is asked again by its own poll: the room that it holds may be all that there is.
    const mayAsk = (): boolean =>
      poll.question !== undefined || (this.#share(poll) > 0 && (isFirst || !this.#isFailing));
    while (!isOver()) {
      if (!mayAsk()) {
        await this.#owner.until(() => isOver() || mayAsk());
        continue;
      }
      const askedMs = this.#client.clock.monotonicMs();
      const answer = await this.#ask(poll);
      const tookMs = this.#client.clock.monotonicMs() - askedMs;
      if (answer === undefined) poll.failures += 1;
      else {
        for (const each of this.#polls) each.failures = 0;
        const { question } = poll;
        poll.question = undefined;
        if (question !== undefined) this.#take(question, answer.leases);
      }
      this.#owner.changed();
      // An empty answer that did not wait would be asked for again and again.
      const isEarly = tookMs < this.#settings.waitMs / 2;
      if (answer === undefined || (answer.leases.length === 0 && isEarly)) await this.#rest(poll);
    }
    this.#loops -= 1;
    this.#owner.changed();
  }

  /** Leases that a question may ask for: half of the room, or what the others have left of it. */
  #share(poll: Poll): number {
    const asked = this.#polls.reduce(
      (sum, other) => sum + (other === poll ? 0 : (other.question?.asked.maxItems ?? 0)),
      0,
    );
    const { room } = this.#owner;
    return asked > 0 || this.#isFailing ? room - asked : Math.ceil(room / POLLS);
  }

  /** Undefined when there was no answer; it has been told then. */
  async #ask(poll: Poll): Promise<LeaseAnswer | undefined> {
    poll.question ??= {
      asked: {
        requestId: this.#client.newRequestId(),
        maxItems: Math.min(this.#share(poll), 1_000),
        after: this.#client.sequenceSeen,
      },
      tokens: new Set(),
    };
    const { signal } = this.#abort;
    try {
      return await this.#client.lease({ ...poll.question.asked, ...this.#settings, signal });
    } catch (error) {
      if (signal.aborted) return undefined;
      // After a definite end nothing was granted under the id.
      if (!(error instanceof OperatingError) || error.definite) poll.question = undefined;
      this.#owner.failed(error);
      return undefined;
    }
  }

  /**
   * What it brings comes with the first answer too, as a rule. A repeat of it that comes to the leader when those leases have ended grants others,
   * which are nobody's unless they are taken here.
   */
  async #askAtOnce(question: Question): Promise<void> {
    const { signal } = this.#abort;
    this.#loops += 1;
    try {
      const { leases } = await this.#client.lease({ ...question.asked, ...this.#settings, waitMs: 0, signal });
      this.#take(question, leases);
    } catch (error) {
      // The first question says what is wrong.
      if (!(signal.aborted || error instanceof OperatingError || error instanceof RefusedError)) throw error;
    }
    this.#loops -= 1;
    this.#owner.changed();
  }

  /** Each lease once, whichever answer to the question brings it. */
  #take({ tokens }: Question, leases: readonly Lease[]): void {
    const fresh = leases.filter(({ token }) => !tokens.has(token));
    for (const { token } of fresh) tokens.add(token);
    if (fresh.length > 0) this.#owner.take(fresh);
  }

  #rest({ failures }: Poll): Promise<void> {
    const delayMs = Math.min(REST_FIRST_MS * 2 ** Math.min(failures, 10), REST_MAX_MS);
    return this.#owner.until(() => !this.#owner.isRunning, delayMs);
  }
}
