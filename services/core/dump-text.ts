/**
 * The text of a state that may be wrong, in the format of snapshots: where `SnapshotCut` relies on the counters, and on being alone, this
 * writes down every record that is there. Of a state that is right the two texts are the same.
 */
import type { Item } from "./item.ts";
import { footerLine, headerOf, itemLine, recordLine, scheduleLine, shareLines } from "./snapshot-format.ts";
import type { ShardState } from "./state.ts";

/** A piece has this many characters or somewhat more. */
const PIECE_LENGTH_AIM = 256 * 1_024;

/** Whole lines, in pieces that can be written one by one. The state must not change meanwhile. */
export function* dumpText(state: ShardState): Generator<string> {
  let lines: string[] = [];
  let length = 0;
  for (const line of dumpLines(state)) {
    lines.push(line);
    length += line.length;
    if (length < PIECE_LENGTH_AIM) continue;
    yield `${lines.join("\n")}\n`;
    lines = [];
    length = 0;
  }
  if (lines.length > 0) yield `${lines.join("\n")}\n`;
}

function* dumpLines(state: ShardState): Generator<string> {
  const headerLine = JSON.stringify(headerOf(state));
  yield headerLine;
  let count = 1;
  for (const schedule of state.schedules.inOrder()) {
    yield scheduleLine(schedule);
    count += 1;
  }
  for (const item of itemsOf(state)) {
    yield itemLine(item, item);
    count += 1;
  }
  for (const record of state.records.values()) {
    yield recordLine(record);
    count += 1;
  }
  const shares = shareLines(state);
  yield* shares;
  yield footerLine(count + shares.length, headerLine);
}

function itemsOf(state: ShardState): Item[] {
  return [...state.items.values()].sort((left, right) => left.sequence - right.sequence);
}
