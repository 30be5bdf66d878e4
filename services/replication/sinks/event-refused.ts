/** The error by which a sink blames one event, so that all of them say it in the same words. */
import type { ReplicationEvent } from "../../../contracts/envelope.ts";
import { OperatingError } from "../../../contracts/errors.ts";
import type { SinkScope } from "../sink.ts";
import { titleOf } from "./sink-errors.ts";

/** Trying the event again brings the same, so the failure policy decides. `reason` says what is wrong with it, or who says so. */
export function eventRefused(
  scope: SinkScope,
  { sequenceNumber: sequence }: ReplicationEvent,
  reason: string,
  details: Readonly<Record<string, unknown>> = {},
): OperatingError {
  return new OperatingError("event_refused", `${titleOf(scope)} cannot bring event ${sequence}: ${reason}`, {
    definite: true,
    details: { ...scope, sequence, ...details },
  });
}
