/** A request on its way through the leader, from the wire to its one answer. */
import type { Command, ShardCommand } from "../../../contracts/commands.ts";
import type { ErrorBody } from "../../../contracts/errors.ts";

export interface PendingRequest<C extends Command = ShardCommand> {
  readonly command: C;
  readonly principal: string;
  readonly peerId: string;
  /** `traceparent` of the request; empty when there is none. */
  readonly trace: string;
  /** Size of the request on the wire. Bytes. */
  readonly bytes: number;
  /** When it arrived, and when its caller gives up. ms, monotonic. */
  readonly arrivedMs: number;
  readonly deadlineMs: number;
  /** Sends the answer. Called at most once; `answered` is set before. */
  readonly send: (answer: { readonly reply: object } | { readonly error: ErrorBody }) => void;
  answered: boolean;
  /** Repeats that came while it waited: they get the same answer. */
  readonly joined: PendingRequest[];
}

/** Answers a request, and its repeats, unless it has been answered. */
export function answer(
  request: PendingRequest<Command>,
  body: { readonly reply: object } | { readonly error: ErrorBody },
): void {
  if (request.answered) return;
  request.answered = true;
  request.send(body);
  for (const repeat of request.joined) answer(repeat, body);
}

/** How many entries a request has at most: what its events and its reply grow with. */
export function entriesOf({ command: { request } }: PendingRequest): number {
  if ("items" in request) return request.items?.length ?? 1;
  if ("leases" in request) return request.leases.length;
  return "maxItems" in request ? request.maxItems : 1;
}
