/** Given events, when a command, then events or a refusal: the pure decisions, verb by verb. */
import { describe, expect, test } from "vitest";
import type { EventOf, LogEvent } from "../../contracts/events.ts";
import { tokenOf } from "../../contracts/ids.ts";
import { FOLLOWERS_MAX } from "../../contracts/limits.ts";
import { decideConfigure } from "../../services/core/admin.ts";
import { decideEnqueue } from "../../services/core/enqueue.ts";
import { payloadDigest, stateHash } from "../../services/core/hash.ts";
import { decideRenewal } from "../../services/core/heartbeat.ts";
import { decideGrant } from "../../services/core/lease.ts";
import { decideComplete, decideFail, decideRelease } from "../../services/core/settle.ts";
import { decideExpire } from "../../services/core/term.ts";
import { given } from "./shard-world.ts";

const named = { itemId: "3", resourceType: "table", resourceId: "orders" };
const payload = { resourceType: "table", resourceId: "orders" };
/** The first item: a log begins with logCreated and termStarted, so its sequence is 3. */
const enqueued: LogEvent = { type: "enqueued", actor: 0, itemId: "3", item: payload };
const leased: LogEvent = { type: "leased", actor: 0, ...named, attempt: 1, durationMs: 30_000, expiresAt: 31_000 };
const failed: EventOf<"failed"> = {
  type: "failed",
  actor: 0,
  ...named,
  token: 4,
  digest: "0123456789abcdef",
  reason: "no space",
  outcome: "requeued",
};
const TOKEN = 4;
const everyLane = { at: 1_000, durationMs: 30_000, lanes: undefined, replyBytesLeft: 1e6, frameBytesLeft: 1e6 };
const settleTerms = { at: 1_000, principal: "worker" };
const enqueueTerms = { principal: "seeder", requestId: undefined, at: 1_000, after: undefined, frameBytesLeft: 1e6 };

describe("enqueue", () => {
  test("an item gets the id of its event sequence in base 36", () => {
    expect(decideEnqueue(given(), payload, enqueueTerms)).toEqual({
      kind: "accepted",
      event: enqueued,
      result: { itemId: "3", sequence: 3, duplicate: false },
    });
  });

  test("a request id is written with the digest of the contents", () => {
    const decision = decideEnqueue(given(), payload, { ...enqueueTerms, requestId: "id-1" });
    expect(decision).toMatchObject({ event: { requestId: "id-1", digest: payloadDigest(payload) } });
  });

  test("an item's own request id does not stand twice in the event", () => {
    const decision = decideEnqueue(given(), { ...payload, requestId: "id-1" }, { ...enqueueTerms, requestId: "id-1" });
    expect(decision).toMatchObject({ event: { item: payload, requestId: "id-1" } });
    if (decision.kind === "accepted") expect(decision.event.item).toEqual(payload);
  });
});

describe("lease", () => {
  test("the oldest pending item is granted until now and the duration", () => {
    expect(decideGrant(given(enqueued), everyLane)?.event).toEqual(leased);
  });

  test("nothing is granted while the only item is leased", () => {
    expect(decideGrant(given(enqueued, leased), everyLane)).toBeUndefined();
  });

  test("a failed item is granted again with the next attempt", () => {
    expect(decideGrant(given(enqueued, leased, failed), everyLane)?.event).toMatchObject({ itemId: "3", attempt: 2 });
  });

  test("nothing is granted that the reply or the frame cannot take", () => {
    expect(decideGrant(given(enqueued), { ...everyLane, replyBytesLeft: 100 })).toBeUndefined();
    expect(decideGrant(given(enqueued), { ...everyLane, frameBytesLeft: 100 })).toBeUndefined();
  });
});

describe("heartbeat", () => {
  const state = given(enqueued, leased);
  const lease = state.items.get("3")?.lease;
  if (lease === undefined) throw new Error("the item is leased");

  test("a beat before a third of the lease has run changes nothing", () => {
    expect(decideRenewal(state, "3", lease, { at: 10_999 }, undefined)).toBeUndefined();
  });

  test("a beat after a third of the lease has run renews the length of the grant", () => {
    const renewal = { itemId: "3", token: TOKEN, durationMs: 30_000, expiresAt: 41_000 };
    expect(decideRenewal(state, "3", lease, { at: 11_000 }, undefined)).toEqual(renewal);
  });

  test("an extension is always written, also a shorter one", () => {
    const renewal = { itemId: "3", token: TOKEN, durationMs: 500, expiresAt: 1_600 };
    expect(decideRenewal(state, "3", lease, { at: 1_100 }, 500)).toEqual(renewal);
  });

  test("a beat without an extension never ends a lease earlier", () => {
    const extended = given(enqueued, leased, {
      type: "renewed",
      actor: 0,
      leases: [{ itemId: "3", token: TOKEN, durationMs: 3_600_000, expiresAt: 3_601_000 }],
    });
    const long = extended.items.get("3")?.lease;
    if (long === undefined) throw new Error("the item is leased");
    expect(decideRenewal(extended, "3", long, { at: 1_300_000 }, undefined)).toBeUndefined();
    expect(decideRenewal(extended, "3", long, { at: 3_590_000 }, undefined)).toMatchObject({ expiresAt: 3_620_000 });
    // The frame has been open for a minute: by its time the grant would end before what is left.
    const late = decideRenewal(extended, "3", long, { at: 3_530_000, now: 3_590_000 }, undefined);
    expect(late).toMatchObject({ expiresAt: 3_601_000, durationMs: 71_000 });
  });
});

describe("complete", () => {
  const event = { type: "completed", actor: 0, ...named, token: TOKEN, result: "ok" };
  const entry = { itemId: "3", token: TOKEN, result: "ok" };

  test("the holder completes its item", () => {
    const decision = decideComplete(given(enqueued, leased), entry, settleTerms);
    expect(decision).toMatchObject({ kind: "accepted", event, result: { duplicate: false } });
  });

  test("a repeat is a duplicate and writes nothing", () => {
    const first = decideComplete(given(enqueued, leased), entry, settleTerms);
    if (first.kind !== "accepted") throw new Error("the first time is accepted");
    const again = decideComplete(given(enqueued, leased, first.event), entry, settleTerms);
    expect(again).toEqual({ kind: "unchanged", result: { duplicate: true } });
  });
});

describe("fail", () => {
  const entry = { itemId: "3", token: TOKEN, reason: "no space", requeue: true };

  test("an item with attempts left goes back", () => {
    const decision = decideFail(given(enqueued, leased), entry, settleTerms);
    expect(decision).toMatchObject({
      event: { outcome: "requeued" },
      result: { outcome: "requeued", duplicate: false },
    });
  });

  test("an item that must not be tried again becomes a dead letter", () => {
    const decision = decideFail(given(enqueued, leased), { ...entry, requeue: false, code: "bad.input" }, settleTerms);
    expect(decision).toMatchObject({ event: { outcome: "deadLettered", code: "bad.input" } });
  });
});

describe("release", () => {
  const released: LogEvent = { type: "released", actor: 0, ...named, token: TOKEN };

  test("the holder gives its item back", () => {
    const decision = decideRelease(given(enqueued, leased), { itemId: "3", token: TOKEN }, settleTerms);
    expect(decision).toEqual({ kind: "accepted", event: released, result: { duplicate: false } });
  });

  test("a release is not charged, so it never makes a dead letter", () => {
    let state = given(enqueued, leased, released);
    expect(state.items.get("3")).toMatchObject({ attempt: 1, charged: 0, status: "pending" });
    const again: LogEvent = { ...leased, attempt: 2 };
    state = given(enqueued, leased, released, again);
    expect(state.items.get("3")?.lease?.token).toBe(tokenOf(0, 6));
  });
});

describe("expiry", () => {
  test("an expired lease says truthfully what became of its item", () => {
    const item: LogEvent = { ...enqueued, item: { ...payload, maxAttempts: 1 } } as LogEvent;
    const expired = { type: "expired", ...named, token: TOKEN, reason: "duration" };
    expect(decideExpire(given(enqueued, leased), "3", TOKEN, "duration", { at: 1_000 })).toEqual({
      ...expired,
      outcome: "requeued",
    });
    expect(decideExpire(given(item, leased), "3", TOKEN, "duration", { at: 1_000 })).toEqual({
      ...expired,
      outcome: "deadLettered",
    });
  });

  test("a lease that has ended does not expire", () => {
    expect(decideExpire(given(enqueued, leased, failed), "3", TOKEN, "duration", { at: 1_000 })).toBeUndefined();
    expect(decideExpire(given(enqueued), "3", TOKEN, "duration", { at: 1_000 })).toBeUndefined();
    expect(decideExpire(given(), "nothing", TOKEN, "age", { at: 1_000 })).toBeUndefined();
  });
});

describe("configure", () => {
  test("only what really changes is written", () => {
    const decision = decideConfigure(given(), { maxAttempts: 9, exclusivity: "none" });
    expect(decision).toMatchObject({ kind: "accepted", event: { type: "configured", actor: 0 } });
    if (decision.kind === "accepted") expect(decision.event.options).toEqual({ maxAttempts: 9 });
  });

  test("a change to what is already there writes nothing", () => {
    expect(decideConfigure(given(), { maxAttempts: 5 })).toMatchObject({ kind: "unchanged" });
  });

  test("options that make no sense together are refused", () => {
    expect(decideConfigure(given(), { leaseDurationMsMax: 200 })).toMatchObject({
      error: { code: "invalid_argument" },
    });
  });
});

describe("followers of the log", () => {
  const lake = { kind: "sink", logVersionMax: 1, keepBytes: 10, keepMs: 20 } as const;
  const registered = { type: "configured", actor: 0, options: {}, followers: { lake } } as const;

  test("registering, changing and removing write only what changes", () => {
    expect(decideConfigure(given(), {}, { lake })).toMatchObject({ kind: "accepted", event: { followers: { lake } } });
    expect(decideConfigure(given(registered), {}, { lake })).toMatchObject({ kind: "unchanged" });
    expect(decideConfigure(given(registered), {}, { lake: { ...lake, keepMs: 21 }, other: null })).toMatchObject({
      event: { followers: { lake: { keepMs: 21 } } },
    });
    expect(decideConfigure(given(registered), {}, { lake: null })).toMatchObject({
      event: { followers: { lake: null } },
    });
  });

  test("stand in the state sorted by name, and change its hash", () => {
    const both = given(registered, { ...registered, followers: { audit: { ...lake, kind: "mirror" } } });
    expect([...both.followers.keys()]).toEqual(["audit", "lake"]);
    const removed = given(registered, { ...registered, followers: { lake: null } });
    expect(removed.followers.size).toBe(0);
    expect(stateHash(given(registered))).not.toBe(stateHash(given({ ...registered, followers: {} })));
  });

  test("more than a shard may have are refused", () => {
    const many = Object.fromEntries(Array.from({ length: FOLLOWERS_MAX + 1 }, (_, index) => [`f${index}`, lake]));
    expect(decideConfigure(given(), {}, many)).toMatchObject({ error: { code: "invalid_argument" } });
  });
});

describe("apply", () => {
  test("an impossible event is a failed assertion", () => {
    expect(() => given(leased)).toThrow(/there is no item 3/);
    expect(() => given(enqueued, failed)).toThrow(/item 3 is pending/);
    expect(() => given(enqueued, leased, { ...failed, token: 9 })).toThrow(/token 9 on a lease of token 4/);
  });

  test("every event moves the sequence by one", () => {
    expect(given(enqueued, leased, failed).sequence).toBe(5);
  });

  test("another state hash than ours is an operating error, and nothing has changed", () => {
    const state = given(enqueued);
    expect(() => given(enqueued, { type: "stateHash", hash: "0000000000000000" })).toThrow(
      expect.objectContaining({ code: "state_diverged", definite: true }),
    );
    expect(state.sequence).toBe(3);
  });
});
