/** The gRPC sink and the hub it brings events to, in one process over loopback: the suite of all sinks, who may write, and what a hub refuses. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Client, credentials, logVerbosity, Metadata, type ServiceError, setLogVerbosity } from "@grpc/grpc-js";
import Database from "better-sqlite3";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { ReplicationEvent } from "../../contracts/envelope.ts";
import type { Checkpoint } from "../../contracts/followers.ts";
import { type HubOptions, ReplicationHub } from "../../services/replication/hub.ts";
import { replicationContract } from "../../services/replication/proto-contract.ts";
import { checkpointToProto, eventToProto, type ProtoMessage } from "../../services/replication/proto-messages.ts";
import type { Sink, SinkScope } from "../../services/replication/sink.ts";
import { grpcKind } from "../../services/replication/sinks/grpc-kind.ts";
import { EventFeed, sinkConformance } from "../../services/testing/mod.ts";
import type { Cleanup } from "../support/process.ts";
import {
  deliveredEvent,
  folder,
  makeCertificates,
  makeSink,
  optionProblemsOf,
  outcomeOf,
  refusalOf,
  sinkDeps,
} from "./outside-bed.ts";

const feed = new EventFeed({ seed: 4, count: 60 });
const scope = feed.scope("to-hub");
const signal = (): AbortSignal => new AbortController().signal;
const TOKEN = "a token of the test, long enough";

interface RunningHub {
  readonly path: string;
  readonly address: string;
  readonly reports: readonly string[];
  /** What it holds, in the order of arrival. */
  events(): readonly ReplicationEvent[];
  stop(): Promise<void>;
  start(): Promise<void>;
}

async function startHub(cleanup: Cleanup, more: Partial<HubOptions> = {}): Promise<RunningHub> {
  const path = join(folder(cleanup), "hub.db");
  const { reporter, reports } = sinkDeps();
  let hub: ReplicationHub | undefined;
  let listen = "127.0.0.1:0";
  const running = {
    path,
    reports,
    address: "",
    events: () => {
      const db = new Database(path, { readonly: true });
      const texts = db.prepare<[], string>("SELECT event FROM hub_event ORDER BY rowid").pluck().all();
      db.close();
      return texts.map((text) => JSON.parse(text) as ReplicationEvent);
    },
    stop: async () => {
      await hub?.stop();
      hub = undefined;
    },
    start: async () => {
      hub = await ReplicationHub.start({ listen, path, durability: "normal", ...more }, reporter);
      listen = `127.0.0.1:${hub.port}`;
      running.address = listen;
    },
  };
  await running.start();
  cleanup(running.stop);
  return running;
}

async function opened(
  hub: RunningHub,
  more: object = {},
  own: SinkScope = scope,
  checkpoint?: Checkpoint,
): Promise<Sink> {
  const sink = makeSink(grpcKind, { address: hub.address, plaintext: true, ...more });
  onTestFinished(() => sink.close());
  await sink.open(own, checkpoint);
  return sink;
}
const apply = (sink: Sink, after: number, upTo: number): Promise<void> =>
  sink.apply(feed.batch(scope, after, upTo), signal());

describe("what the hub holds", () => {
  test("is each event as it was, also of batches that are too large for one message", async () => {
    const hub = await startHub(onTestFinished);
    const sink = await opened(hub, { messageBytesMax: 3_000 });
    await apply(sink, 0, feed.lastSequence);
    expect(hub.events()).toEqual(JSON.parse(JSON.stringify(feed.events)));
    const again = makeSink(grpcKind, { address: hub.address, plaintext: true });
    onTestFinished(() => again.close());
    expect(await again.open(scope, undefined)).toEqual(feed.place(feed.lastSequence));
  });

  test("is each event once, whichever sinks of a shard bring it, each from its own place", async () => {
    const hub = await startHub(onTestFinished);
    const [one, two] = [await opened(hub), await opened(hub, {}, feed.scope("other"))];
    await apply(one, 0, 20);
    await two.apply(feed.batch(feed.scope("other"), 0, 12), signal());
    await Promise.all([apply(one, 20, 40), two.apply(feed.batch(feed.scope("other"), 12, 44), signal())]);
    expect(hub.events().map(({ sequenceNumber }) => sequenceNumber)).toEqual(
      Array.from({ length: 44 }, (_, index) => index + 1),
    );
  });

  test("begins at the place that is known outside, and says so", async () => {
    const hub = await startHub(onTestFinished);
    const sink = await opened(hub, {}, scope, { ...feed.place(30), owner: "a process" });
    await apply(sink, 30, 34);
    expect(hub.events().map(({ sequenceNumber }) => sequenceNumber)).toEqual([31, 32, 33, 34]);
    expect(hub.reports).toEqual([expect.stringMatching(/^hub_place_moved: .*"sequence":30/)]);
    expect(
      JSON.stringify(await opened(hub).then(() => new Database(hub.path).prepare("SELECT * FROM hub_place").all())),
    ).not.toContain("owner");
  });
});

describe("what the hub refuses", () => {
  test("a gap: events that nobody brought", async () => {
    const hub = await startHub(onTestFinished);
    const sink = await opened(hub);
    await apply(sink, 0, 10);
    const error = await refusalOf(apply(sink, 12, 20));
    expect([...outcomeOf(error), error.details]).toEqual([
      "sink_gap",
      true,
      { region: "eu", shard: "orders", logId: feed.logId, place: 10, after: 12 },
    ]);
    await apply(sink, 10, 20);
    expect(hub.events()).toHaveLength(20);
  });

  test("another event in the place of one that it has", async () => {
    const hub = await startHub(onTestFinished);
    const sink = await opened(hub);
    await apply(sink, 0, 10);
    const batch = feed.batch(scope, 5, 8);
    const events = batch.events.map((event) =>
      event.sequenceNumber === 7 ? { ...event, metadata: { ...event.metadata, "log.chain": "0".repeat(64) } } : event,
    );
    const error = await refusalOf(sink.apply({ ...batch, events }, signal()));
    expect([...outcomeOf(error), error.details["sequence"]]).toEqual(["effect_conflict", true, 7]);
    expect(hub.events()[6]).toEqual(JSON.parse(JSON.stringify(feed.events[6])));
  });

  test("an event that is too large for a message, by its sequence", async () => {
    const hub = await startHub(onTestFinished);
    const sink = await opened(hub, { messageBytesMax: 1_024 });
    const batch = feed.batch(scope, 0, 3);
    const events = batch.events.map((event) => ({
      ...event,
      details: { text: "x".repeat(event.sequenceNumber === 2 ? 2_000 : 1) },
    }));
    const error = await refusalOf(sink.apply({ ...batch, events }, signal()));
    expect([...outcomeOf(error), error.details["sequence"]]).toEqual(["event_refused", true, 2]);
  });

  test("messages above its bound", async () => {
    const hub = await startHub(onTestFinished, { messageBytesMax: 1_024 });
    const sink = await opened(hub);
    expect(outcomeOf(await refusalOf(apply(sink, 0, 60)))).toEqual(["hub_unavailable", false]);
    expect(hub.events()).toEqual([]);
  });
});

describe("strangers", () => {
  /** Sends messages as any tool could; resolves to the status and the code that the trailer tells. */
  async function send(hub: RunningHub, messages: readonly ProtoMessage[]): Promise<string> {
    const { path, requestSerialize, responseDeserialize } = replicationContract().replicate;
    const client = new Client(hub.address, credentials.createInsecure());
    const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata());
    const ended = new Promise<string>((resolve) => {
      stream.on("data", () => {});
      stream.on("end", () => resolve("OK"));
      stream.on("error", (error: ServiceError) => {
        const [trailer] = error.metadata.get("omnirelay-error-bin");
        resolve(`${error.code} ${trailer === undefined ? "" : JSON.parse(String(trailer)).code}`);
      });
    });
    for (const message of messages) stream.write(message);
    stream.end();
    const outcome = await ended;
    client.close();
    return outcome;
  }
  const batch = (more: object = {}, upTo = 3): ProtoMessage => ({
    ...{ scope: { ...scope }, after: checkpointToProto(feed.place(0)), upTo: checkpointToProto(feed.place(upTo)) },
    events: feed.events.slice(0, upTo).map(eventToProto),
    ...more,
  });
  const first = (more: object): ProtoMessage => ({ ...eventToProto(feed.events[0] as ReplicationEvent), ...more });
  const INVALID = "3 batch_refused";

  test("may write what is right", async () => {
    const hub = await startHub(onTestFinished);
    expect(await send(hub, [batch(), batch()])).toBe("OK");
    expect(hub.events()).toHaveLength(3);
  });

  test("are refused whatever is not right, by what it is", async () => {
    const hub = await startHub(onTestFinished);
    const cases: readonly (readonly [what: string, more: object, outcome: string])[] = [
      ["nothing at all", { scope: undefined, after: undefined, upTo: undefined, events: [] }, INVALID],
      ["a name that is none", { scope: { ...scope, shard: "../x" } }, INVALID],
      ["places of another log", { after: checkpointToProto({ ...feed.place(0), logId: "other" }) }, INVALID],
      ["places in the wrong order", { after: checkpointToProto(feed.place(9)) }, INVALID],
      ["events of another shard", { scope: { ...scope, shard: "other" } }, INVALID],
      ["events out of order", { events: [...(batch()["events"] as object[])].reverse() }, INVALID],
      ["an event twice", { events: [first({}), first({})] }, INVALID],
      ["an event behind the place", { upTo: checkpointToProto(feed.place(2)) }, INVALID],
      ["an event without metadata", { events: [first({ metadata: undefined })] }, INVALID],
      ["an event whose JSON is none", { events: [first({ detailsJson: Buffer.from("{") })] }, INVALID],
      [
        "JSON that is too deep",
        { events: [first({ detailsJson: Buffer.from("[".repeat(50_000) + "]".repeat(50_000)) })] },
        INVALID,
      ],
      ["a sequence that is no exact number", { events: [first({ sequenceNumber: 2 ** 63 })] }, INVALID],
      ["an event of a later version", { events: [first({ schemaVersion: 2 })] }, "9 unsupported_version"],
    ];
    for (const [what, more, outcome] of cases)
      expect([what, await send(hub, [batch(more), batch()])]).toEqual([what, outcome]);
    expect(hub.events()).toEqual([]);
  });

  test("bring kinds of events that the hub does not know yet", async () => {
    const hub = await startHub(onTestFinished);
    expect(await send(hub, [batch({ events: [first({ eventType: "OfALaterRelease" })] }, 1)])).toBe("OK");
    expect(hub.events()[0]?.eventType).toBe("OfALaterRelease");
  });
});

describe("who may write", () => {
  test("is whoever has one of the hub's tokens", async () => {
    vi.stubEnv("HUB_TOKEN", TOKEN);
    vi.stubEnv("HUB_TOKEN_2", "another token, also long enough");
    vi.stubEnv("HUB_TOKEN_BAD", "a token that the hub does not know");
    onTestFinished(() => void vi.unstubAllEnvs());
    const hub = await startHub(onTestFinished, { tokens: [{ env: "HUB_TOKEN" }, { env: "HUB_TOKEN_2" }] });
    for (const env of ["HUB_TOKEN", "HUB_TOKEN_2"]) await apply(await opened(hub, { bearer: { env } }), 0, 5);
    for (const more of [{}, { bearer: { env: "HUB_TOKEN_BAD" } }]) {
      const error = await refusalOf(opened(hub, more));
      expect(outcomeOf(error)).toEqual(["unauthenticated", true]);
    }
    expect(hub.events()).toHaveLength(5);
  });

  test("is, with TLS, whoever trusts the hub and has a certificate where one is asked for", async (context) => {
    const certificates = makeCertificates(onTestFinished);
    if (certificates === undefined) return context.skip("no openssl here");
    const { certFile, keyFile } = certificates;
    const hub = await startHub(onTestFinished, { tls: { certFile, keyFile, clientCaFile: certFile } });
    const tls = { caFile: certFile, certFile, keyFile };
    const address = hub.address.replace("127.0.0.1", "localhost");
    await apply(await opened(hub, { address, plaintext: false, tls }), 0, 5);
    const strangers = [{ plaintext: true }, { plaintext: false }, { plaintext: false, tls: { caFile: certFile } }];
    for (const more of strangers)
      expect(outcomeOf(await refusalOf(opened(hub, { address, timeoutMs: 2_000, ...more })))).toEqual([
        "hub_unavailable",
        false,
      ]);
    expect(hub.events()).toHaveLength(5);
  });
});

describe("options", () => {
  const hubProblem = async (more: object): Promise<string> => {
    const path = join(folder(onTestFinished), "hub.db");
    const options = { listen: "127.0.0.1:0", path, ...more };
    return (await refusalOf(ReplicationHub.start(options, sinkDeps().reporter))).message;
  };
  test.each([
    [{ listen: "0.0.0.0:0" }, "is missing; beyond loopback set it, or allowPlaintext"],
    [{ listen: "0.0.0.0:0" }, "are missing; beyond loopback set them, tls.clientCaFile, or allowAnonymous"],
    [{ listen: "nowhere" }, "listen: must match"],
    [{ listen: "127.0.0.1:0", token: "plain" }, "has no option token"],
    [{ path: "/not/there/hub.db" }, "its folder does not exist"],
    [{ tls: { certFile: "/not/there", keyFile: "/not/there" } }, "cannot be read"],
    [{ tokens: [{ env: "NOT_THERE" }] }, "holds no secret"],
  ])("a hub refuses %j", async (more, message) => expect(await hubProblem(more)).toContain(message));

  test("a port that is taken is told", async () => {
    setLogVerbosity(logVerbosity.NONE);
    onTestFinished(() => setLogVerbosity(logVerbosity.ERROR));
    const hub = await startHub(onTestFinished);
    expect(await hubProblem({ listen: hub.address })).toContain(`the hub cannot listen on ${hub.address}`);
  });

  test("a sink refuses what contradicts itself, a secret that is missing and a file that is not there", async () => {
    const problems = (more: object): readonly string[] => optionProblemsOf(grpcKind, { address: "hub:1", ...more });
    expect(problems({})).toEqual([]);
    expect(problems({ address: "http://hub" }).join()).toContain("Invalid string");
    expect(problems({ tls: { certFile: "x" } })).toEqual(["tls: needs certFile and keyFile together"]);
    expect(problems({ plaintext: true, tls: { caFile: "x" } })).toEqual(["tls: is given, and plaintext is set"]);
    const file = join(folder(onTestFinished), "empty");
    writeFileSync(file, "\n");
    const cases = [
      [{ bearer: { env: "NOT_THERE" } }, "secret_unusable"],
      [{ bearer: { file } }, "secret_unusable"],
      [{ tls: { caFile: "/not/there" } }, "option_file_unusable"],
    ] as const;
    for (const [more, code] of cases) {
      const sink = makeSink(grpcKind, { address: "127.0.0.1:1", ...more });
      expect(outcomeOf(await refusalOf(sink.open(scope, undefined)))).toEqual([code, true]);
      await sink.close();
    }
  });
});

test("a hub that says nothing is given up in time, and so is one that is not there", async () => {
  const hub = await startHub(onTestFinished);
  const sink = await opened(hub);
  await hub.stop();
  expect(outcomeOf(await refusalOf(apply(sink, 0, 5)))).toEqual(["hub_unavailable", false]);
  expect(outcomeOf(await refusalOf(opened(hub)))).toEqual(["hub_unavailable", false]);
});

sinkConformance({ describe, test }, "grpc", async () => {
  const disposals: (() => Promise<void>)[] = [];
  const hub = await startHub((dispose) => void disposals.unshift(dispose));
  const sinks: Sink[] = [];
  return {
    scope,
    guarantee: grpcKind.guarantee,
    make: () => {
      const sink = makeSink(grpcKind, { address: hub.address, plaintext: true });
      sinks.push(sink);
      return sink;
    },
    delivered: async () => hub.events().map(deliveredEvent),
    interrupt: hub.stop,
    restore: hub.start,
    close: async () => {
      for (const sink of sinks) await sink.close();
      for (const dispose of disposals) await dispose();
    },
  };
});
