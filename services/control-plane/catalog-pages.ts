/** Pages through the catalogs that workers keep in the data folder, one file per shard, as one list in order of table name. */
import { existsSync } from "node:fs";
import { listTables, openCatalog, type TableView } from "../catalog/mod.ts";
import { catalogFile } from "../runtime/data-folder.ts";

export interface CatalogTable extends TableView {
  readonly shard: string;
}

export interface CatalogPage {
  readonly tables: readonly CatalogTable[];
  /** Goes on after this name; null at the end. */
  readonly cursor: string | null;
}

export class CatalogPages {
  readonly #dataDir: string;
  readonly #region: string;
  readonly #shards: readonly string[];
  readonly #open = new Map<string, ReturnType<typeof openCatalog>>();

  constructor(dataDir: string, region: string, shards: readonly string[]) {
    this.#dataDir = dataDir;
    this.#region = region;
    this.#shards = shards;
  }

  /** A table is in one shard only, so the pages of the shards merge by name. */
  page(limit: number, cursor: string | undefined): CatalogPage {
    const found = this.#shards.flatMap((shard) => this.#tablesOf(shard, limit + 1, cursor));
    found.sort((a, b) => (a.table < b.table ? -1 : a.table > b.table ? 1 : a.shard < b.shard ? -1 : 1));
    const tables = found.slice(0, limit);
    return { tables, cursor: found.length > limit ? (tables.at(-1)?.table ?? null) : null };
  }

  close(): void {
    for (const catalog of this.#open.values()) catalog.close();
    this.#open.clear();
  }

  #tablesOf(shard: string, limit: number, cursor: string | undefined): readonly CatalogTable[] {
    const catalog = this.#catalogOf(shard);
    return catalog === undefined
      ? []
      : listTables(catalog.database, { limit, cursor }).tables.map((table) => ({ ...table, shard }));
  }

  /** Undefined as long as no worker has made the file: a reader must not make one that a worker would then take for its own. */
  #catalogOf(shard: string): ReturnType<typeof openCatalog> | undefined {
    const open = this.#open.get(shard);
    if (open !== undefined) return open;
    const path = catalogFile(this.#dataDir, this.#region, shard);
    if (!existsSync(path)) return undefined;
    const catalog = openCatalog(path);
    this.#open.set(shard, catalog);
    return catalog;
  }
}
