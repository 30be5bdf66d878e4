/** The requests that wait undecided, first in first out, with the bytes that they hold. */
import type { PendingRequest } from "./pending-request.ts";

/** Invariant: `bytes` is the sum over the waiting requests; what was taken is not held. Taking from the front costs no copy. */
export class RequestQueue {
  #requests: (PendingRequest | undefined)[] = [];
  #head = 0;
  #bytes = 0;
  #pushed = 0;

  /** Requests that were ever put in, and of those the ones that have left: a request is out once as many have left as came up to it. */
  get pushed(): number {
    return this.#pushed;
  }

  get left(): number {
    return this.#pushed - this.size;
  }

  get size(): number {
    return this.#requests.length - this.#head;
  }

  get bytes(): number {
    return this.#bytes;
  }

  push(request: PendingRequest): void {
    this.#requests.push(request);
    this.#pushed += 1;
    this.#bytes += request.bytes;
  }

  peek(): PendingRequest | undefined {
    return this.#requests[this.#head];
  }

  shift(): void {
    const request = this.#requests[this.#head];
    if (request === undefined) return;
    this.#bytes -= request.bytes;
    this.#requests[this.#head] = undefined;
    this.#head += 1;
    if (this.size > 0 && (this.#head < 1_024 || this.#head * 2 < this.#requests.length)) return;
    this.#requests = this.#requests.slice(this.#head);
    this.#head = 0;
  }

  takeAll(): readonly PendingRequest[] {
    const requests = this.#waiting();
    this.#reset([]);
    return requests;
  }

  /** Takes those whose callers have given up. */
  takeOverdue(nowMs: number): readonly PendingRequest[] {
    if (this.size === 0) return [];
    const waiting = this.#waiting();
    const overdue = waiting.filter((request) => request.deadlineMs <= nowMs);
    if (overdue.length > 0) this.#reset(waiting.filter((request) => request.deadlineMs > nowMs));
    return overdue;
  }

  #waiting(): PendingRequest[] {
    return this.#requests.slice(this.#head) as PendingRequest[];
  }

  #reset(requests: PendingRequest[]): void {
    this.#requests = requests;
    this.#head = 0;
    this.#bytes = requests.reduce((sum, request) => sum + request.bytes, 0);
  }
}
