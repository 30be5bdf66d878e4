/** Turns stored messages into lines for people and into JSON for programs. */
import type { EventOf, LogEvent } from "../../contracts/events.ts";
import type { Frame } from "../../contracts/frame.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import type { Verdict } from "../core/log-reader.ts";
import { safeText, timeText } from "./terminal.ts";

/**
 * One JSON object: `{ streamSequence, chain, frame }`; `{ streamSequence, void }` with the reason for what is no frame of the chain;
 * `{ streamSequence, halt, reason }` for what no reader goes beyond. Only what is genuine has a `frame`.
 */
export function jsonOf({ streamSequence }: LogMessage, verdict: Verdict): string {
  if (verdict.kind === "frame") return JSON.stringify({ streamSequence, chain: verdict.chain, frame: verdict.frame });
  if (verdict.kind === "void") return JSON.stringify({ streamSequence, void: verdict.reason });
  return JSON.stringify({ streamSequence, halt: verdict.code, reason: verdict.message });
}

/** One line for the frame and one for each of its events. */
export function linesOf(message: LogMessage, verdict: Verdict): readonly string[] {
  if (verdict.kind === "void") return [`${message.streamSequence}  void message: ${safeText(verdict.reason)}`];
  if (verdict.kind === "halt")
    return [`${message.streamSequence}  NOT PART OF THE CHAIN: ${verdict.code}: ${safeText(verdict.message)}`];
  const { frame } = verdict;
  const { term, writer, count, pending, active } = frame;
  const events = count === 1 ? "1 event" : `${count} events`;
  const head = `${message.streamSequence}  ${timeText(frame.at)}  term ${term}  ${safeText(writer)}  ${events}  pending ${pending}  leased ${active}`;
  return [head, ...frame.events.map((event, index) => `    ${frame.first + index}  ${eventText(event, frame)}`)];
}

function eventText(event: LogEvent, frame: Frame): string {
  const actor = "actor" in event ? event.actor : "askedBy" in event ? event.askedBy : undefined;
  const peer = actor === undefined ? undefined : frame.actors[actor]?.peerId;
  const by = peer === undefined ? "" : `  by ${safeText(peer)}`;
  return `${event.type}${safeText(detailOf(event))}${by}`;
}

function detailOf(event: LogEvent): string {
  switch (event.type) {
    case "enqueued":
      return ` ${event.itemId} ${event.item.resourceType} ${event.item.resourceId}${event.schedule === undefined ? "" : `, tick of ${event.schedule.name}`}`;
    case "leased":
      return ` ${event.itemId} ${event.resourceType} ${event.resourceId}, attempt ${event.attempt}, until ${timeText(event.expiresAt)}`;
    case "renewed":
      return ` ${event.leases.map((lease) => lease.itemId).join(" ")}`;
    case "released":
      return ` ${event.itemId} ${event.resourceType} ${event.resourceId}, token ${event.token}${event.reason === undefined ? "" : `, ${event.reason}`}`;
    case "completed":
      return ` ${event.itemId} ${event.resourceType} ${event.resourceId}, token ${event.token}`;
    case "failed":
      return ` ${event.itemId} ${event.resourceType} ${event.resourceId}, token ${event.token}: ${event.outcome}: ${event.reason}`;
    case "expired":
      return ` ${event.itemId} ${event.resourceType} ${event.resourceId}, token ${event.token}: ${event.outcome}, ${event.reason}`;
    case "deadLettered":
      return ` ${event.itemId} ${event.resourceType} ${event.resourceId}: ${event.reason}`;
    case "cancelled":
      return ` ${event.itemId} ${event.resourceType} ${event.resourceId}: ${event.outcome}${event.reason === undefined ? "" : `, ${event.reason}`}`;
    case "redriven":
    case "purged":
      return ` ${event.itemId} ${event.resourceType} ${event.resourceId}`;
    case "scheduled":
      return ` ${event.name}: ${event.cron} ${event.timeZone}, ${nextText(event)}`;
    case "unscheduled":
      return ` ${event.name}`;
    case "tickSkipped":
      return ` ${event.name} ${timeText(event.tick)}: ${event.reason}, ${nextText(event)}`;
    case "logCreated":
      return ` ${event.logId}`;
    case "termStarted":
    case "termReleased":
      return ` ${event.term} ${event.leader}`;
    case "configured":
      return ` ${JSON.stringify(event.options)}${event.logVersion === undefined ? "" : `, state version ${event.logVersion}`}`;
    case "stateHash":
      return ` ${event.hash}`;
    case "drained":
      return ` ${event.drainId}, leases ${event.leases}`;
    case "restored":
      return ` ${event.drainId}${event.entry === undefined ? "" : `: ${restoredText(event.entry)}`}`;
    case "discarded":
      return ` ${event.drainId}: ${event.itemIds.join(" ")}`;
    case "paused":
    case "resumed":
      return "";
  }
}

function restoredText({ itemId, item, origin }: NonNullable<EventOf<"restored">["entry"]>): string {
  return `${itemId} ${item.resourceType} ${item.resourceId}, from ${origin.itemId} of ${origin.logId}`;
}
const nextText = ({ next }: { readonly next?: number | undefined }): string =>
  next === undefined ? "no next tick" : `next ${timeText(next)}`;
