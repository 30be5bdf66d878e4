/** What a worker does with an item of the lakehouse: reads its mutation and applies it to the catalog, fenced by its lease. */
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import {
  type ApplyOutcome,
  applyLakehouseMutation,
  LAKEHOUSE_RESOURCE_TYPE,
  LakehouseMutation,
  type openCatalog,
} from "../catalog/mod.ts";
import type { Lease } from "../client/lease-client.ts";
import type { LeaseHandler } from "../client/lease-worker.ts";
import { FatalItemError } from "../client/worker-events.ts";

type Catalog = ReturnType<typeof openCatalog>;

const NEVER_APPLICABLE: ReadonlySet<string> = new Set(["table_kind_differs", "sum_too_large"]);

/** Never the commits of `omnirelay ingest delta`: they belong into the catalog of that run, and are applied with other effect ids. */
export const LAKEHOUSE_RESOURCE_TYPES: readonly string[] = [LAKEHOUSE_RESOURCE_TYPE];

/**
 * The handler over one catalog. The item id is the effect id, so that an item that is handled twice is applied once.
 * Its result is `{"outcome":"applied"}` or `{"outcome":"duplicate"}`; an item that nobody can ever apply is dead-lettered at once.
 */
export function lakehouseHandler(catalog: Catalog): LeaseHandler {
  return async (lease) => JSON.stringify({ outcome: applyItem(catalog, lease) });
}

function applyItem(catalog: Catalog, lease: Lease): ApplyOutcome {
  const write = { fenceKey: lease.fenceKey, token: lease.token, effectId: lease.itemId };
  const { resourceType, resourceId, body } = lease.item;
  if (resourceType !== LAKEHOUSE_RESOURCE_TYPE)
    throw new FatalItemError(`items of type ${JSON.stringify(resourceType)} are not for this worker`, {
      code: "resource_type_unknown",
    });
  const mutation = mutationOf(body, resourceId);
  try {
    return applyLakehouseMutation(catalog, write, mutation);
  } catch (error) {
    // The catalog holds what it holds: another attempt would only be refused again.
    if (!(error instanceof OperatingError && NEVER_APPLICABLE.has(error.code))) throw error;
    throw new FatalItemError(error.message, { code: error.code, cause: error });
  }
}

function mutationOf(body: string, table: string): LakehouseMutation {
  const parsed = LakehouseMutation.safeParse(jsonOf(body));
  if (!parsed.success)
    throw new FatalItemError(`its body is no mutation: ${z.prettifyError(parsed.error)}`, { code: "body_invalid" });
  // Order is kept per resource: a mutation of another table under this one's lease would come out of order there.
  if (parsed.data.table !== table)
    throw new FatalItemError(`its body is about ${JSON.stringify(parsed.data.table)}, not about its resource`, {
      code: "body_invalid",
    });
  return parsed.data;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Undefined is no mutation, so the schema refuses it with the same code.
    return undefined;
  }
}
