/** Lets the naive model judge the frames of a world, as they are or with one word changed. */
import { NaiveModel } from "../../chaos/checker/naive-model.ts";
import type { LogEvent } from "../../contracts/events.ts";
import type { Frame } from "../../contracts/frame.ts";
import type { ShardWorld } from "../core/shard-world.ts";

type Edit = (event: LogEvent) => LogEvent;

/** Everything the model finds wrong in the frames of a world, each event changed by `edit`. */
export function judge({ frames }: ShardWorld, edit: Edit = (event) => event) {
  const found: string[] = [];
  const model = new NaiveModel({
    fail: (invariant, message) => found.push(`${invariant} ${message}`),
    wishOf: () => undefined,
    failuresOf: () => [
      { requeue: true, delayMs: undefined, penalty: true },
      { requeue: false, delayMs: undefined, penalty: true },
    ],
    isDated: () => false,
  });
  for (const frame of frames) model.take({ ...frame, events: frame.events.map(edit) } as Frame);
  return { model, invariants: [...new Set(found.map((text) => text.split(" ")[0]))], found };
}

/** An edit of the events of one type. */
export const change =
  (type: LogEvent["type"], fields: object): Edit =>
  (event) =>
    event.type === type ? ({ ...event, ...fields } as LogEvent) : event;
