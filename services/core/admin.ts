/** The verbs `pause`, `resume` and `configure`. */
import type { RequestOf } from "../../contracts/commands.ts";
import { errorBody } from "../../contracts/errors.ts";
import type { EventOf } from "../../contracts/events.ts";
import type { FollowersPatch } from "../../contracts/followers.ts";
import { FOLLOWERS_MAX, LOG_VERSION_MAX, LOG_VERSION_TERMS, QUOTAS_MAX } from "../../contracts/limits.ts";
import {
  OPTIONS_OF_TERMS,
  optionProblems,
  type ShardOptions,
  type ShardOptionsPatch,
} from "../../contracts/options.ts";
import type { Quota, QuotasPatch } from "../../contracts/quotas.ts";
import { versionRefusal } from "./item-terms.ts";
import {
  type Context,
  cite,
  type Decision,
  Emitter,
  type EventSink,
  type Outcome,
  refuse,
  refused,
} from "./outcome.ts";
import { mergeNamed, mergeOptions, type ShardState } from "./state.ts";

/** Stops granting. Leases go on, items come in. Idempotent. */
export function executePause(state: ShardState, context: Context, sink: EventSink): Outcome {
  if (!state.paused) new Emitter(state, context, sink).emit({ type: "paused", actor: 0 });
  return { reply: { ...cite(state), paused: true }, confirm: false, validity: [] };
}

/** Grants again. Idempotent. */
export function executeResume(state: ShardState, context: Context, sink: EventSink): Outcome {
  if (state.paused) new Emitter(state, context, sink).emit({ type: "resumed", actor: 0 });
  return { reply: { ...cite(state), paused: false }, confirm: false, validity: [] };
}

export function executeConfigure(
  state: ShardState,
  request: RequestOf<"configure">,
  context: Context,
  sink: EventSink,
): Outcome {
  const decision = decideConfigure(state, request.options, request.followers, request.logVersion, request.quotas);
  if (decision.kind === "refused") return refuse(decision.error, true);
  if (decision.kind === "accepted") new Emitter(state, context, sink).emit(decision.event);
  const followers = Object.fromEntries(state.followers);
  return { reply: { ...cite(state), options: state.options, followers }, confirm: false, validity: [] };
}

/**
 * Decides a change of options, followers and quotas.
 *
 * Shapes: one `configured` with what really changes, or none when nothing does.
 * Refuses with: invalid_argument when the options together make no sense, when followers become too many, or when somebody does not read the
 * state version; unsupported_version for an option that the log is too old for.
 */
export function decideConfigure(
  state: ShardState,
  patch: ShardOptionsPatch,
  followersPatch: FollowersPatch = {},
  logVersion: number = state.logVersion,
  quotasPatch: QuotasPatch = {},
): Decision<EventOf<"configured">, ShardOptions> {
  const options = mergeOptions(state.options, patch);
  const merged = mergeNamed(state.followers, followersPatch);
  const problems = [...optionProblems(options), ...versionProblems(state, logVersion, merged)];
  if (merged.size > FOLLOWERS_MAX) problems.push(`a shard has at most ${FOLLOWERS_MAX} followers; remove one first`);
  if (mergeNamed(state.quotas, quotasPatch).size > QUOTAS_MAX)
    problems.push(`a shard has at most ${QUOTAS_MAX} quotas; remove one first`);
  if (problems.length > 0)
    return refused(
      errorBody("invalid_argument", `options: ${problems.join("; ")}`, {
        details: { issues: problems.map((message) => ({ path: "options", message })) },
      }),
    );
  const before: Readonly<Record<string, unknown>> = state.options;
  const changed = Object.entries(options).filter(([name, value]) => before[name] !== value);
  if (
    logVersion < LOG_VERSION_TERMS &&
    changed.some(([name, value]) => OPTIONS_OF_TERMS.has(name) || isDisabled(name, value))
  )
    return refused(versionRefusal(logVersion, LOG_VERSION_TERMS));
  const quotas = changedQuotas(state, quotasPatch);
  if (quotas !== undefined && logVersion < LOG_VERSION_TERMS)
    return refused(versionRefusal(logVersion, LOG_VERSION_TERMS));
  const followers = changedFollowers(state, followersPatch);
  const raised = logVersion === state.logVersion ? undefined : { logVersion };
  if (changed.length === 0 && followers === undefined && quotas === undefined && raised === undefined)
    return { kind: "unchanged", result: state.options };
  const event = { type: "configured", actor: 0, options: Object.fromEntries(changed) as ShardOptionsPatch } as const;
  return {
    kind: "accepted",
    event: {
      ...event,
      ...(followers === undefined ? undefined : { followers }),
      ...(quotas === undefined ? undefined : { quotas }),
      ...raised,
    },
    result: options,
  };
}

/** A watermark that is switched off. */
const isDisabled = (name: string, value: unknown): boolean =>
  value === 0 && (name === "pendingHigh" || name === "bodyBytesHigh");

function versionProblems(state: ShardState, logVersion: number, followers: ShardState["followers"]): readonly string[] {
  if (logVersion === state.logVersion) return [];
  if (logVersion < state.logVersion) return [`the log has state version ${state.logVersion}; it is never lowered`];
  if (logVersion > LOG_VERSION_MAX)
    return [`this release knows state versions up to ${LOG_VERSION_MAX}, not ${logVersion}`];
  const behind = [...followers].filter(([, { logVersionMax }]) => logVersionMax < logVersion).map(([name]) => name);
  if (behind.length === 0) return [];
  return [
    `these followers do not read state version ${logVersion}: ${behind.join(", ")}; upgrade or remove them first`,
  ];
}

/** What of a change really changes; undefined for nothing. */
function changedFollowers(state: ShardState, patch: FollowersPatch): FollowersPatch | undefined {
  const changed = Object.entries(patch).filter(([name, follower]) => {
    const before = state.followers.get(name);
    if (follower === null || before === undefined) return follower !== (before ?? null);
    const { kind, logVersionMax, keepBytes, keepMs } = before;
    return (
      kind !== follower.kind ||
      logVersionMax !== follower.logVersionMax ||
      keepBytes !== follower.keepBytes ||
      keepMs !== follower.keepMs
    );
  });
  return changed.length === 0 ? undefined : Object.fromEntries(changed);
}

function changedQuotas(state: ShardState, patch: QuotasPatch): QuotasPatch | undefined {
  const changed = Object.entries(patch).filter(
    ([name, quota]) => !isSameQuota(state.quotas.get(name), quota ?? undefined),
  );
  return changed.length === 0 ? undefined : Object.fromEntries(changed);
}

function isSameQuota(left: Quota | undefined, right: Quota | undefined): boolean {
  return (
    (left === undefined) === (right === undefined) &&
    left?.leasesMax === right?.leasesMax &&
    left?.weight === right?.weight &&
    left?.rate?.count === right?.rate?.count &&
    left?.rate?.perMs === right?.rate?.perMs &&
    left?.rate?.burst === right?.rate?.burst
  );
}
