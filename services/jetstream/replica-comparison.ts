/** Compares the copies of a stream as they are read, page by page, in memory that does not grow with the log; pure, so that damage can be made up in tests. */
import type { ReplicaEntry } from "./replica-reader.ts";

/**
 * `equal`: holds the whole range, with the bytes that the others hold. `differs`: a message in the midst of its copy is missing, or has other
 * bytes: it will never be right by itself. `behind`: only its end is missing. `unread`: it could not be read to the end of the range.
 */
type ReplicaVerdict = "equal" | "behind" | "differs" | "unread";

export interface ReplicaReport {
  readonly server: string;
  readonly verdict: ReplicaVerdict;
  /** First and last stream sequence that was read in the range; 0 when none was. */
  readonly first: number;
  readonly last: number;
  readonly messages: number;
  /** Messages that another replica holds and this one does not, and the first of them. */
  readonly missing: { readonly count: number; readonly first: readonly number[] };
  /** First stream sequence at which its bytes are not those of most replicas; 0 when there is none. */
  readonly differsAt: number;
  /** Replicas whose copy is the same as far as both reach. */
  readonly agreesWith: readonly string[];
  /** Why it could not be read. */
  readonly reason?: string;
}

/** What one replica brought for a page; a failure says that nothing behind it is known. */
export interface ReplicaPage {
  readonly entries: readonly ReplicaEntry[];
  /** Whether the replica is known to hold something behind the page. */
  readonly goesOn?: boolean | undefined;
  readonly failure?: string | undefined;
}

/** Missing messages that a report names. */
const NAMED_MAX = 20;

/** Missing messages of one replica. */
class Missing {
  count = 0;
  first: number[] = [];
  /** Places of the replicas that hold one of them. */
  readonly holders = new Set<number>();

  add(sequence: number, holders: readonly number[]): void {
    this.count += 1;
    if (this.first.length < NAMED_MAX) this.first.push(sequence);
    for (const holder of holders) this.holders.add(holder);
  }
}

class Copy {
  readonly server: string;
  first = 0;
  last = 0;
  messages = 0;
  differsAt = 0;
  failure: string | undefined;
  /** In the midst of the copy. */
  holes = new Missing();
  /** Behind the last message that was read: a hole as soon as another message comes. */
  tail = new Missing();
  readonly differsFrom = new Set<number>();

  constructor(server: string) {
    this.server = server;
  }
}

/** Invariant: pages come in order and without a gap; a sequence that no replica holds is nobody's difference, and is counted. */
export class ReplicaComparison {
  readonly #copies: readonly Copy[];
  #absent = 0;
  #absentAt = 0;

  constructor(servers: readonly string[]) {
    this.#copies = servers.map((server) => new Copy(server));
  }

  /** Sequences so far that no replica holds. */
  get absent(): number {
    return this.#absent;
  }
  /** The first of them; 0 when there is none. */
  get absentAt(): number {
    return this.#absentAt;
  }

  /** Takes what each replica, in the order of the constructor, holds from `from` to `to`. */
  take(from: number, to: number, pages: readonly ReplicaPage[]): void {
    const reach = this.#copies.map((copy, place) => reachOf(copy, pages[place]));
    const next = pages.map(() => 0);
    for (let sequence = from; sequence <= to; sequence += 1) {
      const digests = pages.map(({ entries }, place) => {
        const entry = entries[next[place] ?? 0];
        if (entry?.sequence !== sequence) return undefined;
        next[place] = (next[place] ?? 0) + 1;
        return entry.digest;
      });
      this.#compare(sequence, digests, reach);
    }
    for (const [place, copy] of this.#copies.entries()) if (pages[place]?.goesOn === true) continued(copy);
  }

  reports(): readonly ReplicaReport[] {
    return this.#copies.map((copy, place) => {
      const { server, first, last, messages, holes, tail, differsAt, failure } = copy;
      const isUnread = failure !== undefined;
      const names = [...holes.first, ...(isUnread ? [] : tail.first)].slice(0, NAMED_MAX);
      return {
        server,
        verdict: verdictOf(copy),
        first,
        last,
        messages,
        missing: { count: holes.count + (isUnread ? 0 : tail.count), first: names },
        differsAt,
        agreesWith: this.#copies
          .filter((_other, at) => at !== place && !this.#differ(place, at))
          .map((each) => each.server),
        ...(isUnread ? { reason: failure } : {}),
      };
    });
  }

  #differ(place: number, other: number): boolean {
    const [left, right] = [this.#copies[place], this.#copies[other]];
    return left?.differsFrom.has(other) === true || right?.differsFrom.has(place) === true;
  }

  #compare(sequence: number, digests: readonly (string | undefined)[], reach: readonly number[]): void {
    const holders: number[] = [];
    for (const [place, digest] of digests.entries()) if (digest !== undefined) holders.push(place);
    if (holders.length === 0) {
      this.#absent += 1;
      if (this.#absentAt === 0) this.#absentAt = sequence;
    }
    for (const [place, copy] of this.#copies.entries()) {
      if (digests[place] !== undefined) held(copy, sequence);
      else if (holders.length > 0 && sequence <= (reach[place] ?? 0)) copy.tail.add(sequence, holders);
    }
    const first = digests[holders[0] ?? 0];
    if (holders.some((place) => digests[place] !== first)) this.#conflict(sequence, digests, holders);
  }

  /** Several copies hold different bytes: those that most of them hold are taken for right; without a majority nobody is. */
  #conflict(sequence: number, digests: readonly (string | undefined)[], holders: readonly number[]): void {
    for (const place of holders) {
      const copy = this.#copies[place];
      const others = holders.filter((other) => digests[other] !== digests[place]);
      if (copy === undefined || others.length === 0) continue;
      for (const other of others) copy.differsFrom.add(other);
      const isOfMost = (holders.length - others.length) * 2 > holders.length;
      if (!isOfMost && copy.differsAt === 0) copy.differsAt = sequence;
    }
  }
}

/** Up to where a message that the replica did not bring is one that it does not hold. Takes note of a failure. */
function reachOf(copy: Copy, page: ReplicaPage | undefined): number {
  if (copy.failure !== undefined) return 0;
  copy.failure = page?.failure;
  return copy.failure === undefined ? Number.POSITIVE_INFINITY : (page?.entries.at(-1)?.sequence ?? 0);
}

function held(copy: Copy, sequence: number): void {
  if (copy.first === 0) copy.first = sequence;
  copy.last = sequence;
  copy.messages += 1;
  continued(copy);
}

/** The copy goes on behind what is missing: it has a hole. */
function continued(copy: Copy): void {
  if (copy.tail.count === 0) return;
  const { tail, holes } = copy;
  copy.tail = new Missing();
  holes.count += tail.count;
  holes.first = [...holes.first, ...tail.first].slice(0, NAMED_MAX);
  for (const holder of tail.holders) copy.differsFrom.add(holder);
}

function verdictOf({ holes, tail, differsAt, failure }: Copy): ReplicaVerdict {
  if (holes.count > 0 || differsAt > 0) return "differs";
  if (failure !== undefined) return "unread";
  return tail.count > 0 ? "behind" : "equal";
}
