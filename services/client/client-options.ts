/** The options of a client: checked once, with the names of their fields in what is said about them. */
import type { NatsConnection } from "@nats-io/transport-node";
import { z } from "zod";
import { OperatingError } from "../../contracts/errors.ts";
import { PeerId, Principal, ShardName } from "../../contracts/ids.ts";
import { ENTRIES_PER_REQUEST_MAX, TIMEOUT_MS_DEFAULT } from "../../contracts/limits.ts";
import type { Clock } from "../../contracts/ports.ts";
import type { NatsOptions } from "../jetstream/connect.ts";

/** How long a call may take with all its repeats unless it says otherwise. ms. */
const CALL_TIMEOUT_MS_DEFAULT = 30_000;

const Settings = z.strictObject({
  shard: ShardName,
  principal: Principal.default("anonymous"),
  peerName: z
    .string()
    .regex(/^[A-Za-z0-9_-]+$/)
    .optional(),
  timeoutMs: z.int().min(1).default(CALL_TIMEOUT_MS_DEFAULT),
  attemptTimeoutMs: z.int().min(10).default(TIMEOUT_MS_DEFAULT),
  onBackpressure: z.enum(["wait", "throw"]).default("wait"),
  requestsInFlightMax: z.int().min(1).max(64).default(3),
  entriesMax: z.int().min(1).max(ENTRIES_PER_REQUEST_MAX).default(ENTRIES_PER_REQUEST_MAX),
});
export type ClientSettings = Readonly<z.output<typeof Settings>> & { readonly peerId: string };

export interface LeaseClientOptions {
  /** A connection of yours; it is left open by `close()`. Either this or `servers`. */
  readonly connection?: NatsConnection | undefined;
  /** Servers to connect to; that connection is closed by `close()`. */
  readonly servers?: string | readonly string[] | undefined;
  /** Login, TLS and inbox prefix of the connection to `servers`. */
  readonly nats?: Omit<NatsOptions, "servers" | "name"> | undefined;
  readonly shard: string;
  /** Whom NATS authenticates us as. `anonymous` by default. */
  readonly principal?: string | undefined;
  /** Name of this process among those of the principal: its peer id is `<principal>--<peerName>`. The principal itself by default. */
  readonly peerName?: string | undefined;
  /** How long a call may take with all its repeats. ms; 30,000 by default. At least as long as `attemptTimeoutMs` to allow one. */
  readonly timeoutMs?: number | undefined;
  /** How long an attempt may stay without an answer before the same bytes are sent again. ms; 5,000 by default. */
  readonly attemptTimeoutMs?: number | undefined;
  /** What to do when the shard takes no more: `wait` (default) until it does, within the timeout, or `throw` the refusal at once. */
  readonly onBackpressure?: "wait" | "throw" | undefined;
  /** Requests of one verb under way at once before further calls gather. 1..64, 3 by default. */
  readonly requestsInFlightMax?: number | undefined;
  /** Most entries in one request. 1..1,000, 1,000 by default. */
  readonly entriesMax?: number | undefined;
  /** Another clock, for tests. */
  readonly clock?: Clock | undefined;
}

/** Throws: OperatingError `invalid_options` (definite). */
export function clientSettings(options: LeaseClientOptions): ClientSettings {
  const { connection, servers, nats, clock: _clock, ...given } = options;
  if ((connection === undefined) === (servers === undefined)) throw invalid("give either connection or servers");
  if (nats !== undefined && connection !== undefined) throw invalid("nats goes with servers, not with connection");
  const parsed = Settings.safeParse(given);
  if (!parsed.success) throw invalid(z.prettifyError(parsed.error));
  const { principal, peerName } = parsed.data;
  const peerId = PeerId.safeParse(peerName === undefined ? principal : `${principal}--${peerName}`);
  if (!peerId.success) throw invalid(`peerName: ${peerId.error.issues[0]?.message}`);
  return { ...parsed.data, peerId: peerId.data };
}

const invalid = (message: string): OperatingError => new OperatingError("invalid_options", message, { definite: true });
