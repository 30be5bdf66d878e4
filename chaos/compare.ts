/** Compares what a load was told with what the shard holds: nothing that was acknowledged may be missing, and nothing may be there twice. */
import type { NatsConnection } from "@nats-io/transport-node";

const PAGE_ITEMS = 1_000;
const PAGE_TIMEOUT_MS = 10_000;

export interface Comparison {
  /** Acknowledged calls whose item the shard does not hold under the id that was answered. */
  readonly lost: number;
  /** Calls that the shard holds more than once. */
  readonly doubled: number;
}

/** `acknowledged`: resource id of each call, with the item id that was answered. The shard must be led, and nothing else may write to it. */
export async function compareWithShard(
  connection: NatsConnection,
  acknowledged: ReadonlyMap<string, string>,
  shard = "default",
): Promise<Comparison> {
  const held = await itemsHeld(connection, shard);
  return {
    lost: [...acknowledged].filter(([id, itemId]) => held.get(id)?.includes(itemId) !== true).length,
    doubled: [...held.values()].filter((itemIds) => itemIds.length > 1).length,
  };
}

/** Item ids by resource id. */
async function itemsHeld(connection: NatsConnection, shard: string): Promise<ReadonlyMap<string, readonly string[]>> {
  const held = new Map<string, string[]>();
  let cursor: string | undefined;
  do {
    const body = JSON.stringify({ limit: PAGE_ITEMS, consistent: true, ...(cursor === undefined ? {} : { cursor }) });
    const answer = await connection.request(`resourcelease.${shard}.list.load`, body, { timeout: PAGE_TIMEOUT_MS });
    const page = answer.json<{
      items?: { itemId: string; item: { resourceId: string } }[];
      cursor?: string;
      error?: { code: string; message: string };
    }>();
    if (page.items === undefined) throw new Error(`list: ${page.error?.code}: ${page.error?.message}`);
    for (const { itemId, item } of page.items) {
      const itemIds = held.get(item.resourceId);
      if (itemIds === undefined) held.set(item.resourceId, [itemId]);
      else itemIds.push(itemId);
    }
    cursor = page.cursor;
  } while (cursor !== undefined);
  return held;
}
