/** Every code of the registry: the core gives it here, or the line says who does. In order of precedence. */
import { describe, expect, test } from "vitest";
import { ERROR_CODES, type ErrorBody, type ErrorCode, errorEntry } from "../../contracts/errors.ts";
import { parseCommand } from "../../services/core/parse.ts";
import { type AnyReply, ShardWorld } from "./shard-world.ts";

const bytes = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const parsed = (value: unknown): ErrorBody | undefined => {
  const command = parseCommand("enqueue", bytes(value));
  return "error" in command ? command.error : undefined;
};
/** The error of a whole reply, or of its first entry. */
const errorOf = (reply: AnyReply): ErrorBody | undefined => reply.error ?? reply["results"]?.[0]?.error;
const item = { resourceType: "table", resourceId: "orders" };

const givenByNode = "the node or the client gives it, not the core";
const refusals: Record<ErrorCode, typeof givenByNode | (() => ErrorBody | undefined)> = {
  invalid_argument: () => parsed({ items: [{ ...item, colour: "red" }] }),
  unsupported_version: () => parsed({ apiVersion: 2, items: [item] }),
  payload_too_large: () => {
    const world = new ShardWorld({ options: { itemBytesMax: 10 } });
    return errorOf(world.send("enqueue", { items: [{ ...item, body: "more than ten" }] }));
  },
  unauthenticated: givenByNode,
  permission_denied: () => {
    const world = new ShardWorld();
    world.seed(1);
    const lease = world.take({}, { principal: "worker" });
    return errorOf(world.send("complete", { leases: [lease] }, { principal: "stranger" }));
  },
  wrong_shard: givenByNode,
  not_leader: givenByNode,
  shutting_down: givenByNode,
  unavailable: () => errorOf(new ShardWorld().send("enqueue", { items: [item] }, { frameBytesLeft: 100 })),
  unknown_outcome: givenByNode,
  backpressure: () => {
    const world = new ShardWorld({ options: { pendingHigh: 1 } });
    world.seed(1);
    return errorOf(world.send("enqueue", { items: [item] }));
  },
  resource_exhausted: () => {
    const world = new ShardWorld({ options: { leasesPerPeerMax: 1 } });
    world.seed(2);
    world.take();
    return errorOf(world.send("lease", {}));
  },
  request_expired: () => {
    const world = new ShardWorld({ options: { recordsMax: 0 } });
    world.seed(1, { requestId: "id-1" });
    world.send("complete", { leases: [world.take()] });
    return errorOf(
      world.send("enqueue", { items: [{ ...item, requestId: "id-1" }], after: 2 }, { principal: "seeder" }),
    );
  },
  conflict: () => {
    const world = new ShardWorld();
    world.send("enqueue", { items: [item], requestId: "id-1" });
    return errorOf(world.send("enqueue", { items: [{ ...item, body: "other" }], requestId: "id-1" }));
  },
  item_not_found: () => errorOf(new ShardWorld().send("complete", { leases: [{ itemId: "nothing", token: 1 }] })),
  stale_token: () => {
    const world = new ShardWorld();
    const [itemId = ""] = world.seed(1);
    return errorOf(world.send("complete", { leases: [{ itemId, token: 1 }] }));
  },
  drain_not_found: givenByNode,
  internal: givenByNode,
};

describe("refusals", () => {
  test.each(ERROR_CODES)("%s is given with the registry's word on retry and certainty", (code) => {
    const refusal = refusals[code];
    if (refusal === givenByNode) return;
    const { retryable, definite } = errorEntry(code) ?? {};
    expect(refusal()).toMatchObject({ code, retryable, definite });
  });
});

/** For each pair of codes that one request can earn at once: the earlier of the registry is returned. */
describe("of two reasons the first of the registry is given", () => {
  const full = () => {
    const world = new ShardWorld({ options: { pendingHigh: 1, itemBytesMax: 10, recordsMax: 0 } });
    world.send("enqueue", { items: [item], requestId: "id-1" });
    return world;
  };
  const long = { ...item, body: "more than ten" };

  test("invalid_argument before payload_too_large", () => {
    const body = "x".repeat(600_000 - 40_000);
    expect(parsed({ items: [{ ...item, body, colour: "red" }] })?.code).toBe("invalid_argument");
    expect(parsed({ items: [{ ...item, body }] })?.code).toBe("payload_too_large");
  });
  test("unsupported_version before what is unknown in our version", () => {
    expect(parsed({ apiVersion: 2, jobs: [] })?.code).toBe("unsupported_version");
    expect(parsed({ apiVersion: "2" })?.code).toBe("invalid_argument");
  });
  test("payload_too_large before a full frame", () => {
    expect(errorOf(full().send("enqueue", { items: [long] }, { frameBytesLeft: 1 }))?.code).toBe("payload_too_large");
  });
  test("a full frame before backpressure", () => {
    expect(errorOf(full().send("enqueue", { items: [item] }, { frameBytesLeft: 1 }))?.code).toBe("unavailable");
  });
  test("backpressure before conflict", () => {
    const reply = full().send("enqueue", { items: [{ ...item, body: "b" }], requestId: "id-1" });
    expect(errorOf(reply)?.code).toBe("backpressure");
  });
  test("permission_denied before stale_token: another's live lease is not discussed", () => {
    const world = new ShardWorld();
    world.seed(1);
    const lease = world.take();
    const ahead = { ...lease, token: lease.token + 1 };
    expect(errorOf(world.send("complete", { leases: [ahead] }, { principal: "stranger" }))?.code).toBe(
      "permission_denied",
    );
    expect(errorOf(world.send("complete", { leases: [ahead] }))?.code).toBe("stale_token");
  });
  test("resource_exhausted before conflict", () => {
    const world = new ShardWorld({ options: { leasesPerPeerMax: 1 } });
    world.seed(2);
    world.take({ requestId: "id-1" });
    expect(world.send("lease", { requestId: "id-1", maxItems: 2 }).error?.code).toBe("resource_exhausted");
  });
});

describe("who must be confirmed through the log", () => {
  test("a definite refusal of one entry", () => {
    const world = new ShardWorld();
    world.seed(1);
    const lease = world.take();
    world.send("complete", { leases: [lease, { itemId: "nothing", token: 1 }] });
    expect(world.last?.confirm).toBe(true);
  });
  test("no success, and no refusal that another attempt may get around", () => {
    const world = new ShardWorld();
    world.seed(1);
    world.take();
    expect(world.last?.confirm).toBe(false);
    world.send("enqueue", { items: [item] }, { frameBytesLeft: 1 });
    expect(world.last?.confirm).toBe(false);
  });
  test("not a peer id of another principal: no state says otherwise", () => {
    const world = new ShardWorld();
    const reply = world.send("lease", {}, { principal: "worker", peerId: "other--1" });
    expect(reply.error?.code).toBe("permission_denied");
    expect(world.last?.confirm).toBe(false);
  });
});

describe("how a lease has ended", () => {
  const reasonOf = (reply: AnyReply) => errorOf(reply)?.details?.["reason"];
  const world = () => new ShardWorld({ options: { maxAttempts: 2 } });

  test("completed", () => {
    const shard = world();
    shard.seed(1);
    const lease = shard.take();
    shard.send("complete", { leases: [lease] });
    expect(reasonOf(shard.send("heartbeat", { leases: [lease] }))).toBe("completed");
    expect(reasonOf(shard.send("fail", { leases: [{ ...lease, reason: "late" }] }))).toBe("completed");
  });
  test("failed", () => {
    const shard = world();
    shard.seed(1);
    const lease = shard.take();
    shard.send("fail", { leases: [{ ...lease, reason: "no" }] });
    expect(reasonOf(shard.send("complete", { leases: [lease] }))).toBe("failed");
  });
  test("expired, also while the next lease lives", () => {
    const shard = world();
    shard.seed(1);
    const lease = shard.take();
    shard.expire(lease.itemId);
    expect(reasonOf(shard.send("complete", { leases: [lease] }))).toBe("expired");
    shard.take({}, { principal: "other" });
    expect(reasonOf(shard.send("complete", { leases: [lease] }))).toBe("expired");
  });
  test("released", () => {
    const shard = world();
    shard.seed(1);
    const lease = shard.take();
    shard.send("release", { leases: [lease] });
    expect(reasonOf(shard.send("heartbeat", { leases: [lease] }))).toBe("released");
  });
  test("superseded, when more than one lease has ended since", () => {
    const shard = world();
    shard.seed(1);
    const first = shard.take();
    shard.send("release", { leases: [first] });
    shard.send("release", { leases: [shard.take()] });
    expect(reasonOf(shard.send("complete", { leases: [first] }))).toBe("superseded");
    shard.take();
    expect(reasonOf(shard.send("complete", { leases: [first] }))).toBe("superseded");
  });
  test("deadLettered, for a token that is not remembered", () => {
    const shard = world();
    shard.seed(1, { maxAttempts: 1 });
    const lease = shard.take();
    shard.expire(lease.itemId);
    expect(reasonOf(shard.send("complete", { leases: [lease] }))).toBe("expired");
    expect(reasonOf(shard.send("complete", { leases: [{ ...lease, token: 1 }] }))).toBe("deadLettered");
  });
  test("unknown, for a token from the future", () => {
    const shard = world();
    shard.seed(1);
    const lease = shard.take();
    const future = { ...lease, token: Number.MAX_SAFE_INTEGER };
    expect(reasonOf(shard.send("heartbeat", { leases: [future] }))).toBe("unknown");
    shard.send("release", { leases: [lease] });
    expect(reasonOf(shard.send("heartbeat", { leases: [future] }))).toBe("unknown");
  });
});
