/** Kinds of sinks of third parties, and configurations that cannot be. */
import { expect, test } from "vitest";
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import { createSinkKinds, type SinkKind } from "../../services/replication/mod.ts";

const whole = {
  kind: "mine",
  summary: "s",
  guarantee: "at least once",
  options: z.strictObject({}),
  create: () => ({}),
};

test.each([
  ["nothing", null],
  ["a text", "mine"],
  ["no name", { ...whole, kind: undefined }],
  ["no options", { ...whole, options: undefined }],
  ["options that are no schema", { ...whole, options: {} }],
  ["nothing that makes it", { ...whole, create: "x" }],
])("refuses a kind that is none: %s", (_what, kind) => {
  expect(() => createSinkKinds().register(kind as unknown as SinkKind)).toThrow(
    expect.objectContaining({ code: "sink_kind_invalid" }),
  );
});

/** What a plan of these sinks, for the shards `one` and `two`, is refused with. */
function problemsOf(...sinks: readonly unknown[]): unknown {
  try {
    createSinkKinds().plan(sinks, ["one", "two"]);
    return [];
  } catch (error) {
    if (!(error instanceof OperatingError && error.code === "sinks_invalid" && error.definite)) throw error;
    return error.details["problems"];
  }
}

test("refuses a shard that is named twice: both pumps would think that the checkpoint is theirs", () => {
  expect(problemsOf({ name: "a", kind: "memory", shards: ["one", "one"] })).toEqual([
    "sinks[0] (a): names a shard twice",
  ]);
});

test.each([
  ["json-lines", { folder: "/out" }, { folder: "/out/x/..", gzip: true }, "the folder /out"],
  ["sqlite", { path: "/out/events.db" }, { path: "/out/./events.db", busyMs: 1 }, "the table events of /out/events.db"],
  ["objects", { store: "files", folder: "/out" }, { store: "files", folder: "/out/" }, "the folder /out"],
  [
    "objects",
    { store: "s3", bucket: "all", prefix: "p", endpoint: "http://s3.test" },
    { store: "s3", bucket: "all", prefix: "p", endpoint: "http://s3.test", timeoutMs: 100 },
    '"p" of the s3 bucket all at http://s3.test',
  ],
  [
    "objects",
    { store: "jetstream", prefix: "" },
    { store: "jetstream", prefix: "", replicas: 3 },
    '"" of the jetstream bucket omnirelay-objects',
  ],
  ["changefeed", {}, { replicas: 3 }, "the changefeed"],
  ["openlineage", { folder: "/out" }, { folder: "/out", heartbeats: true }, "run events in the folder /out"],
])("refuses two sinks of the kind %s that write to the same", (kind, first, second, target) => {
  const [a, b] = [
    { name: "a", kind, options: first },
    { name: "b", kind, shards: ["two"], options: second },
  ];
  expect(problemsOf(a, b)).toEqual([`sinks[1] (b): sinks[0] (a) writes to ${target} as well, for the shard two`]);
});

test.each([
  ["folders", "json-lines", { folder: "/out/a" }, { folder: "/out/b" }],
  ["tables of one file", "sqlite", { path: "/out.db", table: "a" }, { path: "/out.db", table: "b" }],
  ["prefixes of one bucket", "objects", { store: "jetstream" }, { store: "jetstream" }],
  ["rows of one file", "governance", { path: "/out.db" }, { path: "/out.db" }],
])("lets two sinks write to different %s", (_what, kind, first, second) => {
  expect(problemsOf({ name: "a", kind, options: first }, { name: "b", kind, options: second })).toEqual([]);
});

test("lets two sinks write to one folder for different shards", () => {
  const options = { folder: "/out" };
  const [a, b] = [
    { name: "a", kind: "json-lines", shards: ["one"], options },
    { name: "b", kind: "json-lines", shards: ["two"], options },
  ];
  expect(problemsOf(a, b)).toEqual([]);
});

test("tells all that is wrong with several sinks at once, each in a line that names the sink and the option", () => {
  const sinks = [
    { name: "A b", kind: "memory", bogus: 1, options: { eventsMax: "many" } },
    {
      name: "w",
      kind: "webhook",
      shards: [],
      batch: { events: 0, x: 1 },
      options: { url: "ftp://x", bearer: "s3cret" },
    },
    { kind: "memory", failure: { retryMsMin: 50, retryMsMax: 10 } },
    7,
    { name: "w", kind: "objects", options: { store: "s4" } },
    { name: "g", kind: "none-such", options: [] },
    { name: "q", kind: "grpc", options: { address: "hub:1", plaintext: true, tls: { certFile: "" }, timeoutMs: 0 } },
    { name: "l", kind: "json-lines", options: { fsyncMs: 7 } },
  ];
  expect(problemsOf(...sinks)).toEqual([
    "sinks[0] (A b): name: must match /^[a-z0-9]+(-[a-z0-9]+)*$/",
    "sinks[0] (A b): has no option bogus",
    "sinks[0] (A b): options.eventsMax: must be a number",
    "sinks[1] (w): shards: must have at least 1 entry",
    "sinks[1] (w): batch.events: must be at least 1",
    "sinks[1] (w): batch: has no option x",
    "sinks[1] (w): options.allowHosts: is missing; give a list",
    "sinks[1] (w): options.bearer: must be an object",
    "sinks[1] (w): options.secrets: is missing; give a list",
    "sinks[1] (w): options.url: must be an https URL",
    "sinks[2]: name: is missing; give a text",
    "sinks[2]: failure.retryMsMin: is above retryMsMax",
    "sinks[3]: must be an object",
    "sinks[4] (w): options.store: must be one of files, jetstream, s3",
    "sinks[5] (g): options: must be an object",
    expect.stringMatching(/^sinks\[5\] \(g\): there is no kind "none-such"; known: capture, /),
    "sinks[6] (q): options.tls.certFile: must have at least 1 character",
    "sinks[6] (q): options.timeoutMs: must be at least 1",
    "sinks[6] (q): options.tls: needs certFile and keyFile together",
    "sinks[6] (q): options.tls: is given, and plaintext is set",
    "sinks[7] (l): options.folder: is missing; give a text",
    "sinks[7] (l): options.fsyncMs: fsyncMs goes with fsync: interval only",
    "sinks[4] (w): there is another sink of this name",
  ]);
});
