/** What a failed step on a bucket of the object store is told as: a store without room has a code of its own. */
import { OperatingError } from "../../contracts/errors.ts";
import { type ApiOutcome, apiFailure } from "./api.ts";

/** What the server answers when there is no room: of the account, of the server, of its disk, of the stream. */
const FULL_CODES: ReadonlySet<number> = new Set([10002, 10023, 10047]);
const STORE_FAILED_CODE = 10077;

export function isError(outcome: ApiOutcome, code: number): boolean {
  return outcome.kind === "api_error" && outcome.error.errCode === code;
}

export function failure(outcome: Exclude<ApiOutcome, { kind: "ok" }>, what: string, definite: boolean): OperatingError {
  const { errCode, description } = outcome.kind === "api_error" ? outcome.error : { errCode: 0, description: "" };
  const isFull = errCode === STORE_FAILED_CODE && /maximum|space/.test(description);
  if (!isFull && !FULL_CODES.has(errCode)) return apiFailure(outcome, what, definite);
  const advice = "raise the limit of bucket, account or server, free its disk, or keep fewer snapshots";
  const message = `${what}: there is no room (${description}); ${advice}`;
  return new OperatingError("store_full", message, { definite: true, details: { errCode } });
}
