/** Checks what a worker does with an item: applies it once under its token, and ends for good what nobody could ever apply. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { listTables, openCatalog } from "../../services/catalog/mod.ts";
import { FatalItemError, type HandlerContext, type Lease } from "../../services/client/mod.ts";
import { LAKEHOUSE_RESOURCE_TYPES, lakehouseHandler } from "../../services/worker/lakehouse.ts";

const CONTEXT = { signal: new AbortController().signal } as HandlerContext;
let catalog: ReturnType<typeof openCatalog>;
beforeEach(() => {
  catalog = openCatalog(":memory:");
});
afterEach(() => catalog.close());

interface Wanted {
  readonly itemId?: string;
  readonly token?: number;
  readonly resourceType?: string;
  readonly resourceId?: string;
  readonly body?: string;
}

function lease(wanted: Wanted): Lease {
  const { itemId = "1", token = 10, resourceType = "lakehouse.table", resourceId = "a.b.c" } = wanted;
  const body = wanted.body ?? JSON.stringify({ kind: "CommitSnapshot", table: "a.b.c", files: 2, bytes: 100 });
  const item = { resourceType, resourceId, body, payloadEncoding: "application/json", attributes: {} };
  return { itemId, token, fenceKey: `partition:${resourceId}`, attempt: 1, item } as unknown as Lease;
}

const handle = (wanted: Wanted) => lakehouseHandler(catalog)(lease(wanted), CONTEXT);
const versions = () => listTables(catalog.database, { limit: 10 }).tables.map(({ table, version }) => [table, version]);

test("an item is applied once, however often it is handled", async () => {
  expect(await handle({})).toBe('{"outcome":"applied"}');
  expect(await handle({ token: 11 })).toBe('{"outcome":"duplicate"}');
  expect(versions()).toEqual([["a.b.c", 1]]);
});

test("a lease that was overtaken writes nothing", async () => {
  await handle({ token: 11 });
  await expect(handle({ itemId: "2", token: 10 })).rejects.toMatchObject({ code: "stale_token" });
  expect(versions()).toEqual([["a.b.c", 1]]);
});

test("a worker leases items of the demo only: commits of Delta tables belong to the run that ingests them", () => {
  expect(LAKEHOUSE_RESOURCE_TYPES).toEqual(["lakehouse.table"]);
});

test("a table whose bytes would exceed an exact number is a failure for good", async () => {
  const snapshot = (bytes: number) => JSON.stringify({ kind: "CommitSnapshot", table: "a.b.c", files: 1, bytes });
  await handle({ body: snapshot(Number.MAX_SAFE_INTEGER) });
  const failure = await handle({ itemId: "2", body: snapshot(1) }).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(FatalItemError);
  expect(failure).toMatchObject({ code: "sum_too_large" });
  expect(versions()).toEqual([["a.b.c", 1]]);
});

test.each([
  ["no JSON", { body: "{" }, "body_invalid"],
  ["no mutation", { body: '{"kind":"DropTable","table":"a.b.c"}' }, "body_invalid"],
  ["an unknown field", { body: '{"kind":"Vacuum","table":"a.b.c","keep":1,"x":1}' }, "body_invalid"],
  ["another table than its resource", { resourceId: "a.b.d" }, "body_invalid"],
  ["a type of somebody else", { resourceType: "workflow.step" }, "resource_type_unknown"],
  ["a Delta commit", { resourceType: "delta.table", resourceId: "t", body: "{}" }, "resource_type_unknown"],
])("an item with %s is a failure for good and changes nothing", async (_what, wanted, code) => {
  const failure = await handle(wanted).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(FatalItemError);
  expect(failure).toMatchObject({ code });
  expect(versions()).toEqual([]);
});
