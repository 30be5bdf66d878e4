/** What the sinks hold, against the log: K1 to K4, and K6. */
import { effectId, OUTWARD_TYPES } from "../../contracts/envelope.ts";
import type { HeldRecord, RunPlan, SinkPlaceRecord, SinkRecord } from "../operations.ts";
import type { LogTruth } from "./log-truth.ts";
import type { Tally } from "./tally.ts";

type Guarantee = RunPlan["sinks"][string];

export function checkSinks(records: readonly SinkRecord[], { sinks }: RunPlan, truth: LogTruth, tally: Tally): void {
  const bySink = Map.groupBy(records, ({ sink }) => sink);
  for (const sink of bySink.keys())
    tally.check("run.sinks", Object.hasOwn(sinks, sink), () => `${sink} is no sink of the plan`);
  for (const [sink, guarantee] of Object.entries(sinks)) {
    const own = bySink.get(sink) ?? [];
    const places = own.filter((record) => "checkpoint" in record).sort((a, b) => a.revision - b.revision);
    const held = own.filter((record) => "sequence" in record);
    const last = places.at(-1);
    const isTold = tally.check("run.sinks", last !== undefined && held.length > 0, () => {
      return `${sink} told ${held.length} events and ${places.length} checkpoints`;
    });
    if (!isTold || last === undefined) continue;
    const sequences = checkHeld(held, guarantee, truth, tally);
    checkWhole(sink, sequences, last, truth, tally);
    checkPlaces(places, truth, tally);
  }
}

/** Each event by itself: it is the log's, at its turn, and not there twice where that is promised. Answers the sequences. */
function checkHeld(
  held: readonly HeldRecord[],
  guarantee: Guarantee,
  { events, frames }: LogTruth,
  tally: Tally,
): ReadonlySet<number> {
  const logId = frames[0]?.logId ?? "";
  const seen = new Set<number>();
  let highest = 0;
  for (const { sink, sequence, effectId: id, eventType } of held) {
    const where = `${sink}, sequence ${sequence}`;
    const logged = events[sequence - 1]?.event.type;
    const wanted = logged === undefined ? "nothing" : `${OUTWARD_TYPES[logged]} ${effectId(logId, sequence)}`;
    const found = `${eventType} ${id}`;
    tally.check("K3", found === wanted, () => `${where}: it holds ${found}, the log ${wanted}`);
    const isNew = !seen.has(sequence);
    if (guarantee === "exactly once") tally.check("K2", isNew, () => `${where} is there twice`);
    // What comes again after a crash is behind its first time.
    if (isNew) tally.check("K4", sequence > highest, () => `${where} stands behind ${highest}`);
    seen.add(sequence);
    highest = Math.max(highest, sequence);
  }
  return seen;
}

/** No event is missing up to the last one and the last checkpoint; and that is not ahead of what is whole. */
function checkWhole(
  sink: string,
  sequences: ReadonlySet<number>,
  { checkpoint }: SinkPlaceRecord,
  { events }: LogTruth,
  tally: Tally,
): void {
  let whole = 0;
  while (sequences.has(whole + 1)) whole += 1;
  tally.check("K1", checkpoint.sequence <= whole, () => {
    return `${sink}: the last checkpoint is at ${checkpoint.sequence}, and the sink is whole up to ${whole}`;
  });
  const end = events.findLast(({ sequence }) => sequence <= checkpoint.sequence || sequences.has(sequence));
  for (let sequence = 1; sequence <= (end?.sequence ?? 0); sequence += 1)
    tally.check("K3", sequences.has(sequence), () => `${sink}: sequence ${sequence} is missing`);
}

/** By revision, rising. */
function checkPlaces(places: readonly SinkPlaceRecord[], { frames }: LogTruth, tally: Tally): void {
  const logId = frames[0]?.logId ?? "";
  let before: SinkPlaceRecord | undefined;
  for (const place of places) {
    const { sink, checkpoint, revision, held } = place;
    const { sequence } = checkpoint;
    const where = `${sink}: the checkpoint of revision ${revision}`;
    tally.check("K1", checkpoint.logId === logId, () => `${where} is of ${checkpoint.logId}, the log is ${logId}`);
    if (held !== undefined)
      tally.check("K1", sequence <= held, () => `${where} is at ${sequence}, the sink held ${held} after that`);
    const last = before?.checkpoint.sequence ?? 0;
    tally.check("K6", sequence >= last, () => `${where} is at ${sequence}, and was at ${last} before`);
    before = place;
  }
}
