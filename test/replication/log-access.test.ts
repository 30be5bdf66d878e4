/** Places of a log that operators name. */
import { expect, test } from "vitest";
import { placeOf } from "../../services/replication/log-access.ts";
import { ChainBuilder } from "../cli/chain-builder.ts";
import { PumpWorld } from "./pump-world.ts";

const ADDRESS = { region: "local", shard: "default" };

/** A log of 12 events. */
const log = () => new PumpWorld().store(new ChainBuilder().begin().enqueue(10).messages).log;

test("refuses a sequence that the log has not reached", async () => {
  await expect(placeOf(log(), ADDRESS, { sequence: 14 })).rejects.toMatchObject({
    code: "checkpoint_ahead",
    definite: true,
    message: expect.stringContaining("ends with sequence 12"),
    details: { last: 12 },
  });
});

test("finds the end of the log for the sequence that comes next, and for a time that nothing has happened since", async () => {
  expect(await placeOf(log(), ADDRESS, { sequence: 13 })).toMatchObject({ sequence: 12 });
  expect(await placeOf(log(), ADDRESS, { atMs: Number.MAX_SAFE_INTEGER })).toMatchObject({ sequence: 12 });
});
