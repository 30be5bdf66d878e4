/** Bugs that the simulator must find: patches of the source that are applied while a module is loaded, so that the source itself stays clean. */
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";
import { CORE, NODE, PERSISTENCE, type Plant, plant } from "./plant.ts";
import { PLANTS_OF_DRAINS } from "./plants-of-drains.ts";
import { PLANTS_OF_ENDS } from "./plants-of-ends.ts";
import { PLANTS_OF_FLOWS } from "./plants-of-flows.ts";
import { PLANTS_OF_SCHEDULES } from "./plants-of-schedules.ts";
import { PLANTS_OF_SHARES } from "./plants-of-shares.ts";
import { PLANTS_OF_TERMS } from "./plants-of-terms.ts";

export const PLANTS: readonly Plant[] = [
  plant(
    "reply_before_ack",
    `${NODE}/leader-term.ts`,
    "if (open !== undefined && (open.events.length > 0 || this.#isOpenForced)) this.#openAnswers.push(waiting);",
    "if (open !== undefined && open.events.length > 0) this.#send(waiting);",
    "L7",
  ),
  plant(
    "append_without_expectation",
    "test/simulation/sim-log.ts",
    "this.#stream.append(payload, chain, expectedLast, answer, this.#hooks.fateOf());",
    "this.#stream.append(payload, chain, undefined, answer, this.#hooks.fateOf());",
    "L4",
  ),
  plant(
    "frame_applied_twice",
    `${CORE}/apply.ts`,
    "    apply(state, event, meta);",
    '    apply(state, event, meta);\n    if (event.type === "renewed") apply(state, event, meta);',
    "crash",
  ),
  plant(
    "foreign_frame_taken_for_own",
    `${NODE}/appender.ts`,
    "if (isSame(message.payload, attempt.payload)) {",
    "if (isSame(message.payload.subarray(0, 20), attempt.payload.subarray(0, 20))) {",
    "L7",
  ),
  plant(
    "foreign_frame_stepped_over",
    `${NODE}/appender.ts`,
    '} else if (verdict.kind === "frame") this.#finish(attempt, { kind: "deposed" });',
    '} else if (verdict.kind === "frame") {\n      this.#lastSequence = message.streamSequence;\n      this.#send(attempt);\n    }',
    "L4",
  ),
  plant(
    "expiry_without_proof",
    `${NODE}/lease-watch.ts`,
    "if (this.#proof.reachedMs < this.#dueMs) return false;",
    "",
    "F6",
  ),
  plant(
    "expiry_by_the_proof_of_another",
    `${NODE}/lease-watch.ts`,
    "const due = this.#deadlines.due(this.#dueCountedMs);",
    "const due = this.#deadlines.due(this.#clock.elapsed());",
    "F6",
  ),
  plant(
    "lease_runs_from_grant_by_log_time",
    `${NODE}/lease-watch.ts`,
    "this.#set(itemId, lease.token, lease.expiresAt - lease.renewedAt);\n  }\n\n  /** Ends",
    "this.#set(itemId, lease.token, lease.expiresAt - state.at);\n  }\n\n  /** Ends",
    "F6",
  ),
  plant(
    "validity_from_ack",
    `${NODE}/lease-watch.ts`,
    "Math.min(this.#deadlines.remaining(token, countedMs), lastsMs - (nowMs - this.#provenMs));",
    "this.#deadlines.remaining(token, countedMs) + 0 * lastsMs;",
    "F6",
  ),
  plant(
    "token_from_a_counter",
    `${CORE}/apply-lease.ts`,
    "    token: tokenOf(state.tokenEpoch, state.sequence),",
    "    token: tokenOf(state.tokenEpoch, state.active + 1),",
    "F1",
  ),
  plant(
    "dedupe_lost_on_failover",
    `${CORE}/apply.ts`,
    "  state.leader = event.leader;",
    "  state.leader = event.leader;\n  if (event.term % 2 === 0) (state.enqueueRequests as any).find = () => undefined;",
    "R1",
  ),
  plant("horizon_not_moved", `${CORE}/apply-item.ts`, "state.horizon = records.shift();", "records.shift();", "R1"),
  plant(
    "gap_skipped",
    `${NODE}/replica.ts`,
    "if (message.streamSequence !== this.streamSequence + 1) {",
    "if (message.streamSequence < this.streamSequence + 1) {",
    "halt",
  ),
  plant(
    "definite_refusal_without_confirmation",
    `${NODE}/leader-term.ts`,
    "if (outcome.confirm || consistent === true ||",
    "if (consistent === true ||",
    "F7",
  ),
  plant(
    "consistent_read_without_confirmation",
    `${NODE}/leader-term.ts`,
    "if (outcome.confirm || consistent === true ||",
    "if (outcome.confirm ||",
    "F7",
  ),
  plant(
    "serves_on_after_release",
    `${NODE}/leader-term.ts`,
    '    else if (this.#isStopping) answer(request, refusal("shutting_down", "the dispatcher lets go of the shard"));\n    return this.#isOver || this.#isStopping;',
    "    return this.#isOver;",
    "L6",
  ),
  plant(
    "void_message_halts",
    `${CORE}/log-reader.ts`,
    'if (candidate === undefined) return { kind: "void", reason: "unparsable" };',
    'if (candidate === undefined) return halt("log_fork", "no frame");',
    "halt",
  ),
  plant(
    "copy_of_the_past_halts",
    `${CORE}/log-reader.ts`,
    "if (term <= this.#tip.term && first <= this.#tip.first)",
    "if (term < this.#tip.term && first <= this.#tip.first)",
    "halt",
  ),
  plant(
    "second_frame_pipelined",
    `${NODE}/leader-term.ts`,
    "if (this.#flight !== undefined || open === undefined) return;",
    "if (open === undefined) return;",
    "crash",
  ),
  plant(
    "speculation_kept_when_deposed",
    `${NODE}/shard-node.ts`,
    'if (end.kind === "deposed" && end.dirty) {',
    'if (end.kind === "deposed" && end.dirty && end.kind !== "deposed") {',
    "crash",
  ),
  plant(
    "snapshot_before_its_ack",
    `${NODE}/snapshooter.ts`,
    "if (running.isWritten && running.streamSequence > 0)",
    "if (running.isWritten)",
    "S2",
  ),
  plant(
    "snapshot_mislabelled",
    `${NODE}/snapshooter.ts`,
    "if (this.#running?.place.chain === chain) this.#running.streamSequence = streamSequence;",
    "if (this.#running !== undefined && chain !== undefined) this.#running.streamSequence = streamSequence;",
    "S2",
  ),
  plant("snapshot_forgets_the_pause", `${CORE}/snapshot-load.ts`, "  state.paused = header.paused;", "", "S1"),
  plant(
    "trim_above_the_snapshots",
    `${NODE}/trimmer.ts`,
    "const upper = Math.min(snapshot?.streamSequence ?? 0, held, info.lastSequence);",
    "const upper = Math.min(held, info.lastSequence);",
    "L1",
  ),
  plant(
    "trim_past_a_follower",
    `${NODE}/trimmer.ts`,
    "else held = Math.min(held, Math.max(position, info.firstSequence));",
    "else held = Math.min(held, Math.max(position, Number.POSITIVE_INFINITY));",
    "K1",
  ),
  plant(
    "foreign_lease_accepted",
    `${CORE}/lease-check.ts`,
    "  if (lease.principal !== principal) return denied();\n  if (ref",
    "  if (ref",
    "F2",
  ),
  plant(
    "old_token_accepted",
    `${CORE}/lease-check.ts`,
    '  if (ref.token < lease.token) return stale("superseded");',
    "",
    "F2",
  ),
  plant(
    "expiry_not_charged",
    `${CORE}/apply-lease.ts`,
    '  item.charged += 1;\n  item.delayedTo = event.notBefore ?? item.delayedTo;\n  const end = { kind: "expired"',
    '  item.delayedTo = event.notBefore ?? item.delayedTo;\n  const end = { kind: "expired"',
    "Q6",
  ),
  plant(
    "partition_order_ignored",
    `${CORE}/ready.ts`,
    "    return key.head === item && !key.halted;",
    "    return key.head === item || !key.halted;",
    "Q5",
  ),
  plant(
    "granted_while_paused",
    `${CORE}/lease.ts`,
    '  if (state.paused) return replyEmpty(state, "paused");',
    "",
    "Q5",
  ),
  plant(
    "cap_per_peer_passed_in_a_batch",
    `${CORE}/lease.ts`,
    "const countMax = Math.min(request.maxItems, limit - held);",
    "const countMax = request.maxItems;",
    "Q7",
  ),
  plant(
    "repeat_of_a_lease_forgets_it",
    `${CORE}/lease.ts`,
    "known.items.filter((item) => item.lease?.request === known),",
    "known.items.filter((item) => item.lease?.request === known).slice(1),",
    "R2",
  ),
  plant(
    "log_time_from_the_wall_clock",
    `${NODE}/log-time.ts`,
    "this.#logMs = Math.max(lastAt, serverTimeMs);",
    "this.#logMs = clock.wallMs() + 0 * lastAt;",
    "crash",
  ),
  plant(
    "beat_judged_by_the_time_of_its_frame",
    `${CORE}/heartbeat.ts`,
    "if (!mustWrite && (now - lease.renewedAt) * 3 < lease.durationMs) return undefined;",
    "if (!mustWrite && (Math.min(now, at) - lease.renewedAt) * 3 < lease.durationMs) return undefined;",
    "F6",
  ),
  plant(
    "trimmed_place_taken_for_a_gap",
    `${NODE}/appender.ts`,
    'if (outcome.kind === "info" && isAbsent && outcome.info.firstSequence > this.#lastSequence + 1)',
    'if (outcome.kind === "info" && isAbsent && outcome.info.firstSequence > Number.MAX_SAFE_INTEGER)',
    "halt",
  ),
  plant(
    "commits_stay_in_memory",
    `${PERSISTENCE}/sqlite.ts`,
    'const { durability = "full",',
    'const { durability = "normal",',
    "S5",
  ),
  plant(
    "fence_lets_lower_tokens_through",
    `${PERSISTENCE}/fenced-store.ts`,
    "if (highestToken !== undefined && token < highestToken)",
    "if (highestToken !== undefined && token < 0)",
    "F4",
  ),
  plant(
    "fence_not_raised",
    `${PERSISTENCE}/fenced-store.ts`,
    "if (token !== highestToken) this.#raise.run(fenceKey, token);",
    "if (highestToken === undefined) this.#raise.run(fenceKey, token);",
    "F4",
  ),
  plant(
    "effect_not_remembered",
    `${PERSISTENCE}/fenced-store.ts`,
    "        this.#putEffect.run(effectId, fenceKey, token);",
    "",
    "K1",
  ),
  plant(
    "completed_before_its_effect",
    "test/simulation/sim-worker.ts",
    "shard.resource.write(holding.fenceKey, token, itemId);",
    "process.setTimer(1, () => shard.resource.write(holding.fenceKey, token, itemId));",
    "K1",
  ),
  plant(
    "late_beat_taken_for_a_second_process",
    `${NODE}/shard-node.ts`,
    "this.#ledTerm === 0 || beat.term <= this.#ledTerm",
    "beat.term < 1",
    "halt",
  ),
  plant(
    "beat_of_nobody_believed",
    `${NODE}/shard-node.ts`,
    "const isOfLog = beat.term === state.term && beat.leader === state.leader;",
    "const isOfLog = beat.term >= state.term;",
    "halt",
  ),
  plant(
    "reply_on_any_subject",
    `${NODE}/rpc-endpoint.ts`,
    "if (!isReplySubjectPermitted(message.reply)) {",
    'if (message.reply === "") {',
    "R5",
  ),
  plant("alarm_of_a_former_leader_stays", `${NODE}/upkeep.ts`, "    this.#trimmer?.resigned();", "", "V4"),
  plant(
    "quiet_standby_keeps_its_failure",
    `${NODE}/shard-node.ts`,
    "      this.#upkeep.quiet(this.#replica);",
    "",
    "V4",
  ),
  ...PLANTS_OF_TERMS,
  ...PLANTS_OF_ENDS,
  ...PLANTS_OF_FLOWS,
  ...PLANTS_OF_SHARES,
  ...PLANTS_OF_DRAINS,
  ...PLANTS_OF_SCHEDULES,
];

const ROOT = new URL("../../", import.meta.url);

/** How often the text that a plant replaces stands in its file. */
export function occurrences({ file, find }: Plant): number {
  return readFileSync(new URL(file, ROOT), "utf8").split(find).length - 1;
}

/** Lets every module that is loaded from now on carry the bug. Throws when there is nothing to replace. */
export function sow(name: string): void {
  const chosen = PLANTS.find((each) => each.name === name);
  if (chosen === undefined)
    throw new Error(`no plant is called ${name}; there are ${PLANTS.map((each) => each.name).join(", ")}`);
  if (occurrences(chosen) !== 1) throw new Error(`the text of the plant ${name} must stand in ${chosen.file} once`);
  const path = fileURLToPath(new URL(chosen.file, ROOT));
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context);
      if (!url.startsWith("file:") || fileURLToPath(url) !== path) return loaded;
      const text =
        typeof loaded.source === "string" ? loaded.source : new TextDecoder().decode(loaded.source as Uint8Array);
      return { ...loaded, source: text.replace(chosen.find, () => chosen.replace) };
    },
  });
}
