/** What a run of many seeds must have met at least once: a point that is never hit tests nothing. */
const COVERAGE_POINTS: readonly string[] = [
  // Appends whose outcome was open, and what became of them.
  "told_append_unclear",
  "append_timeout_committed",
  "append_timeout_lost",
  "append_refused_by_proposal",
  "wrong_last_was_mine",
  "proposal_lost_by_election",
  "read_stale_absent",
  "stream_full",
  // Leaders that come and go.
  "deposed",
  "told_handing_over",
  "handover_to_named",
  "told_leader_gone",
  "crash_append_before",
  "crash_append_after",
  "crash_ack_before",
  "crash_ack_after",
  "crash_publish",
  "crash_snapshot_offer",
  "crash_snapshot_publish",
  "start_refused_by_disk",
  // Readers.
  "gap_on_replica_read",
  "told_void_message",
  "told_snapshot_loaded",
  "told_snapshot_published",
  "told_log_trimmed",
  "told_log_trimmed_ahead",
  "told_follow_failed",
  "told_follow_stalled",
  "alarm_follower_detached",
  "told_registry_unread",
  // Clients and workers.
  "answered_on_repeat",
  "client_gave_up",
  "duplicate_recognised",
  "duplicate_across_leaders",
  "request_expired",
  "settle_repeated",
  "stale_settle",
  "stale_settle_after_regrant",
  "late_settle_honoured",
  "heartbeat_stale_token",
  "meddler_permission_denied",
  "meddler_stale_token",
  "zombie_write_refused",
  "backpressure",
  "log_pressure_refusal",
  "consistent_read",
  "final_hash_compared",
  "expiry_held_back",
];

export function missingPoints(coverage: ReadonlyMap<string, number>): readonly string[] {
  return COVERAGE_POINTS.filter((point) => (coverage.get(point) ?? 0) === 0);
}
