/** Kinds of sinks of third parties, and configurations that cannot be. */
import { expect, test } from "vitest";
import { z } from "zod";
import { SinkConfig } from "../../contracts/sinks.ts";
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

test("refuses a shard that is named twice: both pumps would think that the checkpoint is theirs", () => {
  const config = SinkConfig.parse({ name: "a", kind: "memory", shards: ["one", "one"] });
  expect(() => createSinkKinds().plan([config], ["one"])).toThrow(/names a shard twice/);
});
