/** Requests that wait undecided: in order, and nothing of those that were taken. */
import { queryObjects } from "node:v8";
import { expect, test } from "vitest";
import type { PendingRequest } from "../../services/dispatcher/node/pending-request.ts";
import { RequestQueue } from "../../services/dispatcher/node/request-queue.ts";

/** A request with something that can be counted. */
class Payload {
  readonly peerId: string;
  readonly bytes = 10;
  readonly deadlineMs: number;

  constructor(peerId: string, deadlineMs: number) {
    this.peerId = peerId;
    this.deadlineMs = deadlineMs;
  }
}
const push = (queue: RequestQueue, name: string, deadlineMs = 0): void =>
  queue.push(new Payload(name, deadlineMs) as unknown as PendingRequest);

test("what was taken is let go of, however few were taken", () => {
  const queue = new RequestQueue();
  for (const name of ["a", "b", "c"]) push(queue, name);
  expect(queryObjects(Payload)).toBe(3);
  queue.shift();
  queue.shift();
  expect([queue.size, queue.bytes, queue.left, queue.peek()?.peerId]).toEqual([1, 10, 2, "c"]);
  expect(queryObjects(Payload)).toBe(1);
  queue.shift();
  queue.shift();
  expect([queue.size, queue.bytes, queue.left, queue.peek()]).toEqual([0, 0, 3, undefined]);
  expect(queryObjects(Payload)).toBe(0);
});

test("those that were taken are among neither the overdue nor the rest", () => {
  const queue = new RequestQueue();
  for (const [name, deadlineMs] of [
    ["a", 1],
    ["b", 1],
    ["c", 9],
    ["d", 1],
  ] as const)
    push(queue, name, deadlineMs);
  queue.shift();
  expect(queue.takeOverdue(5).map(({ peerId }) => peerId)).toEqual(["b", "d"]);
  expect(queue.takeAll().map(({ peerId }) => peerId)).toEqual(["c"]);
});
