/** The public entry of persistence: what users import as `omnirelay/persistence`. */
export {
  type Effect,
  type Fence,
  type FencedResult,
  FencedStore,
  type FencedStoreOptions,
  type FencedWrite,
} from "./fenced-store.ts";
export { openSqlite, type SqliteOptions } from "./sqlite.ts";
export { SqliteStore } from "./sqlite-store.ts";
