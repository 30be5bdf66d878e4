/** Events of older versions of the envelope are lifted, those of newer ones refused. */
import { expect, test } from "vitest";
import { z } from "zod";
import { ENVELOPE_VERSION, ReplicationEvent } from "../../contracts/envelope.ts";
import { OperatingError } from "../../contracts/errors.ts";
import { upcastEvent, upcasterOf } from "../../contracts/upcast-event.ts";
import { RELEASE_VERSION } from "../../contracts/version.ts";
import { EventFeed } from "../../services/testing/mod.ts";

const [event] = new EventFeed({ count: 10 }).events.slice(4);
const errorOf = (step: () => unknown): OperatingError => {
  try {
    step();
  } catch (error) {
    if (error instanceof OperatingError) return error;
  }
  throw new Error("no OperatingError");
};

test("reads an event of this version as it is, unknown fields included", () => {
  const extended = { ...event, colour: "red" };
  expect(upcastEvent(JSON.parse(JSON.stringify(extended)))).toEqual(extended);
});

test("lifts an event step by step to the newest version", () => {
  const Second = ReplicationEvent.extend({ schemaVersion: z.literal(2), origin: z.string() });
  const Third = Second.omit({ origin: true }).extend({ schemaVersion: z.literal(3), from: z.string() });
  const read = upcasterOf<z.infer<typeof Third>>({
    1: { schema: ReplicationEvent, lift: (old) => ({ ...(old as object), schemaVersion: 2, origin: "before" }) },
    2: {
      schema: Second,
      lift: (old) => {
        const { origin, ...rest } = old as z.infer<typeof Second>;
        return { ...rest, schemaVersion: 3, from: origin };
      },
    },
    3: { schema: Third },
  });
  expect(read(event)).toEqual({ ...event, schemaVersion: 3, from: "before" });
  expect(read({ ...event, schemaVersion: 2, origin: "x" })).toEqual({ ...event, schemaVersion: 3, from: "x" });
  expect(read({ ...event, schemaVersion: 3, from: "y" })).toEqual({ ...event, schemaVersion: 3, from: "y" });
  expect(errorOf(() => read({ ...event, schemaVersion: 4 }))).toMatchObject({ code: "version_unknown" });
});

test("refuses a newer version, and names the event, both versions and the upgrade", () => {
  const error = errorOf(() => upcastEvent({ ...event, schemaVersion: ENVELOPE_VERSION + 1 }));
  expect(error).toMatchObject({ code: "version_unknown", definite: true });
  expect(error.details).toEqual({ schemaVersion: ENVELOPE_VERSION + 1, newest: ENVELOPE_VERSION });
  for (const part of [`event ${event?.sequenceNumber}`, RELEASE_VERSION, "upgrade omnirelay"])
    expect(error.message).toContain(part);
});

test.each([null, 7, {}, { schemaVersion: "1" }, { schemaVersion: 0 }, { schemaVersion: 1, sequenceNumber: 3 }])(
  "refuses what is no event: %j",
  (value) => {
    expect(errorOf(() => upcastEvent(value))).toMatchObject({ code: "event_unreadable", definite: true });
  },
);
