/**
 * Brings the items of an outbox to a shard: in order, each once, however often a relay dies in between.
 *
 * One relay at a time has the turn, for as long as it renews it; others wait. The turn keeps them from sending everything twice, not from harm: a
 * relay that stood still and goes on sends what was sent before, under the same request ids, and the first effect is the only one. Each sends a row only
 * when the shard has all rows before it, so the order holds for both.
 */
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { errorBody, OperatingError } from "../../contracts/errors.ts";
import { utf8Length } from "../../contracts/ids.ts";
import type { LeaseClientOptions } from "../client/client-options.ts";
import type { EnqueueInput } from "../client/entries.ts";
import { type Enqueued, LeaseClient } from "../client/lease-client.ts";
import type { EntryResult, Refusal } from "../client/refusal.ts";
import { requestRuns } from "../client/request-runs.ts";
import { dialectOf, type OutboxDatabase, run } from "./outbox-database.ts";
import { OUTBOX_TABLE_DEFAULT, outboxStatements } from "./outbox-sql.ts";

export interface OutboxRelayOptions {
  /** The relay makes a client of its own, for the order depends on how it asks. Relays of one table must have one principal and shard. */
  readonly client: Omit<LeaseClientOptions, "onBackpressure" | "clock">;
  readonly table?: string | undefined;
  /** Rows that are read at once. 1..1,000, 500 by default. */
  readonly batchSize?: number | undefined;
  /** How often an empty outbox is looked at. ms, 200 by default; see also `wake`. */
  readonly pollMs?: number | undefined;
  /** How long a relay that died keeps others waiting. ms, 15,000 by default. */
  readonly turnMs?: number | undefined;
  /** What keeps it from going on for the moment: the database, or the shard. It goes on by itself. A warning of the process by default. */
  readonly onError?: ((error: Error) => void) | undefined;
  /** So many rows are in the shard, and out of the outbox. */
  readonly onSent?: ((count: number) => void) | undefined;
  /** A row that the shard refuses for good. It stays, and is passed over. */
  readonly onParked?: ((row: ParkedRow) => void) | undefined;
}
export interface ParkedRow {
  readonly sequence: number;
  readonly code: string;
  readonly reason: string;
}
export interface OutboxStats {
  /** Rows that are still to be sent. */
  readonly waiting: number;
  /** Rows that the shard refuses for good. */
  readonly parked: number;
  /** Age of the oldest row that waits. ms; 0 when none does. */
  readonly lagMs: number;
}

interface OutboxRow {
  readonly sequence: number;
  readonly item: EnqueueInput;
  readonly bytes: number;
  /** The shard's sequence before the row was first sent; undefined for one that was not. */
  readonly sentAfter: number | undefined;
}

const Settings = z.strictObject({
  table: z.string().default(OUTBOX_TABLE_DEFAULT),
  batchSize: z.int().min(1).max(1_000).default(500),
  pollMs: z.int().min(1).max(60_000).default(200),
  turnMs: z.int().min(100).max(600_000).default(15_000),
});
/** What is the item's own fault. Anything else that is definite, such as missing rights, is no reason to pass over items. */
const PARKED_CODES: ReadonlySet<string> = new Set([
  "invalid_argument",
  "unsupported_version",
  "payload_too_large",
  "request_expired",
  "conflict",
]);
/** Room for a row's request id in its request. Bytes. */
const ID_BYTES = 256;
const REST_FIRST_MS = 100;
const REST_MAX_MS = 10_000;

export class OutboxRelay {
  readonly #db: OutboxDatabase;
  readonly #client: LeaseClient;
  readonly #settings: z.output<typeof Settings>;
  readonly #sql: ReturnType<typeof outboxStatements>;
  readonly #onError: (error: Error) => void;
  readonly #onSent: (count: number) => void;
  readonly #onParked: (row: ParkedRow) => void;
  readonly #stop = new AbortController();
  #awake = new AbortController();
  #running: Promise<void> | undefined;
  /** Whether `client.sequenceSeen` is as of now: an old one would make a new row look like a late repeat. */
  #isSequenceFresh = false;

  /** Connects; `start` begins. Throws: OperatingError as `LeaseClient.connect`. The database stays the caller's. */
  static async connect(db: OutboxDatabase, options: OutboxRelayOptions): Promise<OutboxRelay> {
    const { client, onError, onSent, onParked, ...settings } = options;
    const parsed = Settings.safeParse(settings);
    if (!parsed.success) throw new OperatingError("invalid_options", z.prettifyError(parsed.error), { definite: true });
    const sql = outboxStatements(dialectOf(db), parsed.data.table);
    const connected = await LeaseClient.connect({ ...client, onBackpressure: "throw" });
    return new OutboxRelay(db, connected, parsed.data, sql, options);
  }

  private constructor(
    db: OutboxDatabase,
    client: LeaseClient,
    settings: z.output<typeof Settings>,
    sql: ReturnType<typeof outboxStatements>,
    { onError, onSent, onParked }: OutboxRelayOptions,
  ) {
    this.#db = db;
    this.#client = client;
    this.#settings = settings;
    this.#sql = sql;
    this.#onError = onError ?? ((error) => process.emitWarning(error));
    this.#onSent = onSent ?? (() => {});
    this.#onParked = onParked ?? (() => {});
  }

  /** Begins to relay. Starting twice is allowed. */
  start(): void {
    this.#running ??= this.#loop();
  }

  /** Looks for rows now: for a service that has its relay in the same process, after its commit. */
  wake(): void {
    this.#awake.abort();
  }

  async stats(): Promise<OutboxStats> {
    const [row] = await run(this.#db, this.#sql.stats, []);
    const parked = Number(row?.["parked"]);
    return { waiting: Number(row?.["rows"]) - parked, parked, lagMs: Math.max(Number(row?.["lag_ms"] ?? 0), 0) };
  }

  /** Ends after the request under way, gives its turn to the next relay, and closes its client. Stopping twice is allowed. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.wake();
    await this.#running;
    await this.#client.close();
  }

  async #loop(): Promise<void> {
    const owner = this.#client.newRequestId();
    let failures = 0;
    while (!this.#stop.signal.aborted) {
      let restMs = this.#settings.pollMs;
      try {
        const [turn] = await run(this.#db, this.#sql.takeTurn, [owner, this.#settings.turnMs, owner]);
        const rows = turn === undefined ? [] : await this.#first();
        if (rows.length === 0) this.#isSequenceFresh = false;
        restMs = rows.length === 0 ? restMs : await this.#relay(rows);
        failures = 0;
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        this.#isSequenceFresh = false;
        this.#onError(error);
        restMs = Math.min(REST_FIRST_MS * 2 ** failures, REST_MAX_MS);
        failures = Math.min(failures + 1, 10);
      }
      if (restMs > 0) await this.#rest(restMs);
    }
    // Without it the next relay only waits a little longer.
    await run(this.#db, this.#sql.endTurn, [owner]).catch((error: Error) => this.#onError(error));
  }

  async #first(): Promise<readonly OutboxRow[]> {
    const rows: OutboxRow[] = [];
    for (const row of await run(this.#db, this.#sql.first, [this.#settings.batchSize])) {
      const [sequence, text, sentAfter] = [Number(row["sequence"]), String(row["item"]), row["sent_after"]];
      const item = parsedItem(text);
      if (item === undefined) {
        // Written by other means than `enqueueInTransaction`.
        await this.#park(sequence, errorBody("invalid_argument", "the item is no JSON"));
        continue;
      }
      rows.push({
        sequence,
        item: { ...item, requestId: String(row["request_id"]) },
        bytes: utf8Length(text) + ID_BYTES,
        sentAfter: sentAfter === null ? undefined : Number(sentAfter),
      });
    }
    return rows;
  }

  /** Sends rows in order, a request at a time. Returns how long to rest before the next ones: 0, or what the shard asks for. */
  async #relay(rows: readonly OutboxRow[]): Promise<number> {
    for (const sent of sameAfter(rows))
      for (const run of requestRuns(sent, ({ bytes }) => bytes)) {
        if (this.#stop.signal.aborted) return 0;
        const refusal = await this.#send(run);
        if (refusal === undefined) continue;
        if (!refusal.retryable) throw new OperatingError(refusal.code, refusal.message, { definite: true });
        // So that many relays do not come back at once.
        return (refusal.retryAfterMs ?? REST_FIRST_MS) * (1 + Math.random());
      }
    return 0;
  }

  /** Returns the first refusal that is not a row's own fault: what comes after it must wait for it. */
  async #send(rows: readonly OutboxRow[]): Promise<Refusal | undefined> {
    const after = await this.#markSent(rows);
    const results = await this.#client.enqueueMany(
      rows.map(({ item }) => item),
      { after },
    );
    // One field that the shard does not know makes it refuse a request as a whole.
    if (rows.length > 1 && results.every(isParked)) return this.#sendEach(rows);
    const done: number[] = [];
    let refusal: Refusal | undefined;
    for (const [index, result] of results.entries()) {
      const { sequence } = rows[index] as OutboxRow;
      if (result.kind === "ok") done.push(sequence);
      else if (PARKED_CODES.has(result.error.code)) await this.#park(sequence, result.error);
      else refusal ??= result.error;
    }
    if (done.length > 0) {
      await run(this.#db, this.#sql.remove, [JSON.stringify(done)]);
      this.#onSent(done.length);
    }
    return refusal;
  }

  async #sendEach(rows: readonly OutboxRow[]): Promise<Refusal | undefined> {
    for (const row of rows) {
      const refusal = await this.#send([row]);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  /** Writes down what the shard's sequence was, so that a repeat after any time is known for one. Rows of one `sentAfter`. */
  async #markSent(rows: readonly OutboxRow[]): Promise<number> {
    const [{ sentAfter } = { sentAfter: undefined }] = rows;
    if (sentAfter !== undefined) return sentAfter;
    if (!this.#isSequenceFresh) await this.#client.stats();
    this.#isSequenceFresh = true;
    const after = this.#client.sequenceSeen;
    const sequences = rows.map(({ sequence }) => sequence);
    await run(this.#db, this.#sql.markSent, [after, JSON.stringify(sequences)]);
    return after;
  }

  async #park(sequence: number, { code, message }: Refusal): Promise<void> {
    await run(this.#db, this.#sql.park, [code, message, sequence]);
    this.#onParked({ sequence, code, reason: message });
  }

  async #rest(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#awake.signal }).catch(() => undefined);
    if (!this.#stop.signal.aborted) this.#awake = new AbortController();
  }
}

const isParked = (result: EntryResult<Enqueued>): boolean =>
  result.kind === "refused" && PARKED_CODES.has(result.error.code);

function parsedItem(text: string): EnqueueInput | undefined {
  try {
    return JSON.parse(text) as EnqueueInput;
  } catch {
    return undefined;
  }
}

/** Runs of rows that were first sent after the same sequence: those that another relay has left, then those that are new. */
function sameAfter(rows: readonly OutboxRow[]): readonly (readonly OutboxRow[])[] {
  const runs: OutboxRow[][] = [];
  for (const row of rows) {
    const last = runs.at(-1);
    if (last === undefined || last[0]?.sentAfter !== row.sentAfter) runs.push([row]);
    else last.push(row);
  }
  return runs;
}
