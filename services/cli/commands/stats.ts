/** `omnirelay stats`: the counts of one shard. */
import type { Command } from "commander";
import type { ReplyOf } from "../../../contracts/replies.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { askCommand } from "../arguments.ts";
import type { Done } from "../program.ts";
import { type AskOptions, withClient } from "../shard-client.ts";
import { aligned, safeText, type Terminal, timeText } from "../terminal.ts";

export function statsCommand(terminal: Terminal, done: Done): Command {
  return askCommand("stats", "the reply")
    .description("Print the counts, the leader and the options of a shard.")
    .option("--consistent", "confirm through the log that the answer is current", false)
    .addHelpText("after", "\nExamples:\n  omnirelay stats\n  omnirelay stats --shard default --json | jq .pending")
    .action(async (options: AskOptions & { readonly consistent: boolean }) => {
      const { consistent } = options;
      const stats = await withClient(options, (client) => client.stats({ consistent }));
      if (options.json) terminal.out(JSON.stringify(stats));
      else for (const line of aligned(rowsOf(stats))) terminal.out(line);
      done(EXIT_CODES.ok);
    });
}

function rowsOf(stats: ReplyOf<"stats">): readonly (readonly (string | number)[])[] {
  const {
    shard,
    region,
    leader,
    term,
    sequence,
    logId,
    pending,
    active,
    deadLettered,
    enqueued,
    completed,
    bodyBytes,
  } = stats;
  const changed = Object.entries(stats.options).map(([name, value]) => `${name}=${String(value)}`);
  return [
    ["shard", `${region}/${shard}`],
    ["leader", `${leader} (term ${term})`],
    ["sequence", `${sequence} of log ${logId}, ${timeText(stats.at)}`],
    ["granting", grantingOf(stats)],
    ["taking items", takingOf(stats)],
    [
      "pending",
      `${pending}${stats.oldestPendingAt === undefined ? "" : `, oldest from ${timeText(stats.oldestPendingAt)}`}`,
    ],
    ["leased", String(active)],
    ["dead letters", String(deadLettered)],
    ["enqueued", `${enqueued} in all`],
    ["completed", `${completed} in all`],
    ["bodies", `${bodyBytes} bytes`],
    ["state hash", stats.stateHash],
    ["options", changed.join(", ")],
  ];
}

function grantingOf({ paused, drain }: ReplyOf<"stats">): string {
  const why = [
    ...(paused ? ["paused"] : []),
    ...(drain === undefined ? [] : [`draining for ${safeText(drain.drainId)}, which holds ${drain.marked} items`]),
  ];
  return why.length === 0 ? "yes" : why.join(", ");
}

/** Whether new items are taken; a leader of an older release does not say. */
function takingOf({ backpressure, options }: ReplyOf<"stats">): string {
  if (backpressure === undefined) return "unknown";
  const { active, since, pendingLow, bodyBytesLow } = backpressure;
  if (!active) return "yes";
  const lows = [
    ...(options.pendingHigh === 0 || pendingLow === undefined ? [] : [`${pendingLow} pending items`]),
    ...(options.bodyBytesHigh === 0 || bodyBytesLow === undefined ? [] : [`${bodyBytesLow} bytes of bodies`]),
  ];
  const until = lows.length === 0 ? "" : `, until at most ${lows.join(" and ")} are left`;
  return `no, backpressure${since === undefined ? "" : ` since ${timeText(since)}`}${until}`;
}
