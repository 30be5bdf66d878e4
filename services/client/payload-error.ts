/** Why a payload does not fit its schema: told to the caller of an enqueue, and written with the dead letter at a lease. */
import { ISSUES_MAX } from "../../contracts/limits.ts";
import { RefusedError } from "./refusal.ts";
import type { SchemaIssue } from "./standard-schema.ts";

/** Code of the refusal, and of the dead letter. */
export const PAYLOAD_INVALID = "payload_invalid";

export interface PayloadIssue {
  /** Names joined by dots; empty for the payload itself. */
  readonly path: string;
  readonly message: string;
}

/** A payload that was refused before anything was sent; `issues` says where and why, at most 20 of them. */
export class PayloadError extends RefusedError {
  readonly issues: readonly PayloadIssue[];

  constructor(message: string, options: { readonly issues: readonly PayloadIssue[]; readonly cause?: unknown }) {
    const { issues } = options;
    super({ code: PAYLOAD_INVALID, message, retryable: false, definite: true, details: { issues } });
    this.name = "PayloadError";
    this.issues = issues;
    if (options.cause !== undefined) this.cause = options.cause;
  }
}

export function payloadIssues(issues: readonly SchemaIssue[]): readonly PayloadIssue[] {
  return issues.slice(0, ISSUES_MAX).map(({ path = [], message }) => ({
    path: path.map((part) => String(typeof part === "object" ? part.key : part)).join("."),
    message,
  }));
}

/** All issues on one line, for people. */
export function issuesText(issues: readonly PayloadIssue[]): string {
  return issues.map(({ path, message }) => (path === "" ? message : `${path}: ${message}`)).join("; ");
}
