/** The feed that sinks are tested with gives what a log would give. */
import { expect, test } from "vitest";
import { ReplicationEvent } from "../../contracts/envelope.ts";
import { Checkpoint } from "../../contracts/followers.ts";
import { EventFeed, HOSTILE_TEXTS } from "../../services/testing/mod.ts";

const SEED = 7;

test(`gives valid events without a gap, of many kinds, with every hostile text (seed ${SEED})`, () => {
  const feed = new EventFeed({ seed: SEED, count: 600 });
  expect(feed.lastSequence).toBeGreaterThanOrEqual(600);
  for (const [index, event] of feed.events.entries()) {
    expect(ReplicationEvent.parse(event)).toEqual(event);
    expect(event.sequenceNumber).toBe(index + 1);
  }
  const bodies = new Set(feed.events.map((event) => event.resourceLeaseItemPayload?.body));
  for (const hostile of HOSTILE_TEXTS) expect(bodies).toContain(hostile);
  expect(new Set(feed.events.map((event) => event.eventType)).size).toBeGreaterThan(10);
});

test("gives places that rise, also inside frames and behind empty ones", () => {
  const feed = new EventFeed({ seed: SEED });
  for (let sequence = 1; sequence <= feed.lastSequence; sequence += 1) {
    const place = feed.place(sequence);
    expect(Checkpoint.parse(place)).toEqual(place);
    expect(place.sequence).toBe(sequence);
    expect(place.streamSequence).toBeGreaterThanOrEqual(feed.place(sequence - 1).streamSequence);
    const event = feed.events[sequence - 1];
    expect(event?.metadata["log.streamSequence"]).toBeLessThanOrEqual(place.streamSequence + 1);
  }
  expect(feed.place(feed.lastSequence).tokenEpoch).toBe(2);
});

test("gives the same events for the same seed", () => {
  const events = (seed: number): string => JSON.stringify(new EventFeed({ seed }).events);
  expect(events(3)).toBe(events(3));
  expect(events(3)).not.toBe(events(4));
});
