/** Turns what an audit of replicas found into sentences that say what to do: which copy to wipe, and when not to. */
import type { ReplicaAudit } from "./replica-audit.ts";
import type { ReplicaReport } from "./replica-comparison.ts";

export interface ReplicaAdvice {
  readonly code: "replica_differs" | "replica_behind" | "replica_unread" | "replicas_gap";
  /** The server that it is about; empty when it is about the whole stream. */
  readonly server: string;
  readonly text: string;
}

/** One entry for each replica that is not equal, and one for messages that no replica holds; empty when all is well. */
export function replicaAdvice(audit: ReplicaAudit): readonly ReplicaAdvice[] {
  const advice = audit.replicas.flatMap((report) => adviceFor(report, audit));
  if (audit.absent === 0) return advice;
  const text = `${counted(audit.absent)} of ${audit.stream} ${audit.absent === 1 ? "is" : "are"} on no replica, the first at ${audit.absentAt}; see: omnirelay log verify`;
  return [...advice, { code: "replicas_gap", server: "", text }];
}

function adviceFor(report: ReplicaReport, audit: ReplicaAudit): readonly ReplicaAdvice[] {
  const { server, verdict } = report;
  switch (verdict) {
    case "equal":
      return [];
    case "differs":
      return [{ code: "replica_differs", server, text: `${differenceText(report, audit)}; ${remedy(report, audit)}` }];
    case "behind":
      return [{ code: "replica_behind", server, text: behindText(report, audit) }];
    case "unread":
      return [{ code: "replica_unread", server, text: unreadText(report, audit) }];
  }
}

function differenceText({ server, missing, differsAt }: ReplicaReport, { stream }: ReplicaAudit): string {
  const [first] = missing.first;
  const parts = [
    ...(first === undefined
      ? []
      : [`lacks ${counted(missing.count)} that another replica holds, the first at ${first}`]),
    ...(differsAt === 0 ? [] : [`holds other bytes than the others at ${differsAt}`]),
  ];
  return `the copy of ${stream} on ${server} ${parts.join(" and ")}`;
}

/** A wiped copy is filled from the stream's leader: that must be a whole one, and the last whole copy must never be wiped. */
function remedy({ server }: ReplicaReport, { replicas, leader, stream }: ReplicaAudit): string {
  const whole = replicas.filter(({ verdict }) => verdict === "equal").map((report) => report.server);
  if (whole.length === 0)
    return "no replica is known to be whole: wipe none; make one of them lead at a time (nats stream cluster step-down) and prove it with omnirelay log verify";
  const lead =
    server === leader || !whole.includes(leader)
      ? `make ${whole.join(" or ")} lead (nats stream cluster step-down ${stream}), then `
      : "";
  return `${lead}stop ${server}, delete the folder streams/${stream} of the account below jetstream in its store_dir, start it again and let it catch up from ${whole.join(" or ")}; then audit again`;
}

function behindText({ server, last, missing }: ReplicaReport, { stream, to }: ReplicaAudit): string {
  const reach = last === 0 ? "holds nothing of what was looked at" : `ends at ${last}`;
  return `the copy of ${stream} on ${server} ${reach}, ${counted(missing.count)} short of ${to}: it is catching up, or cut off; if NATS calls it current (nats stream info), its end is damaged and it must be wiped like one that differs`;
}

function unreadText({ server, reason }: ReplicaReport, { stream }: ReplicaAudit): string {
  return `the copy of ${stream} on ${server} could not be read: ${reason ?? "no answer"}; start the server, or look at its log`;
}

const counted = (count: number): string => (count === 1 ? "1 message" : `${count} messages`);
