/** A deep queue keeps the texts of its items as bytes: nothing reads differently by it, and they are let go of with their items. */
import { beforeEach, describe, expect, test } from "vitest";
import type { ShardCommand } from "../../contracts/commands.ts";
import { assertInvariants } from "../../services/core/canonical.ts";
import { stateHash } from "../../services/core/hash.ts";
import type { Item } from "../../services/core/item.ts";
import { PACK_BODY_LENGTH_MAX } from "../../services/core/limits.ts";
import { PackedParts } from "../../services/core/packed-parts.ts";
import { jsonLength } from "../../services/core/sizes.ts";
import { SnapshotCut } from "../../services/core/snapshot-cut.ts";
import { SnapshotLoader } from "../../services/core/snapshot-load.ts";
import { ShardWorld } from "./shard-world.ts";

const BATCH = 500;
const DEPTH = 10 * BATCH;
const BODIES = [
  "plain",
  undefined,
  "",
  "ü and € and 🙂",
  '{"a":"\\n"}',
  "\ud800",
  "x".repeat(PACK_BODY_LENGTH_MAX + 1),
];
const bodyOf = (index: number): string | undefined => BODIES[index % BODIES.length];
/** Half of a surrogate pair is in none of them: the schema refuses it, and a body has shown it. */
const requestIdOf = (index: number): string | undefined => [undefined, `a-${index}`, `ü/${index}`][index % 3];
const idOf = (index: number): string => `r-${index}${index % 5 === 0 ? "-ß" : ""}`;

describe("the items of a deep queue", () => {
  let world: ShardWorld;
  let items: Item[];
  const packed = (): Item[] => items.filter(({ part }) => part instanceof PackedParts);

  beforeEach(() => {
    world = new ShardWorld({ options: { pendingHigh: 0, leasesPerPeerMax: DEPTH } });
    world.state.packer.from = BATCH;
    for (let made = 0; made < DEPTH; made += BATCH) {
      const batch = Array.from({ length: BATCH }, (_, index) => ({
        resourceType: index % 10 === 0 ? "rare" : "usual",
        resourceId: idOf(made + index),
        body: bodyOf(made + index),
        requestId: requestIdOf(made + index),
      }));
      // Without the schema, which refuses half of a surrogate pair: a log may hold one.
      world.sendCommand({ verb: "enqueue", request: { items: batch } } as ShardCommand);
    }
    items = [...world.state.unfinished.after(0)];
  });

  test("are packed where their bytes lead back to them, and read as they were enqueued", () => {
    const bodies = new Set(packed().map(({ body }) => body));
    expect(bodies).toEqual(new Set(BODIES.slice(0, 5)));
    for (const [index, item] of items.entries()) {
      expect([item.resourceId, item.body]).toEqual([idOf(index), bodyOf(index)]);
      if (requestIdOf(index) === undefined) expect([item.requestId, item.digest]).toEqual([undefined, undefined]);
      else expect(item.requestId?.replace("/.", "/")).toBe(requestIdOf(index));
      expect(item.bodyBytes).toBe(item.body === undefined ? 0 : jsonLength(item.body));
    }
    assertInvariants(world.state);
  });

  test("are packed as well when they came before it was deep", () => {
    const count = packed().filter(({ sequence }) => sequence <= BATCH).length;
    expect(count).toBeGreaterThan(BATCH / 2);
  });

  test("are known by their request ids, each to its own principal", () => {
    for (const item of packed().slice(0, 200)) {
      const index = items.indexOf(item);
      const { resourceId, resourceType } = item;
      const requestId = requestIdOf(index);
      if (requestId === undefined) continue;
      const again = { items: [{ resourceType, resourceId, body: bodyOf(index), requestId }] };
      expect(world.send("enqueue", again)["results"]).toMatchObject([{ itemId: item.itemId, duplicate: true }]);
      expect(world.send("enqueue", again, { principal: "other" })["results"]).toMatchObject([{ duplicate: false }]);
      const other = { resourceType, resourceId, body: "else", requestId };
      const [different] = world.send("enqueue", { items: [other] })["results"];
      expect(different).toMatchObject({ error: { code: "conflict" } });
    }
    assertInvariants(world.state);
  });

  test("stand in a snapshot as what they are", () => {
    const cut = new SnapshotCut(world.state);
    const loader = new SnapshotLoader();
    for (let text = cut.next(1_000); text !== undefined; text = cut.next(1_000)) loader.add(text);
    const state = loader.finish();
    expect(packed().length).toBeGreaterThan(1_000);
    expect(stateHash(state)).toBe(stateHash(world.state));
    assertInvariants(state);
  });

  test("have strings of their own once they are leased, and the last of a pack get theirs with them", () => {
    const before = packed();
    const [first] = before;
    const { part } = first as Item;
    const ofPack = before.filter((item) => item.part === part);
    let granted = BATCH;
    while (granted === BATCH)
      granted = world.send("lease", { maxItems: BATCH, resourceTypes: ["usual"] })["leases"].length;
    for (const item of ofPack) {
      expect(item.status).toBe(item.resourceType === "rare" ? "pending" : "leased");
      expect(item.part).not.toBe(part);
    }
    for (const item of items.filter(({ status }) => status === "leased"))
      expect(item.part).not.toBeInstanceOf(PackedParts);
    assertInvariants(world.state);
  });
});
