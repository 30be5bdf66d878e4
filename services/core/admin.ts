/** The verbs `pause`, `resume` and `configure`. */
import type { RequestOf } from "../../contracts/commands.ts";
import { errorBody } from "../../contracts/errors.ts";
import type { EventOf } from "../../contracts/events.ts";
import type { FollowersPatch } from "../../contracts/followers.ts";
import { FOLLOWERS_MAX } from "../../contracts/limits.ts";
import { optionProblems, type ShardOptions, type ShardOptionsPatch } from "../../contracts/options.ts";
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
import { mergeFollowers, mergeOptions, type ShardState } from "./state.ts";

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
  const decision = decideConfigure(state, request.options, request.followers);
  if (decision.kind === "refused") return refuse(decision.error, true);
  if (decision.kind === "accepted") new Emitter(state, context, sink).emit(decision.event);
  const followers = Object.fromEntries(state.followers);
  return { reply: { ...cite(state), options: state.options, followers }, confirm: false, validity: [] };
}

/**
 * Decides a change of options and followers.
 *
 * Shapes: one `configured` with what really changes, or none when nothing does.
 * Refuses with: invalid_argument when the options together make no sense, or when followers become too many.
 */
export function decideConfigure(
  state: ShardState,
  patch: ShardOptionsPatch,
  followersPatch: FollowersPatch = {},
): Decision<EventOf<"configured">, ShardOptions> {
  const options = mergeOptions(state.options, patch);
  const problems = [...optionProblems(options)];
  if (mergeFollowers(state.followers, followersPatch).size > FOLLOWERS_MAX)
    problems.push(`a shard has at most ${FOLLOWERS_MAX} followers; remove one first`);
  if (problems.length > 0)
    return refused(
      errorBody("invalid_argument", `options: ${problems.join("; ")}`, {
        details: { issues: problems.map((message) => ({ path: "options", message })) },
      }),
    );
  const before: Readonly<Record<string, unknown>> = state.options;
  const changed = Object.entries(options).filter(([name, value]) => before[name] !== value);
  const followers = changedFollowers(state, followersPatch);
  if (changed.length === 0 && followers === undefined) return { kind: "unchanged", result: state.options };
  const event = { type: "configured", actor: 0, options: Object.fromEntries(changed) as ShardOptionsPatch } as const;
  return {
    kind: "accepted",
    event: { ...event, ...(followers === undefined ? undefined : { followers }) },
    result: options,
  };
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
