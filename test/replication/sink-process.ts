/**
 * A process that brings a feed's events to a sink, for the tests that kill it: `node sink-process.ts <name> <folder> <count>`. It says where
 * it begins, each batch that counts as done, each error and warning, and the end.
 */
import assert from "node:assert/strict";
import { writeSync } from "node:fs";
import { OperatingError } from "../../contracts/errors.ts";
import type { Sink } from "../../services/replication/sink.ts";
import { killedFeed, SCOPE } from "./killed-feed.ts";
import { depsOf, INTERVAL_SINK, KILLED_SINKS } from "./killed-sinks.ts";

const RETRY_MS = 20;
const BATCH_MAX = 40;

const [name = "", folder = "", count = "0"] = process.argv.slice(2);
const feed = killedFeed(Number(count));
const say = (text: string): void => void writeSync(1, `${text}\n`);

async function isApplied(sink: Sink, after: number, upTo: number): Promise<boolean> {
  try {
    await sink.apply(feed.batch(SCOPE, after, upTo), new AbortController().signal);
    return true;
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    say(`error ${error.code}`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    return false;
  }
}

const subject = [...KILLED_SINKS, INTERVAL_SINK].find((one) => one.name === name);
assert(subject !== undefined, `there is no ${name}`);
const deps = depsOf((event) => say(`warn ${event}`));
const sink = subject.make(folder, deps);
let sequence = (await sink.open(SCOPE, feed.place(0)))?.sequence ?? 0;
say(`open ${sequence}`);
for (let batch = 1; sequence < feed.lastSequence; ) {
  const upTo = Math.min(feed.lastSequence, sequence + 1 + ((sequence * 7 + batch) % BATCH_MAX));
  if (!(await isApplied(sink, sequence, upTo))) continue;
  sequence = upTo;
  say(`batch ${batch} applied ${sequence}`);
  batch += 1;
}
await sink.close();
say("done");
