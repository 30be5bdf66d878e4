/** Checks what a worker does with an item: applies it once under its token, and ends for good what nobody could ever apply. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { commitRequestId, listTables, openCatalog } from "../../services/catalog/mod.ts";
import { FatalItemError, type HandlerContext, type Lease } from "../../services/client/mod.ts";
import { lakehouseHandler } from "../../services/worker/lakehouse.ts";

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
  readonly requestId?: string;
}

function lease(wanted: Wanted): Lease {
  const { itemId = "1", token = 10, resourceType = "lakehouse.table", resourceId = "a.b.c", requestId } = wanted;
  const body = wanted.body ?? JSON.stringify({ kind: "CommitSnapshot", table: "a.b.c", files: 2, bytes: 100 });
  const item = { resourceType, resourceId, body, payloadEncoding: "application/json", attributes: {}, requestId };
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

test("commits of Delta tables are applied too, in the version that their request id names", async () => {
  const commit = '{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}\n{"add":{"path":"x","size":5}}\n';
  const requestId = commitRequestId("t", 0);
  const wanted = { resourceType: "delta.table", resourceId: "t", body: commit, requestId };
  expect(await handle(wanted)).toBe('{"outcome":"applied"}');
  expect(versions()).toEqual([["t", 0]]);
});

test.each([
  ["no JSON", { body: "{" }, "body_invalid"],
  ["no mutation", { body: '{"kind":"DropTable","table":"a.b.c"}' }, "body_invalid"],
  ["an unknown field", { body: '{"kind":"Vacuum","table":"a.b.c","keep":1,"x":1}' }, "body_invalid"],
  ["another table than its resource", { resourceId: "a.b.d" }, "body_invalid"],
  ["a type of somebody else", { resourceType: "workflow.step" }, "resource_type_unknown"],
  ["a Delta commit without its version", { resourceType: "delta.table", body: "{}" }, "body_invalid"],
  [
    "a Delta commit that is none",
    { resourceType: "delta.table", resourceId: "t", body: "{", requestId: "t@0" },
    undefined,
  ],
])("an item with %s is a failure for good and changes nothing", async (_what, wanted, code) => {
  const failure = await handle(wanted).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(FatalItemError);
  if (code !== undefined) expect(failure).toMatchObject({ code });
  expect(versions()).toEqual([]);
});
