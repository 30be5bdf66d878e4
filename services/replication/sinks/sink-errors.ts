/** The errors that sinks have in common, so that all of them say the same in the same words. */
import { OperatingError } from "../../../contracts/errors.ts";
import type { SinkScope } from "../sink.ts";

/** The place holds the effects of another log of this shard's name: a person has to say which of the two is wanted. */
export function foreignLog(scope: SinkScope, where: string, otherLogId: string): OperatingError {
  return new OperatingError(
    "sink_foreign_log",
    `${titleOf(scope)} cannot go on in ${where}: it holds events of log ${otherLogId}, this one is ${scope.logId}; give it another place, or move the old one away`,
    { definite: true, details: { ...scope, where, otherLogId } },
  );
}

/** Another instance has the place. It may end at any time, so that opening again makes sense. */
export function sinkTaken(scope: SinkScope, where: string, cause?: unknown): OperatingError {
  return new OperatingError(
    "sink_taken",
    `${titleOf(scope)} may not write to ${where}: another instance writes there`,
    {
      definite: false,
      details: { ...scope, where },
      ...(cause === undefined ? {} : { cause }),
    },
  );
}

export const titleOf = ({ sink, region, shard }: SinkScope): string => `the sink ${sink} of ${region}/${shard}`;
