/** The replicator as a process behind a real log: a sink of a third party, parking, seek, metrics, bad settings. */
import { expect, test } from "vitest";
import { startProcess } from "../support/process.ts";
import { cleanup, items, linesOf, replicatorBed, untilLines } from "./replicator-bed.ts";

test("brings every event of the log to a sink of a third party; what it refuses is parked, and seek brings it again", async () => {
  const { client, file, replicator, cli } = await replicatorBed();
  const enqueued = await client.enqueueMany(items(5));
  const third = enqueued[2];
  const refused = third?.kind === "ok" ? third.value.sequence : 0;
  const first = replicator("r1", [refused]);
  const url = /http:\S+?(?=")/.exec(await first.line('"msg":"ready"'))?.[0] ?? "";
  await untilLines(file, (lines) => lines.includes(refused + 2));
  expect(linesOf(file)).not.toContain(refused);
  const parked = await cli("sink", "parked", "lines", "--json");
  expect(parked.code).toBe(0);
  expect(parked.out.map((line) => JSON.parse(line))).toMatchObject([
    { sink: "lines", reason: { code: "sink_refused" }, event: { sequenceNumber: refused, eventType: "Enqueue" } },
  ]);
  const page = async (path: string): Promise<string> => (await fetch(url + path)).text();
  expect(JSON.parse(await page("/omnirelay/control/replication/checkpoint"))).toMatchObject({
    sinks: [{ sink: "lines", kind: "lines", shard: "default", state: "running", parked: 1, lag: { events: 0, ms: 0 } }],
  });
  const metrics = await page("/metrics");
  expect(metrics).toMatch(/^omnirelay_resourcelease_replication_parked\w*\{.*sink="lines".*\} 1$/m);
  expect(metrics).toMatch(/^omnirelay_resourcelease_replication_lag\w*\{.*shard_id="default".*\} 0$/m);
  await first.signal("SIGTERM");
  const second = replicator("r2");
  await second.line('"msg":"ready"');
  expect((await cli("sink", "seek", "lines", "--sequence", String(refused))).code).toBe(0);
  const lines = await untilLines(file, (found) => found.includes(refused));
  expect(lines.slice(lines.indexOf(refused - 1) + 1)).toContain(refused);
});

test("tells all that is wrong with the sinks at once, before anything is started", async () => {
  const sinks = [
    { name: "a", kind: "nothing-like-it" },
    { name: "a", kind: "memory", options: { eventsMax: 0, colour: "red" }, shards: ["elsewhere"] },
  ];
  const replicator = startProcess("services/replicator/main.ts", ["--sinks", JSON.stringify(sinks)], cleanup);
  expect(await replicator.ended).toBe(2);
  for (const words of ["nothing-like-it", "another sink of this name", "elsewhere", "options.eventsMax", "colour"])
    expect(replicator.lines.join("\n")).toContain(words);
});
