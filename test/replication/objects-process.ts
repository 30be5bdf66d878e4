/**
 * A process that writes objects into a folder until it is killed, has written its share or is at the feed's end; run by objects.drill.test.ts.
 *
 *     node test/replication/objects-process.ts <folder> <seed of the feed> <events> <seed of this life> <checkpoint; -1 for none> <share>
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { FilePlace } from "../../services/replication/sinks/objects-files.ts";
import { NO_SIGNAL } from "../../services/replication/sinks/objects-place.ts";
import { seededNumbers } from "../../services/runtime/seeded-numbers.ts";
import { EventFeed } from "../../services/testing/mod.ts";
import { SCOPE, sinkAt } from "./objects-subject.ts";

const [, , folder = "", ...numbers] = process.argv;
const [feedSeed = 0, count = 0, lifeSeed = 0, known = 0, share = 0] = numbers.map(Number);
assert(folder !== "" && count > 0);

const feed = new EventFeed({ seed: feedSeed, count, logId: SCOPE.logId });
const draw = seededNumbers(lifeSeed);
const sink = sinkAt(new FilePlace(folder), {
  eventsPerObject: 1 + (draw() % 40),
  bytesPerObject: 2_000 + (draw() % 20_000),
});
const checkpoint = known < 0 ? undefined : feed.place(known);
const own = await sink.open(SCOPE, checkpoint);
let sequence = own?.sequence ?? 0;
const end = Math.min(feed.lastSequence, sequence + share);
assert(sequence >= known, `objects end at ${sequence}, before the checkpoint ${known}`);
console.log(`open ${sequence}`);
// What had its effect comes again at times, as after a doubtful answer.
sequence = Math.max(0, sequence - (draw() % 3) * (draw() % 50));
while (sequence < end) {
  const upTo = Math.min(end, sequence + 1 + (draw() % 120));
  await sink.apply(feed.batch(SCOPE, sequence, upTo), NO_SIGNAL);
  sequence = upTo;
  console.log(`at ${sequence}`);
}
if (end < feed.lastSequence) await once(process.stdin.resume(), "close");
await sink.close();
console.log("done");
