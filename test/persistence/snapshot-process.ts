/**
 * A process that writes snapshots, for the tests of crashes and of memory: `node snapshot-process.ts <hold|measure> <place>`; the place is a
 * data folder (a snapshot thread writes there) or the URL of a NATS server. `hold` publishes one and then writes another for ever.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { connectNats } from "../../services/jetstream/connect.ts";
import { SnapshotBucket } from "../../services/jetstream/object-snapshots.ts";
import { ObjectSnapshotStore, type SnapshotStore, SnapshotThread } from "../../services/persistence/mod.ts";
import { label, lines, MIB, put, writeAll } from "./snapshot-suite.ts";

/** What `measure` prints, as JSON. */
export interface Measured {
  readonly grownMiB: number;
  readonly rssMiB: number;
  /** MiB of text in a second. */
  readonly rates: { readonly write: number; readonly read: number };
  /** Delay of the event loop. ms. */
  readonly loop: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly chunks: number;
  readonly textBytes: number;
  readonly bytes: number;
}

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
  const { chunks, textBytes, bytes } = info;
  const loop = { p50: delay.percentile(50) / 1e6, p99: delay.percentile(99) / 1e6, max: delay.max / 1e6 };
  const rates = {
    write: info.textBytes / MIB / (writeMs / 1e3),
    read: length / MIB / ((performance.now() - read) / 1e3),
  };
  const grown = { grownMiB: (highest - before) / MIB, rssMiB: highest / MIB };
  console.log(JSON.stringify({ ...grown, rates, loop, chunks, textBytes, bytes } satisfies Measured));
  await store.close();
}

const store = await openStore();
if (mode === "hold") await hold(store);
else await measure(store);
process.exit();
