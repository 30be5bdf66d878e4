/** The sinks of the matrix are such as the replicator takes them. */
import { expect, test } from "vitest";
import { z } from "zod";
import { sinkGuarantees, sinksFlag } from "../../chaos/driver/drill-sinks.ts";
import { SinkConfig } from "../../contracts/sinks.ts";
import { createSinkKinds } from "../../services/replication/mod.ts";

test("each sink of the matrix is one that its kind takes", () => {
  const configs = z.array(SinkConfig).parse(JSON.parse(sinksFlag("/folder")));
  expect(createSinkKinds().plan(configs, ["default"])).toHaveLength(3);
  expect(Object.keys(sinkGuarantees)).toEqual(configs.map(({ name }) => name));
});
