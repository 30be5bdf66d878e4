/** Ways in which what the sinks of a run hold is spoiled. */
import type { HeldRecord, SinkPlaceRecord, SinkRecord } from "../../chaos/operations.ts";
import { type EditedRun, eventsOf, lastOf } from "./history-edits.ts";
import { type Mutation, mutation } from "./run-mutations.ts";

const SINK = "once";

const isHeld = (record: SinkRecord): record is HeldRecord => record.sink === SINK && "sequence" in record;
const isPlace = (record: SinkRecord): record is SinkPlaceRecord => record.sink === SINK && "checkpoint" in record;

/** Puts other records in the place of one that the sink holds in the middle. */
function replaceHeld(run: EditedRun, edit: (record: HeldRecord, next: HeldRecord) => readonly SinkRecord[]): void {
  const held = run.sinks.filter(isHeld);
  const at = held.length >> 1;
  const [record, next] = [held[at], held[at + 1]] as [HeldRecord, HeldRecord];
  run.sinks = run.sinks.flatMap((each) => (each === record ? edit(record, next) : each === next ? [] : [each]));
}

function editLastPlace(run: EditedRun, edit: (place: SinkPlaceRecord) => SinkPlaceRecord): void {
  const place = lastOf(run.sinks.filter(isPlace));
  run.sinks = run.sinks.map((each) => (each === place ? edit(place) : each));
}

function movePlace(run: EditedRun, by: number): void {
  editLastPlace(run, ({ held: _, ...place }) => {
    const { checkpoint } = place;
    return { ...place, checkpoint: { ...checkpoint, sequence: checkpoint.sequence + by } };
  });
}

export const ofSinks: readonly Mutation[] = [
  mutation("a sink lacks an event", ["K1", "K3"], (run) => replaceHeld(run, (_, next) => [next])),
  mutation("a sink holds an event twice", "K2", (run) => replaceHeld(run, (record, next) => [record, record, next])),
  mutation("a sink holds two events in the wrong order", "K4", (run) =>
    replaceHeld(run, (record, next) => [next, record]),
  ),
  mutation("a sink holds an event under the effect id of another log", "K3", (run) =>
    replaceHeld(run, (record, next) => [{ ...record, effectId: `other/seq/${record.sequence}` }, next]),
  ),
  mutation("a sink holds an event under another type", "K3", (run) =>
    replaceHeld(run, (record, next) => [{ ...record, eventType: "Nothing" }, next]),
  ),
  mutation("a sink holds an event that the log does not have", "K3", (run) => {
    const sequence = eventsOf(run).length + 1;
    const [{ effectId }] = run.sinks.filter(isHeld) as [HeldRecord];
    const beyond = { sequence, effectId: effectId.replace(/\d+$/, String(sequence)), eventType: "Enqueue" };
    run.sinks = [...run.sinks, { sink: SINK, ...beyond }];
  }),
  mutation("a checkpoint is one ahead of what its sink holds", "K1", (run) => movePlace(run, 1)),
  mutation("a checkpoint was ahead of what its sink held at that moment", "K1", (run) =>
    editLastPlace(run, (place) => ({ ...place, held: place.checkpoint.sequence - 1 })),
  ),
  mutation("a checkpoint is of another log", "K1", (run) =>
    editLastPlace(run, (place) => ({ ...place, checkpoint: { ...place.checkpoint, logId: "other" } })),
  ),
  mutation("a checkpoint goes back", "K6", (run) => movePlace(run, -1_000)),
  mutation("a sink has no checkpoint", "run.sinks", (run) => {
    run.sinks = run.sinks.filter((record) => !isPlace(record));
  }),
  mutation("a sink told nothing of what it holds", "run.sinks", (run) => {
    run.sinks = run.sinks.filter((record) => !isHeld(record));
  }),
  mutation("a sink is there that nobody planned", "run.sinks", (run) => {
    run.plan = { ...run.plan, sinks: { often: "at least once" } };
  }),
];
