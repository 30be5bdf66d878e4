/** Every bound of the system in one place, with the relations between them asserted at import. */
import assert from "node:assert/strict";

const KIB = 1024;
const MIB = 1024 * KIB;

/** The version of the RPC contract that this code speaks. */
export const API_VERSION = 1;
/** The version of the frame layout. Never reused. */
export const FRAME_SCHEMA = 1;
/** The newest state version whose `apply`, canonical state and hash this code knows. */
export const LOG_VERSION_MAX = 2;
/** The state version that order, time and retries of items need. */
export const LOG_VERSION_TERMS = 2;

/** Latest log time that a timestamp can tell: the last one of the year 9999. ms. */
export const TIMESTAMP_MS_MAX = 253_402_300_799_999;

/** Longest region or shard name. Characters. */
export const NAME_LENGTH_MAX = 32;
/** Longest principal. Characters. */
export const PRINCIPAL_LENGTH_MAX = 64;
/** Longest peer id: principal, `--`, name. Characters. */
export const PEER_ID_LENGTH_MAX = 130;
/** Longest resource type, resource id, partition key. UTF-8 bytes. */
export const RESOURCE_ID_BYTES_MAX = 512;
/** Longest request id that a client may choose. Characters. */
export const REQUEST_ID_LENGTH_MAX = 128;
/** Longest request id in the log: a client's id, a slash and the index of the entry. Characters. */
export const ENTRY_REQUEST_ID_LENGTH_MAX = REQUEST_ID_LENGTH_MAX + 8;
/** Longest item id. Characters. */
export const ITEM_ID_LENGTH_MAX = 64;

/** Most entries in one request, and most leases in one reply: what one frame surely holds. */
export const ENTRIES_PER_REQUEST_MAX = 1_000;
/** Largest request body: its events, with their envelope, must fit one frame. Bytes. */
export const REQUEST_BYTES_MAX = 576 * KIB;
/** Largest `restore`: an item that filled its request comes back with its past. Bytes. */
export const RESTORE_BYTES_MAX: number = REQUEST_BYTES_MAX + 16 * KIB;
/** Bytes that one entry's event may add to what stood in the request. */
export const EVENT_OVERHEAD_BYTES_MAX = 150;
/** Largest frame, reply or page. Bytes. */
export const FRAME_BYTES_MAX = 768 * KIB;
/** Size at which an open frame takes no more commands. Bytes. */
export const FRAME_BYTES_AIM = 256 * KIB;
/** Smallest `max_payload` of a server that we accept. Bytes. */
export const SERVER_MAX_PAYLOAD_MIN = MIB;

/** Item body allowed unless the shard's options say otherwise. Encoded JSON bytes. */
export const ITEM_BYTES_DEFAULT = 64 * KIB;
/** Largest item body that any shard may allow. Encoded JSON bytes. */
export const ITEM_BYTES_MAX = 512 * KIB;
/** Most attributes of one item, and the longest name and value of one. Characters. */
export const ATTRIBUTES_MAX = 64;
export const ATTRIBUTE_NAME_LENGTH_MAX = 128;
export const ATTRIBUTE_VALUE_LENGTH_MAX = 4 * KIB;
/** Largest `result` of a completion. Encoded JSON bytes. */
export const RESULT_BYTES_MAX = 8 * KIB;
/** Longest reason of a failure. Characters. */
export const REASON_LENGTH_MAX = 1_024;
/** Longest machine code of a failure. Characters. */
export const FAILURE_CODE_LENGTH_MAX = 64;
/** Longest progress that a heartbeat tells, and longest unique key. Characters. */
export const PROGRESS_LENGTH_MAX = 1_024;
export const UNIQUE_KEY_LENGTH_MAX = 128;
/** Longest group and longest quota key. Characters. */
export const GROUP_LENGTH_MAX = 128;
/** Quotas that a shard has by name, most grants in one rate or burst, and the largest weight of a group. */
export const QUOTAS_MAX = 1_000;
export const QUOTA_COUNT_MAX = 1_000_000;
export const QUOTA_WEIGHT_MAX = 100;
/** Items that one item may depend on, and that may depend on one item: its end tells them all in one step. */
export const DEPENDENCIES_MAX = 100;
export const DEPENDENTS_MAX = 1_000;
/** Results of its dependencies that are kept with an item: with the largest item they fit one reply. Encoded JSON bytes. */
export const DEPENDENCY_RESULTS_BYTES_MAX = 128 * KIB;
/** Bytes of a dependency besides its result. */
export const DEPENDENCY_BYTES = 160;
/** Most resource types in one lease filter. */
export const RESOURCE_TYPES_PER_FILTER_MAX = 64;

/** Lease length unless the options or the request say otherwise. ms. */
export const LEASE_DURATION_MS_DEFAULT = 30_000;
export const LEASE_DURATION_MS_MIN = 100;
/** Longest lease, and the longest single extension. ms. */
export const LEASE_DURATION_MS_MAX = 3_600_000;
/** How long one lease may be kept alive by heartbeats. ms. */
export const LEASE_AGE_MS_DEFAULT = 86_400_000;
export const LEASE_AGE_MS_MAX = 30 * 86_400_000;
/** Highest priority of an item; 0 is the lowest and the default. */
export const PRIORITY_MAX = 9;
/** How far ahead of its enqueue, or of its failure, an item may be delayed. ms. */
export const DELAY_MS_MAX = 366 * 86_400_000;
/** Longest step of waiting that counts as one priority. ms. */
export const AGEING_MS_MAX = 30 * 86_400_000;
/** Most delays in one list of retries. */
export const RETRY_DELAYS_MAX = 32;
/** Delay before the first retry, and the longest one, unless the options say otherwise. ms. */
export const RETRY_FIRST_MS_DEFAULT = 1_000;
export const RETRY_MAX_MS_DEFAULT = 300_000;
/** Leases that one peer may hold at once. */
export const LEASES_PER_PEER_DEFAULT = 10_000;
export const LEASES_PER_PEER_MAX = 1_000_000;
/** Charged attempts after which an item is dead-lettered. */
export const ATTEMPTS_DEFAULT = 5;
export const ATTEMPTS_MAX = 1_000;
/** Longest long poll. ms. */
export const WAIT_MS_MAX = 30_000;
/** How long a request may wait for its outcome unless it says otherwise. ms. */
export const TIMEOUT_MS_DEFAULT = 5_000;
export const TIMEOUT_MS_MAX = 60_000;

/** Pending items above which `enqueue` is refused with `backpressure`. */
export const PENDING_HIGH_DEFAULT = 1_000_000;
export const PENDING_HIGH_MAX = 10_000_000;
/** Bytes of pending bodies above which `enqueue` is refused. Bytes. */
export const BODY_BYTES_HIGH_DEFAULT = 512 * MIB;
export const BODY_BYTES_HIGH_MAX = 8 * 1024 * MIB;
/** How long a shard that came above a high watermark refuses items at least. ms. */
export const BACKPRESSURE_COOLDOWN_MS_DEFAULT = 1_000;
export const BACKPRESSURE_COOLDOWN_MS_MAX = 3_600_000;
/** Low watermarks, as shares of the high ones, where no others are named. */
export const PENDING_LOW_SHARE = 0.8;
export const BODY_BYTES_LOW_SHARE = 0.75;
/** Ended items whose outcome is remembered, for repeats of requests. */
export const RECORDS_DEFAULT = 1_000_000;
export const RECORDS_MAX = 10_000_000;
/** Results of completed items that are kept. */
export const RESULTS_DEFAULT = 10_000;
export const RESULTS_MAX = 1_000_000;

/** Followers that one shard may have. */
export const FOLLOWERS_MAX = 64;
/** What is kept of the log for a follower that lags, unless its registration says otherwise. Bytes, ms. */
export const FOLLOWER_KEEP_BYTES_DEFAULT = 1024 * MIB;
export const FOLLOWER_KEEP_BYTES_MAX = 2 ** 50;
export const FOLLOWER_KEEP_MS_DEFAULT = 86_400_000;
export const FOLLOWER_KEEP_MS_MAX = 365 * 86_400_000;
/** What is kept of the log below a snapshot for readers that are not registered: events, ms. */
export const LOG_KEEP_EVENTS_DEFAULT = 100_000;
export const LOG_KEEP_EVENTS_MAX = 1_000_000_000_000;
export const LOG_KEEP_MS_DEFAULT = 86_400_000;
export const LOG_KEEP_MS_MAX = 3_650 * 86_400_000;
/**
 * Shares of the log's byte limit: from the first on the log is trimmed as far as snapshots and followers allow, from the second on
 * `enqueue` is refused, from the third on everything but keeping, settling, reading and administration.
 */
export const LOG_TRIM_SHARE = 0.6;
export const LOG_HIGH_SHARE = 0.8;
export const LOG_FULL_SHARE = 0.9;

/** Schedules that one shard may have, and the longest cron expression and name of a time zone. Characters. */
export const SCHEDULES_MAX = 1_000;
export const CRON_LENGTH_MAX = 128;
export const TIME_ZONE_LENGTH_MAX = 64;
/** How late a tick may be of a schedule that catches up on none. ms. */
export const TICK_LATE_MS_MAX = 60_000;

/** Items on one page of `list` unless the request says otherwise. */
export const PAGE_SIZE_DEFAULT = 100;
export const PAGE_SIZE_MAX = 1_000;
/** Items that one `list` looks at before it returns what it has with a cursor. */
export const PAGE_SCAN_MAX = 20_000;

/** Commands that wait undecided while the log does not answer. Bytes of their bodies. */
export const UNDECIDED_BYTES_MAX = 64 * MIB;
/** Refusals listed in one `invalid_argument`. */
export const ISSUES_MAX = 20;

/** The distance between two token epochs: tokens are epoch * 2^40 + sequence. */
export const TOKEN_EPOCH_STEP = 2 ** 40;
/** Token epochs stay below this, so that tokens stay safe integers. */
export const TOKEN_EPOCH_LIMIT = 8_192;

assert(
  RESTORE_BYTES_MAX + ENTRIES_PER_REQUEST_MAX * EVENT_OVERHEAD_BYTES_MAX + 16 * KIB <= FRAME_BYTES_MAX,
  "the events of the largest request must fit one frame",
);
assert(FRAME_BYTES_AIM <= FRAME_BYTES_MAX && FRAME_BYTES_MAX < SERVER_MAX_PAYLOAD_MIN, "a frame must fit a message");
assert(ITEM_BYTES_DEFAULT <= ITEM_BYTES_MAX && ITEM_BYTES_MAX < REQUEST_BYTES_MAX, "the largest item fits a request");
assert(
  REQUEST_BYTES_MAX + DEPENDENCY_RESULTS_BYTES_MAX + DEPENDENCIES_MAX * DEPENDENCY_BYTES + 32 * KIB <= FRAME_BYTES_MAX,
  "a lease of the largest item fits one reply with what its dependencies left",
);
assert(LEASE_DURATION_MS_DEFAULT <= LEASE_DURATION_MS_MAX, "the default lease must be grantable");
assert(LEASE_DURATION_MS_MAX <= LEASE_AGE_MS_DEFAULT, "a whole lease fits the default age");
assert(TOKEN_EPOCH_STEP * TOKEN_EPOCH_LIMIT <= Number.MAX_SAFE_INTEGER + 1, "tokens stay safe integers");
