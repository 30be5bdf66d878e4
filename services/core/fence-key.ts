/** What a token is compared for at a store. */
import type { Item } from "./item.ts";

/** `/` and `%` are escaped where two parts meet or an other kind of key could read the same. */
const escaped = (part: string): string =>
  part.includes("/") || part.includes("%") ? part.replaceAll("%", "%25").replaceAll("/", "%2F") : part;

/**
 * Two items have the same fence key exactly when they exclude each other.
 * A partition item without a partition key is in the partition of its resource: `partition/<type>/<id>`.
 */
export function fenceKey(
  item: Pick<Item, "exclusivity" | "itemId" | "resourceType" | "resourceId" | "partitionKey">,
): string {
  switch (item.exclusivity) {
    case "none":
      return `item/${item.itemId}`;
    case "resource":
      return `resource/${escaped(item.resourceType)}/${item.resourceId}`;
    case "partition":
      return item.partitionKey === undefined
        ? `partition/${escaped(item.resourceType)}/${item.resourceId}`
        : `partition/${escaped(item.partitionKey)}`;
  }
}
