/** What a leader says when it cannot decide, or does not know what became of what it decided. */
import { type ErrorBody, type ErrorCode, errorBody } from "../../../contracts/errors.ts";

export const refusal = (code: ErrorCode, message: string): { readonly error: ErrorBody } => ({
  error: errorBody(code, message),
});

/** To a caller whose time is over, or whose leader leaves with the frame still open. */
export function openOutcome(hasEffect: boolean): { readonly error: ErrorBody } {
  return hasEffect
    ? refusal(
        "unknown_outcome",
        "the request was decided; whether it is in the log is not known yet: repeat it with the same requestId",
      )
    : refusal("unavailable", "the log did not confirm the answer in time");
}
