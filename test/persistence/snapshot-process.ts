/**
 * A process that writes snapshots, for the tests of crashes and of memory: `node snapshot-process.ts <hold|measure> <place>`; the place is a
 * data folder (a snapshot thread writes there) or the URL of a NATS server. `hold` publishes one and then writes another for ever.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { connectNats } from "../../services/jetstream/connect.ts";
import { SnapshotBucket } from "../../services/jetstream/object-snapshots.ts";
import { ObjectSnapshotStore, type SnapshotStore, SnapshotThread } from "../../services/persistence/mod.ts";
import { label, lines, MIB, put, writeAll } from "./snapshot-suite.ts";

const [mode, place = "", megabytes = "200"] = process.argv.slice(2);

async function openStore(): Promise<SnapshotStore> {
  if (!place.startsWith("nats://")) return SnapshotThread.open(place);
  const connection = await connectNats({ servers: place, name: "snapshot process" });
  return new ObjectSnapshotStore(await SnapshotBucket.open(connection, { replicas: 1 }));
}

async function hold(store: SnapshotStore): Promise<void> {
  await put(store, lines(3 * MIB), label(1));
  const writer = store.begin();
  for (let written = 1; ; written += 1) {
    await writeAll(writer, lines(MIB, written * 100_000));
    console.log(`written ${written} MiB`);
  }
}

/** Writes one to warm up, then the large one; answers how far the memory rose above where it was, and how long the loop stood still. */
async function measure(store: SnapshotStore): Promise<void> {
  await put(store, lines(40 * MIB), label(1));
  const texts: string[] = [];
  let part = "";
  for (const text of lines(8 * MIB)) {
    part += text;
    if (part.length > 64 * 1024) part = texts.push(part) > 0 ? "" : "";
  }
  const before = process.memoryUsage.rss();
  let highest = before;
  const sampler = setInterval(() => {
    highest = Math.max(highest, process.memoryUsage.rss());
  }, 5);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const start = performance.now();
  const writer = store.begin();
  for (let written = 0; written < Number(megabytes) / 8; written += 1) await writeAll(writer, texts);
  const info = await writer.publish(label(2));
  const writeMs = performance.now() - start;
  delay.disable();
  clearInterval(sampler);
  const read = performance.now();
  let length = 0;
  for await (const text of store.open(info)) length += text.length;
  const rest = { chunks: info.chunks, textBytes: info.textBytes, bytes: info.bytes, length };
  const loop = { p50: delay.percentile(50) / 1e6, p99: delay.percentile(99) / 1e6, max: delay.max / 1e6 };
  const rates = {
    write: info.textBytes / MIB / (writeMs / 1e3),
    read: length / MIB / ((performance.now() - read) / 1e3),
  };
  console.log(JSON.stringify({ grownMiB: (highest - before) / MIB, rssMiB: highest / MIB, rates, loop, ...rest }));
  await store.close();
}

const store = await openStore();
if (mode === "hold") await hold(store);
else await measure(store);
process.exit();
