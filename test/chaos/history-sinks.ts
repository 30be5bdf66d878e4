/** What sinks hold that were brought a made-up log: one each event once, one some of them again, as after a crash. */
import type { LogRecord, RunPlan, SinkRecord } from "../../chaos/operations.ts";
import { effectId, OUTWARD_TYPES } from "../../contracts/envelope.ts";
import type { Frame } from "../../contracts/frame.ts";
import { CHAIN_HEADER } from "../../contracts/subjects.ts";

export const MADE_UP_SINKS: RunPlan["sinks"] = { once: "exactly once", often: "at least once" };

/** Events that the second sink gets again, behind every twentieth of a log. */
const REPEATED = 5;

export function sinkRecords(log: readonly LogRecord[]): SinkRecord[] {
  const frames = log
    .filter(({ headers }) => headers[CHAIN_HEADER] !== undefined)
    .map(({ payload }) => JSON.parse(payload) as Frame);
  const events = frames.flatMap(({ first, logId, events: own }) =>
    own.map(({ type }, index) => {
      const sequence = first + index;
      return { sequence, effectId: effectId(logId, sequence), eventType: OUTWARD_TYPES[type] };
    }),
  );
  const logId = frames[0]?.logId ?? "";
  return Object.keys(MADE_UP_SINKS).flatMap((sink) => {
    const step = Math.ceil(events.length / 20);
    const batches = Array.from({ length: 20 }, (_, index) => events.slice(index * step, (index + 1) * step));
    return batches.flatMap((batch, index): SinkRecord[] => {
      if (batch.length === 0) return [];
      const again = sink === "often" ? batch.slice(-REPEATED) : [];
      const sequence = batch.at(-1)?.sequence ?? 0;
      const place = { checkpoint: { logId, sequence }, revision: 10 + index, held: sequence };
      return [
        ...batch.map((event) => ({ sink, ...event })),
        ...again.map((event) => ({ sink, ...event })),
        { sink, ...place },
      ];
    });
  });
}
