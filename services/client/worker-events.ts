/** What a worker tells of itself, and the errors by which handler and worker talk to each other. */
import { FAILURE_CODE_LENGTH_MAX, REASON_LENGTH_MAX } from "../../contracts/limits.ts";
import type { Failure } from "./entries.ts";
import type { FailOutcome, Lease } from "./lease-client.ts";

/** Why a lease is no longer ours: what the leader said, or that its time ran out here before a heartbeat came through. */
export type LostReason = "expired" | "stale_token" | "item_not_found" | "permission_denied";

export interface WorkerEvents {
  /** A lease was granted to this worker; its handler may start later. */
  leased: [event: { readonly lease: Lease }];
  /** The handler returned, and the shard has it. */
  completed: [event: { readonly lease: Lease; readonly duplicate: boolean }];
  /** The handler threw, and the shard has it. `outcome` says whether the item comes back. */
  failed: [event: { readonly lease: Lease; readonly error: unknown; readonly outcome: FailOutcome["outcome"] }];
  /** The item is no longer ours: its handler's signal has fired, or it was never started. */
  lost: [event: { readonly lease: Lease; readonly reason: LostReason }];
  /** The shard could not be asked, or refused us; the worker goes on. `lease` when it was about one. */
  error: [event: { readonly error: Error; readonly lease: Lease | undefined }];
}

/** Thrown by a handler: the item cannot succeed, so it is dead-lettered at once instead of being tried again. */
export class FatalItemError extends Error {
  readonly code: string | undefined;

  constructor(message: string, options: { readonly code?: string; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "FatalItemError";
    this.code = options.code;
  }
}

/** The reason of a handler's signal when its lease is lost: whatever it still writes, a fenced store will refuse. */
export class LeaseLostError extends Error {
  readonly reason: LostReason;

  constructor(reason: LostReason, itemId: string) {
    super(`the lease of item ${itemId} is lost (${reason})`);
    this.name = "LeaseLostError";
    this.reason = reason;
  }
}

/** The reason of a handler's signal when somebody cancelled its item: it may still complete; whatever else ends the lease ends the item. */
export class CancelledError extends Error {
  constructor(itemId: string) {
    super(`item ${itemId} is cancelled`);
    this.name = "CancelledError";
  }
}

/** The reason of a handler's signal when the worker stops and the time for draining is over: the item is given back. */
export class DrainError extends Error {
  constructor() {
    super("the worker stops, and the time for draining is over");
    this.name = "DrainError";
  }
}

const CODE = /^[A-Za-z0-9_.-]+$/;

/** What is written about an item whose handler threw. Never throws, whatever was thrown: the worker has other items. */
export function failureOf(error: unknown): Failure {
  const isError = read(() => error instanceof Error) === true;
  const field = (key: "message" | "code" | "name"): unknown =>
    isError ? read(() => (error as Error & { readonly code?: unknown })[key]) : undefined;
  const message = isError ? field("message") : read(() => String(error));
  const [code, name] = [field("code"), field("name")];
  const usable = [code, name].find(
    (text): text is string => typeof text === "string" && CODE.test(text) && text.length <= FAILURE_CODE_LENGTH_MAX,
  );
  const isFatal = read(() => error instanceof FatalItemError) === true;
  return { reason: reasonOf(message, name), code: usable, requeue: !isFatal };
}

function reasonOf(message: unknown, name: unknown): string {
  if (typeof message !== "string") return "unprintable error";
  const text = message !== "" ? message : typeof name === "string" && name !== "" ? name : "unknown";
  // A cut through a surrogate pair would make text that the log cannot carry.
  return text.slice(0, REASON_LENGTH_MAX).toWellFormed();
}

/** What a part of a thrown value is; undefined when looking at it throws, as getters, proxies and `toString` may. */
function read<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
