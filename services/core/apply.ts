/** Folds events into the state. Leader, standby, replay and simulator run this same code; an impossible event is a failed assertion. */
import assert from "node:assert/strict";
import { OperatingError } from "../../contracts/errors.ts";
import type { EventOf, LogEvent } from "../../contracts/events.ts";
import type { Frame } from "../../contracts/frame.ts";
import { tokenOf } from "../../contracts/ids.ts";
import { LOG_VERSION_MAX } from "../../contracts/limits.ts";
import { SHARD_OPTIONS_DEFAULT } from "../../contracts/options.ts";
import { applyDrain } from "./apply-drain.ts";
import { applyCancelled, applyDeadLettered, applyPurged, applyRedriven } from "./apply-ends.ts";
import { newFlow } from "./apply-flow.ts";
import { admitItem, evictRecords, setExtra } from "./apply-item.ts";
import {
  applyCompleted,
  applyExpired,
  applyFailed,
  applyLeased,
  applyReleased,
  applyRenewed,
  type EventMeta,
} from "./apply-lease.ts";
import { applySchedule, applyTick } from "./apply-schedule.ts";
import { easePressure, weighPressure } from "./backpressure.ts";
import { stateHash } from "./hash.ts";
import { numberOfItemId } from "./item-id.ts";
import { newItem } from "./item-terms.ts";
import { mergeNamed, mergeOptions, type ShardState, setQuotas } from "./state.ts";

/**
 * Applies one event: advances `state.sequence` by exactly 1 and mutates the state.
 *
 * Total for every event that the decide functions produce from this state.
 * Throws: OperatingError state_diverged (definite) when a `stateHash` differs; log_version_unsupported (definite).
 */
export function apply(state: ShardState, event: LogEvent, meta: EventMeta): void {
  // Messages are put together when they are needed: a million events make a million of each.
  if (meta.at < state.at) assert.fail(`log time went back: ${meta.at} after ${state.at}`);
  // Both throw, so they come before anything changes.
  const type: string = event.type;
  if (type === "stateHash" || type === "logCreated" || type === "configured") checkEvent(state, event);
  easePressure(state, meta.at);
  state.sequence += 1;
  state.at = meta.at;
  if ("itemId" in event || event.type === "renewed") applyOfItem(state, event, meta);
  else applyOfShard(state, event, meta);
  weighPressure(state, meta.at);
}

type ItemEvent = Extract<LogEvent, { readonly itemId: string }> | EventOf<"renewed">;

function applyOfItem(state: ShardState, event: ItemEvent, meta: EventMeta): void {
  switch (event.type) {
    case "enqueued":
      applyEnqueued(state, event, meta);
      break;
    case "leased":
      applyLeased(state, event, meta);
      break;
    case "renewed":
      applyRenewed(state, event, meta);
      break;
    case "completed":
      applyCompleted(state, event, meta);
      break;
    case "failed":
      applyFailed(state, event, meta);
      break;
    case "expired":
      applyExpired(state, event, meta);
      break;
    case "deadLettered":
      applyDeadLettered(state, event, meta);
      break;
    case "released":
      applyReleased(state, event, meta);
      break;
    case "cancelled":
      applyCancelled(state, event, meta);
      break;
    case "redriven":
      applyRedriven(state, event, meta);
      break;
    case "purged":
      applyPurged(state, event, meta);
      break;
  }
}

/** What is about no item. */
function applyOfShard(state: ShardState, event: Exclude<LogEvent, ItemEvent>, meta: EventMeta): void {
  switch (event.type) {
    case "logCreated":
      applyLogCreated(state, event);
      break;
    case "termStarted":
      applyTermStarted(state, event);
      break;
    case "termReleased":
      assert(event.term === state.term, `term ${event.term} released in term ${state.term}`);
      state.leader = "";
      break;
    case "configured":
      applyConfigured(state, event);
      break;
    case "paused":
    case "resumed":
      state.paused = event.type === "paused";
      break;
    case "drained":
    case "restored":
    case "discarded":
      applyDrain(state, event, meta);
      break;
    case "scheduled":
    case "unscheduled":
    case "tickSkipped":
      applySchedule(state, event, meta);
      break;
    case "stateHash":
      break;
  }
}

/** Applies all events of a frame. An empty frame moves only the time. Throws: see `apply`. */
export function applyFrame(state: ShardState, frame: Frame): void {
  assert(frame.first === state.sequence + 1, `frame begins at ${frame.first}, the state is at ${state.sequence}`);
  let index: number | undefined;
  let meta: EventMeta = { at: frame.at, actor: undefined };
  for (const event of frame.events) {
    // Not every event has one. Most events of a frame come in runs of one actor.
    const { actor } = event as { readonly actor?: number };
    if (actor !== index) meta = { at: frame.at, actor: actor === undefined ? undefined : frame.actors[actor] };
    index = actor;
    apply(state, event, meta);
  }
  assert(frame.at >= state.at, `log time went back: ${frame.at} after ${state.at}`);
  state.at = frame.at;
}

function checkEvent(state: ShardState, event: LogEvent): void {
  if (event.type === "stateHash") checkHash(state, event.hash);
  if (event.type === "logCreated" || event.type === "configured") checkVersion(event.logVersion ?? 0);
}

function checkHash(state: ShardState, expected: string): void {
  const actual = stateHash(state);
  if (actual === expected) return;
  throw new OperatingError("state_diverged", "the state differs from the one of the leader that wrote the log", {
    definite: true,
    details: { sequence: state.sequence, expected, actual },
  });
}

function checkVersion(logVersion: number): void {
  if (logVersion <= LOG_VERSION_MAX) return;
  throw new OperatingError("log_version_unsupported", "the log is newer than this program; upgrade it", {
    definite: true,
    details: { logVersion, supported: LOG_VERSION_MAX },
  });
}

function applyLogCreated(state: ShardState, event: EventOf<"logCreated">): void {
  assert(state.sequence === 1, `log created at sequence ${state.sequence}`);
  state.logId = state.intern(event.logId);
  state.logVersion = event.logVersion;
  // A log from before an option existed has its default.
  state.options = mergeOptions(SHARD_OPTIONS_DEFAULT, event.options);
  state.tokenEpoch = event.tokenEpoch;
}

function applyConfigured(state: ShardState, event: EventOf<"configured">): void {
  state.options = mergeOptions(state.options, event.options);
  state.logVersion = event.logVersion ?? state.logVersion;
  if (event.followers !== undefined) state.followers = mergeNamed(state.followers, event.followers);
  if (event.quotas !== undefined) setQuotas(state, mergeNamed(state.quotas, event.quotas));
  if (state.options.fairness === "off") state.ready.lanes.forgetShares();
  evictRecords(state);
}

function applyTermStarted(state: ShardState, event: EventOf<"termStarted">): void {
  assert(event.term > state.term, `term ${event.term} after term ${state.term}`);
  assert(event.tokenEpoch >= state.tokenEpoch, `token epoch ${event.tokenEpoch} after ${state.tokenEpoch}`);
  state.term = event.term;
  state.leader = event.leader;
  state.tokenEpoch = event.tokenEpoch;
}

function applyEnqueued(state: ShardState, event: EventOf<"enqueued">, meta: EventMeta): void {
  const { item: payload, itemId } = event;
  assert(meta.actor !== undefined, "an item is enqueued by somebody");
  if (numberOfItemId(itemId) !== tokenOf(state.tokenEpoch, state.sequence))
    assert.fail(`item id ${itemId} at sequence ${state.sequence}`);
  const principal = state.intern(meta.actor.principal);
  const { requestId, digest, schedule } = event;
  const item = newItem(state, payload, { enqueuedAt: meta.at, principal, requestId, digest }, schedule);
  const { dependsOn, onDependencyFailure } = payload;
  if (dependsOn !== undefined)
    setExtra(item, {
      flow: newFlow(
        state,
        dependsOn.map((named) => ({ itemId: named.itemId, outcome: "pending" })),
        onDependencyFailure,
      ),
    });
  admitItem(state, item, meta.at);
  if (event.schedule !== undefined) applyTick(state, event.schedule, meta.at);
}
