/** The verbs `schedule-put`, `schedule-list` and `schedule-delete`. */
import assert from "node:assert/strict";
import type { EnqueueItem, RequestOf } from "../../contracts/commands.ts";
import { type ErrorBody, errorBody } from "../../contracts/errors.ts";
import type { EventOf } from "../../contracts/events.ts";
import { FRAME_BYTES_MAX, LOG_VERSION_TERMS, PAGE_SIZE_DEFAULT, SCHEDULES_MAX } from "../../contracts/limits.ts";
import type { ScheduleProblem } from "../../contracts/schedules.ts";
import { bodyProblem, frameFull } from "./enqueue.ts";
import { specDigest } from "./hash.ts";
import { termsProblem, versionRefusal } from "./item-terms.ts";
import { EVENT_BYTES, FRAME_BYTES_RESERVE } from "./limits.ts";
import {
  type Context,
  cite,
  type Decision,
  Emitter,
  type EventSink,
  logPressureRefusal,
  type Outcome,
  refuse,
  refused,
} from "./outcome.ts";
import type { Schedule } from "./schedules.ts";
import { eventLength } from "./sizes.ts";
import type { ShardState } from "./state.ts";

type Put = EventOf<"scheduled">;

export function executeSchedulePut(
  state: ShardState,
  request: RequestOf<"schedule-put">,
  context: Context,
  sink: EventSink,
): Outcome {
  const decision = decideSchedulePut(state, request, context);
  if (decision.kind === "refused") return refuse(decision.error, true);
  const isNew = decision.kind === "accepted";
  if (isNew) new Emitter(state, context, sink).emit(decision.event);
  const { next } = decision.result;
  const told = { name: request.name, ...(next === undefined ? undefined : { next }), duplicate: !isNew };
  return { reply: { ...cite(state), ...told }, confirm: !isNew, validity: [] };
}

/**
 * Decides one schedule. Where only its item or its catching up changes it ticks on; else, and when it was paused, its next tick is counted from now.
 *
 * Shapes: one `scheduled`, or none when this principal has put it like this before.
 * Refuses with: invalid_argument (no cron expression, one that never ticks, a zone that is not known, a lease that is too long),
 * unsupported_version, payload_too_large, unavailable (frame full), backpressure (the log is near its byte limit), resource_exhausted.
 */
function decideSchedulePut(
  state: ShardState,
  request: RequestOf<"schedule-put">,
  context: Context,
): Decision<Put, { readonly next: number | undefined }> {
  const { name, cron, timeZone, catchUp, paused, item } = request;
  const known = state.schedules.byName.get(name);
  const spec = { name, cron, timeZone, catchUp, paused, item, principal: context.principal };
  // One that stands still although it is not paused is put again.
  if (known?.digest === specDigest(spec) && (paused || known.next !== undefined))
    return { kind: "unchanged", result: known };
  const { nextTick } = context;
  assert(nextTick !== undefined, "whoever puts schedules knows when they tick");
  const first = nextTick(cron, timeZone, context.at);
  if (typeof first !== "number") return refused(cronRefusal(first));
  if (state.logVersion < LOG_VERSION_TERMS) return refused(versionRefusal(state.logVersion, LOG_VERSION_TERMS));
  const problem = termsProblem(state, item as EnqueueItem, context.at) ?? bodyProblem(state, item.body);
  if (problem !== undefined) return refused(problem);
  const isSameTime = known?.cron === cron && known.timeZone === timeZone && !known.paused;
  const next = paused ? undefined : isSameTime ? (known.next ?? first) : first;
  const event: Put = {
    ...{ type: "scheduled", actor: 0, name, cron, timeZone, catchUp, item },
    ...(paused ? { paused } : undefined),
    ...(next === undefined ? undefined : { next }),
  };
  if (eventLength(event) > (context.frameBytesLeft ?? FRAME_BYTES_MAX - FRAME_BYTES_RESERVE))
    return refused(frameFull());
  if (context.logPressure !== undefined) return refused(logPressureRefusal());
  if (known === undefined && state.schedules.size >= SCHEDULES_MAX)
    return refused(
      errorBody("resource_exhausted", `a shard has at most ${SCHEDULES_MAX} schedules; delete one first`, {
        details: { schedules: state.schedules.size, limit: SCHEDULES_MAX },
      }),
    );
  return { kind: "accepted", event, result: { next } };
}

function cronRefusal({ path, message }: ScheduleProblem): ErrorBody {
  return errorBody("invalid_argument", `${path}: ${message}`, { details: { issues: [{ path, message }] } });
}

/** Deletes a schedule; its items stay. Idempotent: one that is not there is as good as deleted. */
export function executeScheduleDelete(
  state: ShardState,
  { name }: RequestOf<"schedule-delete">,
  context: Context,
  sink: EventSink,
): Outcome {
  const deleted = state.schedules.byName.has(name);
  if (deleted) new Emitter(state, context, sink).emit({ type: "unscheduled", actor: 0, name });
  return { reply: { ...cite(state), name, deleted }, confirm: !deleted, validity: [] };
}

/** Lists schedules by name. A page ends at `limit` of them or at FRAME_BYTES_MAX, and then has a `cursor`: its last name. */
export function executeScheduleList(
  state: ShardState,
  { limit = PAGE_SIZE_DEFAULT, cursor = "" }: RequestOf<"schedule-list">,
): Outcome {
  const schedules: object[] = [];
  let bytesLeft = FRAME_BYTES_MAX - FRAME_BYTES_RESERVE;
  let last: string | undefined;
  let more = false;
  for (const schedule of state.schedules.inOrder()) {
    if (schedule.name <= cursor) continue;
    const bytes = EVENT_BYTES + eventLength({ type: "scheduled", actor: 0, ...schedule, paused: true });
    more = schedules.length >= limit || (bytes > bytesLeft && schedules.length > 0);
    if (more) break;
    bytesLeft -= bytes;
    last = schedule.name;
    schedules.push(scheduleView(schedule));
  }
  const reply = { ...cite(state), schedules, ...(more ? { cursor: last } : undefined) };
  return { reply, confirm: false, validity: [] };
}

function scheduleView({ name, cron, timeZone, catchUp, paused, item, next, principal }: Schedule): object {
  const ticks = next === undefined ? undefined : { next };
  return { name, cron, timeZone, catchUp, paused, ...ticks, item, putBy: principal };
}
