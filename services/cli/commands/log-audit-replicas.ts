/** `omnirelay log audit`: whether every NATS server holds the same copy of a shard's log, and which copy to wipe when not. */
import { Command, Option } from "commander";
import { connectNats } from "../../jetstream/connect.ts";
import { replicaAdvice } from "../../jetstream/replica-advice.ts";
import { auditReplicas, type ReplicaAudit } from "../../jetstream/replica-audit.ts";
import type { ReplicaReport } from "../../jetstream/replica-comparison.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { NATS_URL_DEFAULT, natsServers } from "../../runtime/settings.ts";
import { integer, jsonOption, natsUrlOption, regionOption, shardOption } from "../arguments.ts";
import { logBounds } from "../log-bounds.ts";
import type { Done } from "../program.ts";
import { aligned, safeText, type Terminal } from "../terminal.ts";

interface AuditOptions {
  readonly natsUrl: string;
  readonly region: string;
  readonly shard: string;
  readonly from: number;
  readonly to?: number;
  readonly json: boolean;
}

const SEQUENCE_MAX = Number.MAX_SAFE_INTEGER;
/** How long a replica that ends early may take to catch up before it counts as behind. ms. */
const PATIENCE_MS = 10_000;
const HELP = `
Reads each replica of the stream from its own server and compares them, byte by byte. NATS does not: a server that starts on a damaged block
may lead, and then the log misses what stood in it. Exit code 0: all replicas are equal. Exit code 1: one differs, stays behind for 10 s or
cannot be read; what to do is said on standard error. Whether the log itself is whole is shown by log verify.

Examples:
  omnirelay log audit
  omnirelay log audit --from 1000000 --json | jq '.replicas[] | select(.verdict != "equal")'`;

export function logAuditCommand(terminal: Terminal, done: Done): Command {
  return new Command("audit")
    .description("Compare the replicas of the log: what each NATS server holds.")
    .addOption(natsUrlOption().default(NATS_URL_DEFAULT))
    .addOption(regionOption())
    .addOption(shardOption())
    .addOption(new Option("--from <sequence>", "first stream sequence").default(1).argParser(integer(1, SEQUENCE_MAX)))
    .addOption(
      new Option("--to <sequence>", "last stream sequence (default: the end of the log)").argParser(
        integer(1, SEQUENCE_MAX),
      ),
    )
    .addOption(jsonOption("the report"))
    .addHelpText("after", HELP)
    .action(async (options: AuditOptions, command: Command) => {
      const audit = await auditOf(options, command);
      if (options.json) terminal.out(JSON.stringify(audit));
      else for (const line of auditLines(audit)) terminal.out(line);
      const advice = replicaAdvice(audit);
      for (const { code, text } of advice) terminal.note(`omnirelay: ${code}: ${safeText(text)}`);
      done(advice.length === 0 ? EXIT_CODES.ok : EXIT_CODES.failed);
    });
}

async function auditOf({ natsUrl, region, shard, from, to }: AuditOptions, command: Command): Promise<ReplicaAudit> {
  const connection = await connectNats({ servers: natsServers(natsUrl), name: "omnirelay log audit" });
  try {
    const { first, last } = await logBounds(connection, { region, shard });
    if (from > Math.max(1, last))
      return command.error(`error: --from ${from} is beyond the end: the stream holds ${first} to ${last}`);
    if (to !== undefined && to < from) return command.error(`error: --to ${to} is below --from ${from}`);
    return await auditReplicas(connection, {
      region,
      shard,
      from,
      to: Math.min(to ?? last, last),
      patienceMs: PATIENCE_MS,
    });
  } finally {
    await connection.close();
  }
}

function auditLines({ stream, from, to, leader, replicas }: ReplicaAudit): readonly string[] {
  if (replicas.length < 2) return [`${stream} has one replica: there is nothing to compare`];
  const head = `${stream}: stream sequences ${from} to ${to} on ${replicas.length} servers, led by ${leader}`;
  const rows = replicas.map((report) => [
    report.server,
    report.verdict === "equal" ? "equal" : report.verdict.toUpperCase(),
    `${report.messages} messages`,
    rangeText(report),
    report.agreesWith.length === 0 ? "agrees with none" : `agrees with ${report.agreesWith.join(", ")}`,
    problemText(report),
  ]);
  return [head, ...aligned(rows)];
}

const rangeText = ({ messages, first, last }: ReplicaReport): string => (messages === 0 ? "" : `${first} to ${last}`);

function problemText({ missing, differsAt, reason }: ReplicaReport): string {
  const more = missing.count > missing.first.length ? ", …" : "";
  return [
    ...(missing.count === 0 ? [] : [`lacks ${missing.count}: ${missing.first.join(", ")}${more}`]),
    ...(differsAt === 0 ? [] : [`other bytes at ${differsAt}`]),
    ...(reason === undefined ? [] : [reason]),
  ].join("; ");
}
