/** The catalog library: Delta logs read from disk, and the store that commits and demo mutations are applied to under their lease's fence. */
export {
  type ApplyOutcome,
  applyDeltaCommit,
  applyLakehouseMutation,
  bindCatalog,
  catalogIdOf,
  checkCatalogLog,
  openCatalog,
} from "./catalog-store.ts";
export { catalogView, getTable, listTables, type TablePage, type TableView } from "./catalog-view.ts";
export { DeltaLogError, parseDeltaCommit } from "./delta-commit.ts";
export {
  commitRequestId,
  type DeltaCommit,
  type DeltaFolder,
  type DeltaTable,
  readDeltaFolder,
  versionOfRequestId,
  withinItemLimit,
} from "./delta-log.ts";
export {
  DELTA_RESOURCE_TYPE,
  LAKEHOUSE_MUTATION_KINDS,
  LAKEHOUSE_RESOURCE_TYPE,
  LakehouseMutation,
} from "./lakehouse-mutation.ts";
