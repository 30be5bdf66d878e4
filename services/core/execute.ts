/** The one way to run a command: decides, applies and pushes entry by entry, so that later entries see earlier ones. */
import type { ShardCommand } from "../../contracts/commands.ts";
import { errorBody } from "../../contracts/errors.ts";
import { principalOfPeer } from "../../contracts/ids.ts";
import { executeConfigure, executePause, executeResume } from "./admin.ts";
import { executeCancel } from "./cancel.ts";
import { executePurge, executeRedrive } from "./dead-letters.ts";
import { executeDiscard, executeDrain, executeEvict, executeRestore } from "./drain.ts";
import { executeEnqueue } from "./enqueue.ts";
import { executeExplain } from "./explain.ts";
import { executeHeartbeat } from "./heartbeat.ts";
import { executeLease } from "./lease.ts";
import { type Context, type EventSink, type Outcome, refuse } from "./outcome.ts";
import { executeGet, executeList, executeQuotas, renderStats } from "./read.ts";
import { executeScheduleDelete, executeScheduleList, executeSchedulePut } from "./schedule-verbs.ts";
import { executeComplete, executeFail, executeRelease } from "./settle.ts";
import type { ShardState } from "./state.ts";

/**
 * Runs one parsed command against the state.
 *
 * Shapes: events through the sink, already applied; a reply with `term` and `sequence`, or an error for the whole request.
 * Refuses with: permission_denied when the peer id is not of the principal; then what the verb says.
 * Throws: nothing that a client can cause; a failed assertion is a bug.
 */
export function execute(state: ShardState, command: ShardCommand, context: Context, sink: EventSink): Outcome {
  if (principalOfPeer(context.peerId) !== context.principal)
    return refuse(errorBody("permission_denied", "the peer id belongs to another principal"), false);
  switch (command.verb) {
    case "enqueue":
      return executeEnqueue(state, command.request, context, sink);
    case "lease":
      return executeLease(state, command.request, context, sink);
    case "heartbeat":
      return executeHeartbeat(state, command.request, context, sink);
    case "complete":
      return executeComplete(state, command.request, context, sink);
    case "fail":
      return executeFail(state, command.request, context, sink);
    case "release":
      return executeRelease(state, command.request, context, sink);
    case "cancel":
      return executeCancel(state, command.request, context, sink);
    case "redrive":
      return executeRedrive(state, command.request, context, sink);
    case "purge":
      return executePurge(state, command.request, context, sink);
    case "pause":
      return executePause(state, context, sink);
    case "resume":
      return executeResume(state, context, sink);
    case "drain":
      return executeDrain(state, command.request, context, sink);
    case "restore":
      return executeRestore(state, command.request, context, sink);
    case "discard":
      return executeDiscard(state, command.request, context, sink);
    case "evict":
      return executeEvict(state, command.request, context, sink);
    case "configure":
      return executeConfigure(state, command.request, context, sink);
    case "get":
      return executeGet(state, command.request);
    case "list":
      return executeList(state, command.request);
    case "schedule-put":
      return executeSchedulePut(state, command.request, context, sink);
    case "schedule-list":
      return executeScheduleList(state, command.request);
    case "schedule-delete":
      return executeScheduleDelete(state, command.request, context, sink);
    case "explain":
      return executeExplain(state, command.request, context);
    case "stats":
      return { reply: renderStats(state, context), confirm: false, validity: [] };
    case "quotas":
      return executeQuotas(state, command.request, context);
  }
}
