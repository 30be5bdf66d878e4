/** What a subscription to a changefeed takes, and what its filter asks of the server. */
import { expect, test } from "vitest";
import type { OperatingError } from "../../contracts/errors.ts";
import { type ChangesOptions, changesSettings, filterSubjects } from "../../services/client/changes-options.ts";

test.each([
  { shard: "No" },
  { shard: "a", from: { sequence: 0 } },
  { shard: "a", from: { time: "yesterday" } },
  { shard: "a", from: { time: 8.64e15 + 1 } },
  { shard: "a", from: { time: new Date(8.64e15) } },
  { shard: "a", from: "end" },
  { shard: "a", name: "Audit.1" },
  { shard: "a", filter: { eventTypes: ["enqueued"] } },
  { shard: "a", filter: { resourceTypes: [] } },
  { shard: "a", bufferBytesMax: 0 },
  { shard: "a", colour: "red" },
])("refuses %j", (options) => {
  expect(() => changesSettings(options as ChangesOptions)).toThrow(
    expect.objectContaining({ code: "invalid_options", definite: true }) as OperatingError,
  );
});

test("takes a time as a date, as text and as ms", () => {
  const time = "2026-01-02T03:04:05.006Z";
  const ms = Date.parse(time);
  for (const given of [time, ms, new Date(ms)])
    expect(changesSettings({ shard: "a", from: { time: given } }).from).toEqual({ time: ms });
});

test("asks the server for what the filter names, a token each, and for everything without one", () => {
  const subjects = (filter: ChangesOptions["filter"]) =>
    filterSubjects("eu", changesSettings({ shard: "a", filter: filter ?? {} }));
  expect(subjects({})).toBeUndefined();
  expect(subjects({ eventTypes: ["Enqueue", "Completed"] })).toEqual([
    "omnirelay.changes.eu.a.Enqueue.*",
    "omnirelay.changes.eu.a.Completed.*",
  ]);
  // Subjects of one consumer may not overlap, so types that share a token are asked for once.
  expect(subjects({ resourceTypes: ["a.b", "a b", "ä*>"] })).toEqual([
    "omnirelay.changes.eu.a.*.a_b",
    "omnirelay.changes.eu.a.*.___",
  ]);
  expect(subjects({ eventTypes: ["Enqueue"], resourceTypes: ["t"] })).toEqual(["omnirelay.changes.eu.a.Enqueue.t"]);
});
