/** `omnirelay sink`: how far the sinks of the shards have come, and what an operator wishes of them. */
import { Command, Option } from "commander";
import { z } from "zod";
import { FollowerName } from "../../../contracts/followers.ts";
import { ShardName } from "../../../contracts/ids.ts";
import { type FollowerCheckpoint, readCheckpoints } from "../../jetstream/checkpoints.ts";
import { registeredShards } from "../../jetstream/registered-shards.ts";
import { parkedEvents } from "../../replication/parking.ts";
import { type SeekTarget, type SinkWish, wishOfSink } from "../../replication/sink-control.ts";
import { createSinkKinds } from "../../replication/sinks/mod.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { NATS_URL_DEFAULT } from "../../runtime/settings.ts";
import { integer, jsonOption, logTime, natsUrlOption, parsedBy, regionOption, shardOption } from "../arguments.ts";
import type { Done } from "../program.ts";
import { withConnection } from "../shard-client.ts";
import { aligned, safeText, type Terminal, timeText } from "../terminal.ts";

interface SinkOptions {
  readonly natsUrl: string;
  readonly region: string;
  readonly shard: string;
  readonly json: boolean;
}
type SeekOptions = SinkOptions & {
  readonly sequence?: number;
  readonly time?: number;
  readonly earliest?: true;
  readonly latest?: true;
};

const PARKED_LIMIT = 100;
const PARKED_LIMIT_MAX = 1_000_000;
const LIST_EXAMPLES = `
Reads the bucket omnirelay-checkpoints; the entries of followers that are no sinks are shown as well.

Examples:
  omnirelay sink list
  omnirelay sink list --json | jq -r 'select(.checkpoint.state == "stopped") | .follower'`;
const PAUSE_EXAMPLES = `
Nothing more is brought until it is resumed, also by a process that is started later. The log is kept for a registered sink, up to its limits.

Examples:
  omnirelay sink pause audit
  omnirelay sink resume audit --shard orders`;
const SEEK_EXAMPLES = `
The sink goes on with the events from there on. Those that it has had come again: a sink that keeps its place with its effects leaves out what it has,
others receive them twice. What was trimmed away from the log cannot be read again, and a sequence that the log has not reached is refused.

Examples:
  omnirelay sink seek audit --earliest
  omnirelay sink seek audit --sequence 1200
  omnirelay sink seek audit --time 2030-01-31T08:00:00Z`;
const PARKED_EXAMPLES = `
The oldest first. When the sink can take them, bring them again with seek.

Examples:
  omnirelay sink parked audit
  omnirelay sink parked audit --limit 1000 --json | jq -r .reason.code | sort | uniq -c`;

const KINDS_EXAMPLES = `
Examples:
  omnirelay sink kinds
  omnirelay sink kinds --json | jq 'select(.kind == "memory") | .options.properties'`;

export function sinkCommand(terminal: Terminal, done: Done): Command {
  return new Command("sink")
    .description("Show how far sinks have come; pause, resume and seek them.")
    .addCommand(listCommand(terminal, done))
    .addCommand(
      wishCommand(terminal, done, "pause", "Bring nothing more to a sink until it is resumed.", PAUSE_EXAMPLES),
    )
    .addCommand(
      wishCommand(
        terminal,
        done,
        "resume",
        "Let a sink go on that was paused, or stopped by its policy.",
        PAUSE_EXAMPLES,
      ),
    )
    .addCommand(seekCommand(terminal, done))
    .addCommand(parkedCommand(terminal, done))
    .addCommand(kindsCommand(terminal, done));
}

function kindsCommand(terminal: Terminal, done: Done): Command {
  return new Command("kinds")
    .description("Print the kinds of sinks that ship, and what their options are.")
    .addOption(jsonOption("one kind a line with the JSON Schema of its options, as JSON"))
    .addHelpText("after", KINDS_EXAMPLES)
    .action(({ json }: { readonly json: boolean }) => {
      const kinds = createSinkKinds().all;
      if (json)
        for (const { kind, summary, guarantee, options } of kinds) {
          const { $schema: _, ...schema } = z.toJSONSchema(options, { io: "input", unrepresentable: "any" });
          terminal.out(JSON.stringify({ kind, summary, guarantee, options: schema }));
        }
      else
        for (const line of aligned(kinds.map(({ kind, guarantee, summary }) => [kind, guarantee, summary])))
          terminal.out(line);
      done(EXIT_CODES.ok);
    });
}

function listCommand(terminal: Terminal, done: Done): Command {
  return new Command("list")
    .description("Print the checkpoint of each follower of each shard.")
    .addOption(natsUrlOption().default(NATS_URL_DEFAULT))
    .addOption(regionOption())
    .addOption(new Option("--shard <name>", "only this shard").argParser(parsedBy(ShardName)))
    .addOption(jsonOption("one checkpoint a line, as JSON"))
    .addHelpText("after", LIST_EXAMPLES)
    .action(async ({ natsUrl, region, shard, json }: Omit<SinkOptions, "shard"> & { readonly shard?: string }) => {
      await withConnection(natsUrl, async (connection) => {
        const shards =
          shard === undefined ? (await registeredShards(connection, region)).map((entry) => entry.shard) : [shard];
        const checkpoints = await readCheckpoints(connection, region, shards);
        if (json) for (const checkpoint of checkpoints) terminal.out(JSON.stringify(checkpoint));
        else for (const line of aligned(checkpoints.map(rowOf))) terminal.out(line);
      });
      done(EXIT_CODES.ok);
    });
}

function rowOf({ follower, shard, checkpoint }: FollowerCheckpoint): readonly string[] {
  if (checkpoint === undefined) return [shard, follower, "is no checkpoint"];
  const { state = "", sequence, at, owner = "", problem, parked = 0 } = checkpoint;
  return [
    shard,
    follower,
    state,
    `at sequence ${sequence}`,
    timeText(at),
    [
      owner === "" ? "nobody runs it" : `run by ${safeText(owner)}`,
      ...(parked > 0 ? [`${parked} parked`] : []),
      ...(problem === undefined ? [] : [`${safeText(problem.code)}: ${safeText(problem.message)}`]),
    ].join("; "),
  ];
}

/** A command about one sink of one shard. */
function ofSink(name: string, output: string): Command {
  return new Command(name)
    .argument("<sink>", "name of the sink", parsedBy(FollowerName))
    .addOption(natsUrlOption().default(NATS_URL_DEFAULT))
    .addOption(regionOption())
    .addOption(shardOption())
    .addOption(jsonOption(`${output}, as JSON`));
}

function wishCommand(
  terminal: Terminal,
  done: Done,
  kind: "pause" | "resume",
  description: string,
  examples: string,
): Command {
  return ofSink(kind, "the checkpoint")
    .description(description)
    .addHelpText("after", examples)
    .action(async (sink: string, options: SinkOptions) => {
      await wish(terminal, sink, options, { kind });
      done(EXIT_CODES.ok);
    });
}

function seekCommand(terminal: Terminal, done: Done): Command {
  const others = (...names: string[]): string[] => names;
  return ofSink("seek", "the checkpoint")
    .description("Send a sink to another place of the log.")
    .addOption(
      new Option("--sequence <sequence>", "the first event that it gets")
        .argParser(integer(1, Number.MAX_SAFE_INTEGER))
        .conflicts(others("time", "earliest", "latest")),
    )
    .addOption(
      new Option("--time <time>", "the events since then, by log time")
        .argParser(logTime)
        .conflicts(others("earliest", "latest")),
    )
    .addOption(new Option("--earliest", "all that is stored").conflicts("latest"))
    .addOption(new Option("--latest", "only what comes"))
    .addHelpText("after", SEEK_EXAMPLES)
    .action(async (sink: string, options: SeekOptions, command: Command) => {
      const to = targetOf(options);
      if (to === undefined) return command.error("error: give --sequence, --time, --earliest or --latest");
      await wish(terminal, sink, options, { kind: "seek", to });
      done(EXIT_CODES.ok);
    });
}

function targetOf({ sequence, time, earliest, latest }: SeekOptions): SeekTarget | undefined {
  if (sequence !== undefined) return { sequence };
  if (time !== undefined) return { atMs: time };
  if (earliest) return "earliest";
  return latest ? "latest" : undefined;
}

async function wish(terminal: Terminal, sink: string, options: SinkOptions, wanted: SinkWish): Promise<void> {
  const { natsUrl, region, shard, json } = options;
  const entry = await withConnection(natsUrl, (connection) => wishOfSink(connection, { sink, region, shard }, wanted));
  const place = entry.seek?.to.sequence ?? entry.sequence;
  if (json) terminal.out(JSON.stringify(entry));
  else terminal.out(`${sink} of ${region}/${shard}: ${wanted.kind} is wished, at sequence ${place}`);
}

function parkedCommand(terminal: Terminal, done: Done): Command {
  return ofSink("parked", "one event a line")
    .description("Print the events that a sink refused, with the reasons.")
    .addOption(
      new Option("--limit <count>", "at most so many").default(PARKED_LIMIT).argParser(integer(1, PARKED_LIMIT_MAX)),
    )
    .addHelpText("after", PARKED_EXAMPLES)
    .action(async (sink: string, options: SinkOptions & { readonly limit: number }) => {
      const { natsUrl, region, shard, json, limit } = options;
      await withConnection(natsUrl, async (connection) => {
        for await (const parked of parkedEvents(connection, { region, shard, sink }, limit))
          if (json) terminal.out(JSON.stringify(parked));
          else {
            const { event, reason } = parked;
            terminal.out(
              `${event.sequenceNumber}  ${event.eventType}  ${safeText(event.itemId ?? "")}  ${safeText(reason.code)}: ${safeText(reason.message)}`,
            );
          }
      });
      done(EXIT_CODES.ok);
    });
}
