/** What a snapshot thread and its main thread say to each other: plain data, and errors as plain data. */
import { OperatingError } from "../../contracts/errors.ts";
import type { ChunkSum, EncodedChunk, SnapshotInfo, SnapshotLabel } from "./snapshot-store.ts";

/** What a worker answers, by the name of the question. */
export interface Calls {
  list: { ask: { region: string; shard: string }; answer: SnapshotInfo[] };
  /** As UTF-8: bytes move to the other thread as they are, a string would be copied twice. */
  text: { ask: { info: SnapshotInfo; index: number }; answer: ChunkSum & { utf8: Uint8Array<ArrayBuffer> } };
  chunk: { ask: { info: SnapshotInfo; index: number }; answer: EncodedChunk };
  verify: { ask: { info: SnapshotInfo }; answer: undefined };
  remove: { ask: { info: SnapshotInfo }; answer: undefined };
  prune: { ask: { newest: SnapshotLabel; keep: number }; answer: number };
  publish: { ask: { writer: number; label: SnapshotLabel }; answer: SnapshotInfo };
  close: { ask: object; answer: undefined };
}
export type CallName = keyof Calls;
export type Call = { [Name in CallName]: { readonly name: Name; readonly ask: Calls[Name]["ask"] } }[CallName];

export type ToWorker =
  | { readonly kind: "text"; readonly writer: number; readonly text: string }
  | { readonly kind: "chunk"; readonly writer: number; readonly chunk: EncodedChunk }
  | { readonly kind: "abort"; readonly writer: number }
  | { readonly kind: "call"; readonly id: number; readonly call: Call };

export type FromWorker =
  | { readonly kind: "opened" }
  | { readonly kind: "open_failed"; readonly error: PlainError }
  /** A text or chunk of the writer was taken; the first error stays with the writer. */
  | { readonly kind: "taken"; readonly writer: number; readonly error?: PlainError }
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "refusal"; readonly id: number; readonly error: PlainError };

export interface PlainError {
  readonly code: string;
  readonly message: string;
  readonly definite: boolean;
  readonly details: Readonly<Record<string, unknown>>;
  readonly stack: string | undefined;
}

/** Anything but an operating error is a defect: it is thrown on, and ends the worker. */
export function plainError(error: unknown): PlainError {
  if (!(error instanceof OperatingError)) throw error;
  const { code, message, definite, details, stack } = error;
  return { code, message, definite, details, stack };
}

export function operatingError({ code, message, definite, details, stack }: PlainError): OperatingError {
  const cause = new Error(message);
  if (stack !== undefined) cause.stack = stack;
  return new OperatingError(code, message, { definite, details, cause });
}
