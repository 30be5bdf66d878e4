/** Leases as runs of OpenLineage: each run event fits the published schema, and each run begins once and ends once. */
import { appendFileSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import type { Sink, SinkScope } from "../../services/replication/sink.ts";
import { runIdOf } from "../../services/replication/sinks/lineage-events.ts";
import { openlineageKind } from "../../services/replication/sinks/openlineage-sink.ts";
import { EventFeed, HOSTILE_TEXTS, sinkConformance } from "../../services/testing/mod.ts";
import { goldenBatches, goldenScope } from "./golden-events.ts";
import { folder, type Hook, makeSink, optionProblemsOf, outcomeOf, refusalOf, startHook } from "./outside-bed.ts";

/** The parts of https://openlineage.io/spec/2-0-2/OpenLineage.json that are used, with nothing beside them. */
const facet = <Fields extends z.core.$ZodLooseShape>(fields: Fields) =>
  z.strictObject({ _producer: z.url(), _schemaURL: z.url(), ...fields }).optional();
const RunEvent = z.strictObject({
  eventType: z.enum(["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]),
  eventTime: z.iso.datetime(),
  producer: z.url(),
  schemaURL: z.literal("https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"),
  run: z.strictObject({
    runId: z.uuid(),
    facets: z.strictObject({
      processing_engine: facet({ version: z.string(), name: z.string() }),
      errorMessage: facet({ message: z.string(), programmingLanguage: z.string() }),
      omnirelay_lease: facet({
        ...{ region: z.string(), shard: z.string(), logId: z.string(), sequence: z.int(), itemId: z.string() },
        ...{ token: z.int(), peerId: z.string().optional(), principal: z.string().optional() },
        ...{ attempt: z.int().optional(), outcome: z.string().optional(), progress: z.string().optional() },
        traceParent: z.string().optional(),
      }),
    }),
  }),
  job: z.strictObject({
    namespace: z.string(),
    name: z.string(),
    facets: z.strictObject({
      jobType: facet({ processingType: z.literal("BATCH"), integration: z.string(), jobType: z.string() }),
    }),
  }),
  inputs: z.array(z.never()),
  outputs: z.array(z.strictObject({ namespace: z.string(), name: z.string() })),
});
type RunEvent = z.infer<typeof RunEvent>;

const golden = goldenScope("lineage");
const signal = (): AbortSignal => new AbortController().signal;
const sequenceOf = ({ run }: RunEvent): number => Number(run.facets.omnirelay_lease?.["sequence"]);

async function opened(options: object, scope: SinkScope = golden): Promise<Sink> {
  const sink = makeSink(openlineageKind, options);
  onTestFinished(() => sink.close());
  expect(await sink.open(scope, undefined)).toBeUndefined();
  return sink;
}
function linesIn(path: string): readonly RunEvent[] {
  return readdirSync(path)
    .filter((name) => name.endsWith(".jsonl"))
    .sort()
    .flatMap((name) => readFileSync(join(path, name), "utf8").trimEnd().split("\n"))
    .filter((line) => line !== "")
    .map((line) => RunEvent.parse(JSON.parse(line)));
}
async function goldenRuns(more: object = {}): Promise<readonly RunEvent[]> {
  const path = folder(onTestFinished);
  const sink = await opened({ folder: path, ...more });
  for (const { batch } of goldenBatches(golden)) await sink.apply(batch, signal());
  return linesIn(path);
}
const httpOf = (hook: Hook) => ({ url: hook.url, allowHosts: ["127.0.0.1"], allowPrivate: true });
/** The hook keeps bodies as those of webhooks. */
const runsAt = (hook: Hook): readonly RunEvent[] => hook.taken.map(({ json }) => RunEvent.parse(json));

describe("runs", () => {
  test("each lease begins once and ends once, as its log says, and each event fits the schema", async () => {
    const runs = await goldenRuns();
    const byRun = Map.groupBy(runs, ({ run }) => run.runId);
    const ends = [...byRun.values()].map((events) => events.map(({ eventType }) => eventType).join(" "));
    expect(new Set(ends)).toEqual(new Set(["START COMPLETE", "START FAIL", "START ABORT"]));
    const events = [...goldenBatches(golden)].flatMap(({ batch }) => batch.events);
    const count = (...types: string[]): number => events.filter(({ eventType }) => types.includes(eventType)).length;
    expect(byRun.size).toBe(count("LeaseGranted"));
    expect(runs).toHaveLength(count("LeaseGranted", "Completed", "Failed", "Expired", "Released"));
    expect(runs.filter(({ eventType }) => eventType === "COMPLETE")).toHaveLength(count("Completed"));
    const cancelled = events.filter(({ details }) => details?.["outcome"] === "cancelled");
    const bySequence = new Map(runs.map((event) => [sequenceOf(event), event.eventType]));
    for (const { sequenceNumber } of cancelled) expect(bySequence.get(sequenceNumber)).toBe("ABORT");
    expect(cancelled.length).toBeGreaterThan(0);
  });

  test("a run says which item, who, where and why", async () => {
    const runs = await goldenRuns({ namespace: "lakehouse", producer: "https://example.org/omnirelay" });
    const failed = runs.find(({ eventType }) => eventType === "FAIL");
    expect(failed).toMatchObject({
      producer: "https://example.org/omnirelay",
      job: { namespace: "lakehouse", name: failed?.outputs[0]?.namespace },
      run: {
        facets: {
          errorMessage: { message: "io.full: disk full" },
          omnirelay_lease: {
            region: "local",
            shard: "default",
            logId: "log-1",
            principal: "worker",
            outcome: "requeued",
          },
        },
      },
    });
    const started = runs.find(({ run, eventType }) => run.runId === failed?.run.runId && eventType === "START");
    expect(started).toMatchObject({ job: failed?.job, outputs: failed?.outputs });
    expect(started?.run.facets.omnirelay_lease).toMatchObject({ attempt: 1, peerId: "worker--1" });
  });

  test("heartbeats are told as RUNNING when that is wanted, of leases whose beginning was seen", async () => {
    const running = (await goldenRuns({ heartbeats: true })).filter(({ eventType }) => eventType === "RUNNING");
    expect(running.length).toBeGreaterThan(0);
    const starts = new Set((await goldenRuns()).map(({ run }) => run.runId));
    for (const { run, job } of running) expect([starts.has(run.runId), job.name !== ""]).toEqual([true, true]);
    const path = folder(onTestFinished);
    const late = await opened({ folder: path, heartbeats: true });
    for (const { batch } of goldenBatches(golden))
      await late.apply(
        { ...batch, events: batch.events.filter(({ eventType }) => eventType === "Heartbeat") },
        signal(),
      );
    expect(linesIn(path)).toEqual([]);
  });

  test("a run id is a version 5 UUID of log, item and token", () => {
    // python3 -c 'import uuid; print(uuid.uuid5(uuid.UUID("8d9f2c3e5b1a4e70a6c4d2f1e0b39785"), "log-1/4/17"))'
    expect(runIdOf("log-1", "4", 17)).toBe("0a404689-9d79-5601-9414-2eeaaf1dab90");
    const ids = [runIdOf("log-1", "4", 18), runIdOf("log-1", "5", 17), runIdOf("log-2", "4", 17)];
    expect(new Set(ids).size).toBe(3);
  });

  test("hostile texts are in it as they were", async () => {
    const feed = new EventFeed({ seed: 21, count: 400 });
    const scope = feed.scope("lineage");
    const path = folder(onTestFinished);
    await (await opened({ folder: path }, scope)).apply(feed.batch(scope, 0, 400), signal());
    const names = new Set(linesIn(path).map(({ outputs }) => outputs[0]?.name));
    expect(names).toEqual(new Set(HOSTILE_TEXTS.map((text) => `sales.${text}`)));
  });
});

describe("over HTTP", () => {
  const feed = new EventFeed({ seed: 22, count: 120 });
  const scope = feed.scope("lineage");
  const wanted = feed.events.filter(({ ownershipToken }) => ownershipToken !== undefined).map((e) => e.sequenceNumber);

  test("a batch that failed goes on where it failed, and begins anew after a seek", async () => {
    const hook = await startHook(onTestFinished);
    const sink = await opened({ http: httpOf(hook) }, scope);
    hook.answer = () => ({ status: hook.taken.length === 5 ? 503 : 201 });
    for (let tries = 0; tries < 2; tries += 1) {
      const error = await refusalOf(sink.apply(feed.batch(scope, 0, 120), signal()));
      expect(outcomeOf(error)).toEqual(["endpoint_busy", false]);
    }
    hook.answer = () => ({ status: 200 });
    await sink.apply(feed.batch(scope, 0, 120), signal());
    const inBatch = wanted.filter((sequence) => sequence <= 120);
    expect(runsAt(hook).map(sequenceOf)).toEqual(inBatch);
    await sink.seek?.(feed.place(0));
    await sink.apply(feed.batch(scope, 0, 120), signal());
    expect(runsAt(hook).map(sequenceOf)).toEqual([...inBatch, ...inBatch]);
  });

  test("a run event that is refused blames its event", async () => {
    const hook = await startHook(onTestFinished);
    const sink = await opened({ http: httpOf(hook) }, scope);
    hook.answer = () => ({ status: 422, text: "no" });
    const error = await refusalOf(sink.apply(feed.batch(scope, 0, 120), signal()));
    expect([...outcomeOf(error), error.details["sequence"]]).toEqual(["event_refused", true, wanted[0]]);
    const large = await opened({ http: { ...httpOf(hook), requestBytesMax: 1_024 } }, scope);
    expect(outcomeOf(await refusalOf(large.apply(feed.batch(scope, 0, 120), signal())))).toEqual([
      "event_refused",
      true,
    ]);
    expect(hook.all).toHaveLength(1);
  });
});

describe("in files", () => {
  const scopeOf = (feed: EventFeed): SinkScope => feed.scope("lineage");

  test("there is one for each day of log time, and its torn end goes", async () => {
    const feed = new EventFeed({ seed: 23, count: 200, startMs: Date.UTC(2026, 0, 31, 23, 59, 50) });
    const path = folder(onTestFinished);
    const first = await opened({ folder: path }, scopeOf(feed));
    await first.apply(feed.batch(scopeOf(feed), 0, 100), signal());
    await first.close();
    const last =
      readdirSync(path)
        .filter((name) => name.endsWith(".jsonl"))
        .sort()
        .at(-1) ?? "";
    appendFileSync(join(path, last), '{"eventType":"STA');
    const second = await opened({ folder: path }, scopeOf(feed));
    await second.apply(feed.batch(scopeOf(feed), 100, 200), signal());
    expect(readdirSync(path).filter((name) => name.endsWith(".jsonl"))).toEqual([
      "eu.orders.2026-01-31.jsonl",
      "eu.orders.2026-02-01.jsonl",
    ]);
    const wanted = feed.events.slice(0, 200).filter(({ ownershipToken }) => ownershipToken !== undefined);
    expect(linesIn(path).map(sequenceOf)).toEqual(wanted.map(({ sequenceNumber }) => sequenceNumber));
  });

  test("a folder has one writer for each shard", async () => {
    const feed = new EventFeed({ count: 10 });
    const path = folder(onTestFinished);
    await opened({ folder: path }, scopeOf(feed));
    const other = makeSink(openlineageKind, { folder: path });
    expect((await refusalOf(other.open(scopeOf(feed), undefined))).code).toBe("sink_taken");
    await opened({ folder: path }, { ...scopeOf(feed), shard: "other" });
  });

  test("a folder that cannot be is told", async () => {
    const sink = makeSink(openlineageKind, { folder: "/proc/nowhere" });
    expect((await refusalOf(sink.open(golden, undefined))).definite).toBe(true);
  });
});

test("options: one of http and folder, and the rules of endpoints", () => {
  const problems = (options: object): readonly string[] => optionProblemsOf(openlineageKind, options);
  expect(problems({ folder: "x" })).toEqual([]);
  expect(problems({})).toEqual(["http: one of http and folder is needed, and only one"]);
  expect(problems({ http: { url: "https://10.0.0.1/x", allowHosts: ["10.0.0.1"] } })).toEqual([
    "http.url: 10.0.0.1 is no public address; if the host is your own, set allowPrivate",
  ]);
  expect(problems({ folder: "x", producer: "me" }).join()).toContain("producer");
});

const LEASES = new Set(["LeaseGranted", "Completed", "Failed", "Expired", "Released"]);
sinkConformance({ describe, test }, "openlineage over HTTP", async () => {
  const disposals: (() => Promise<void>)[] = [];
  const hook = await startHook((dispose) => void disposals.push(dispose));
  const sinks: Sink[] = [];
  return {
    scope: golden,
    guarantee: openlineageKind.guarantee,
    takesAnyLog: true,
    wants: ({ eventType }) => LEASES.has(eventType),
    make: () => {
      const sink = makeSink(openlineageKind, { http: httpOf(hook) });
      sinks.push(sink);
      return sink;
    },
    delivered: async () => runsAt(hook).map((event) => ({ sequenceNumber: sequenceOf(event) })),
    interrupt: () => hook.stop(),
    restore: () => hook.start(),
    close: async () => {
      for (const sink of sinks) await sink.close();
      for (const dispose of disposals) await dispose();
    },
  };
});

sinkConformance({ describe, test }, "openlineage in files", async () => {
  const disposals: (() => Promise<void>)[] = [];
  const path = folder((dispose) => void disposals.push(dispose));
  const sinks: Sink[] = [];
  return {
    scope: golden,
    guarantee: openlineageKind.guarantee,
    takesAnyLog: true,
    wants: ({ eventType }) => LEASES.has(eventType),
    make: () => {
      const sink = makeSink(openlineageKind, { folder: path });
      sinks.push(sink);
      return sink;
    },
    delivered: async () => linesIn(path).map((event) => ({ sequenceNumber: sequenceOf(event) })),
    tearTail: async () => {
      const last = readdirSync(path)
        .filter((name) => name.endsWith(".jsonl"))
        .sort()
        .at(-1);
      if (last !== undefined) appendFileSync(join(path, last), '{"eventType":"COMPL');
    },
    crash: async (sink) => sink.close(),
    close: async () => {
      for (const sink of sinks) await sink.close();
      for (const dispose of disposals) await dispose();
    },
  };
});
