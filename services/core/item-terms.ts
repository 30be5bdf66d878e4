/** What an item may name about its order and its time, and what follows from it. */
import type { EnqueueItem, ItemPayload, RetryPolicy } from "../../contracts/commands.ts";
import { type ErrorBody, errorBody } from "../../contracts/errors.ts";
import { tokenOf } from "../../contracts/ids.ts";
import { DELAY_MS_MAX, LOG_VERSION_TERMS } from "../../contracts/limits.ts";
import type { ShardOptions } from "../../contracts/options.ts";
import { Item, type ItemTerms } from "./item.ts";
import type { ShardState } from "./state.ts";

/** Longer than any log time: so far ahead of one priority is the next. ms. */
const PRIORITY_STEP_MS = 2 ** 42;

/** What an item is called beside its payload. */
type ItemNames = Pick<Item, "enqueuedAt" | "principal" | "requestId" | "digest">;
type Ticked = { readonly name: string; readonly tick: number };
/** What it depends on is no part of this. */
type Payload = Omit<ItemPayload, "dependsOn">;

/** The item that the event at the state's sequence makes of a payload, with the shard's exclusivity where it names none. */
export function newItem(state: ShardState, payload: Payload, names: ItemNames, ticked?: Ticked): Item {
  const exclusivity = payload.exclusivity ?? state.options.exclusivity;
  const kind = state.kinds.of(names.principal, exclusivity, payload, names.enqueuedAt, tokenOf(state.tokenEpoch, 0));
  const terms = termsOf(payload, state.options.ageingMs, ticked);
  const fields = {
    sequence: state.sequence,
    enqueuedAt: names.enqueuedAt,
    resourceId: payload.resourceId,
    partitionKey: payload.partitionKey,
    body: payload.body,
    attributes: payload.attributes,
    requestId: names.requestId,
    digest: names.digest,
    terms: terms === undefined ? undefined : kind.share(terms),
    delayedTo: payload.notBefore ?? 0,
  };
  return new Item(fields, kind);
}

/** undefined when the payload names none of them, as nearly all do. `ageingMs`: of the shard, at the enqueue. */
function termsOf(payload: Payload, ageingMs: number, ticked: Ticked | undefined): ItemTerms | undefined {
  const { priority = 0, notAfter, leaseDurationMs, retry, uniqueKey, group, quotaKey } = payload;
  const hasNone =
    priority === 0 &&
    notAfter === undefined &&
    leaseDurationMs === undefined &&
    retry === undefined &&
    uniqueKey === undefined &&
    group === undefined &&
    quotaKey === undefined &&
    ticked === undefined;
  if (hasNone) return undefined;
  const boost = priority === 0 ? 0 : priority * (ageingMs === 0 ? PRIORITY_STEP_MS : ageingMs);
  const terms = { priority, boost, notAfter, leaseDurationMs, retry, uniqueKey, group, quotaKey };
  return ticked === undefined ? terms : { ...terms, schedule: { name: ticked.name, tick: ticked.tick } };
}

/**
 * How long an item waits before its next attempt, when `charged` attempts have failed.
 *
 * `random`: in [0, 1); drawn once where the policy is exponential. ms.
 */
export function retryDelayMs(item: Item, options: ShardOptions, charged: number, random: () => number): number {
  const policy = item.terms?.retry ?? policyOf(options);
  switch (policy.kind) {
    case "none":
      return 0;
    case "fixed":
      return policy.delayMs;
    case "exponential":
      return Math.floor(random() * Math.min(policy.maxMs, policy.firstMs * 2 ** Math.min(charged - 1, 60)));
    case "list":
      return policy.delaysMs[Math.min(charged, policy.delaysMs.length) - 1] ?? 0;
  }
}

/** A policy as one text, in whatever order its fields came. */
export function retryText(policy: RetryPolicy): string {
  switch (policy.kind) {
    case "none":
      return "none";
    case "fixed":
      return `fixed ${policy.delayMs}`;
    case "exponential":
      return `exponential ${policy.firstMs} ${policy.maxMs}`;
    case "list":
      return `list ${policy.delaysMs.join(" ")}`;
  }
}

const NONE: RetryPolicy = { kind: "none" };

function policyOf({ retry, retryFirstMs, retryMaxMs }: ShardOptions): RetryPolicy {
  if (retry === "none") return NONE;
  if (retry === "fixed") return { kind: "fixed", delayMs: retryFirstMs };
  return { kind: "exponential", firstMs: retryFirstMs, maxMs: retryMaxMs };
}

/** Why the shard does not take an item with these times at log time `at`; undefined when it does. */
export function termsProblem(state: ShardState, item: EnqueueItem, at: number): ErrorBody | undefined {
  const { delayMs, notBefore, notAfter, leaseDurationMs, priority, retry, uniqueKey, group, quotaKey, dependsOn } =
    item;
  const isPlain =
    delayMs === undefined &&
    notBefore === undefined &&
    notAfter === undefined &&
    leaseDurationMs === undefined &&
    priority === undefined &&
    retry === undefined &&
    uniqueKey === undefined &&
    group === undefined &&
    quotaKey === undefined &&
    dependsOn === undefined;
  if (isPlain) return undefined;
  if (state.logVersion < LOG_VERSION_TERMS) return versionRefusal(state.logVersion, LOG_VERSION_TERMS);
  const { leaseDurationMsMax } = state.options;
  const startsAt = notBefore ?? at + (delayMs ?? 0);
  if (startsAt > at + DELAY_MS_MAX)
    return invalid("notBefore", `is more than ${DELAY_MS_MAX} ms ahead of log time ${at}`);
  if (notAfter !== undefined && notAfter <= Math.max(at, startsAt))
    return invalid("notAfter", `must be after log time ${at} and after the delay`);
  if (leaseDurationMs !== undefined && leaseDurationMs > leaseDurationMsMax)
    return invalid("leaseDurationMs", `${leaseDurationMs} is above leaseDurationMsMax (${leaseDurationMsMax})`);
  return undefined;
}

/** What a log of an older state version cannot hold. */
export function versionRefusal(logVersion: number, wanted: number): ErrorBody {
  return errorBody(
    "unsupported_version",
    `the log has state version ${logVersion}, this needs ${wanted}; raise it with configure logVersion once every dispatcher and follower is upgraded`,
    { details: { logVersion, wanted } },
  );
}

export function invalid(path: string, message: string): ErrorBody {
  return errorBody("invalid_argument", `${path}: ${message}`, { details: { issues: [{ path, message }] } });
}
