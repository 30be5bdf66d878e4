/** `omnirelay shard`: who leads each shard, handing one over, and its options. */
import { Command, InvalidArgumentError, Option } from "commander";
import { PeerId } from "../../../contracts/ids.ts";
import { LOG_VERSION_MAX } from "../../../contracts/limits.ts";
import { ShardOptionsPatch } from "../../../contracts/options.ts";
import { connectNats } from "../../jetstream/connect.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { nearest } from "../../runtime/nearest.ts";
import { NATS_URL_DEFAULT, natsServers } from "../../runtime/settings.ts";
import { askCommand, integer, jsonOption, natsUrlOption, parsedBy, regionOption } from "../arguments.ts";
import type { Done } from "../program.ts";
import { type AskOptions, withClient } from "../shard-client.ts";
import { type ShardSight, surveyShards } from "../shard-survey.ts";
import { aligned, safeText, type Terminal } from "../terminal.ts";

interface ListOptions {
  readonly natsUrl: string;
  readonly region: string;
  readonly json: boolean;
}

const LIST_EXAMPLES = `
Listens to the dispatchers for a second: how far a follower is behind is as of its last word, at most half a second old.

Examples:
  omnirelay shard list
  omnirelay shard list --json | jq -r 'select(.leader == null) | .shard'`;
const HANDOVER_EXAMPLES = `
Returns once the release stands in the log; the successor then takes over at once. Nothing that waits is lost: clients ask the successor. It is
refused when nobody, or not the one that is named, follows the shard closely enough. The shard stays where it was handed to for ten minutes
while that dispatcher lives; after that it is spread like the others. To empty a dispatcher, stop it (SIGTERM).

Examples:
  omnirelay shard handover --shard default
  omnirelay shard handover --shard orders --to dispatcher-2 --json | jq -r .successor`;

const CONFIGURE_EXAMPLES = `
The options of a shard are state: they stand in its log, and every dispatcher goes by them (docs/reference.md lists them). A new state version lets the log
hold what older releases cannot read: raise it once every dispatcher and every registered follower is upgraded. It is never lowered.

Examples:
  omnirelay shard configure --shard orders maxAttempts=10 retry=exponential retryFirstMs=1000 retryMaxMs=60000
  omnirelay shard configure ageingMs=60000 --json | jq .options.ageingMs
  omnirelay shard configure --log-version 2`;

export function shardCommand(terminal: Terminal, done: Done): Command {
  return new Command("shard")
    .description("Show who leads the shards, hand one over, and change options.")
    .addCommand(listCommand(terminal, done))
    .addCommand(handoverCommand(terminal, done))
    .addCommand(configureCommand(terminal, done));
}

function listCommand(terminal: Terminal, done: Done): Command {
  return new Command("list")
    .description("Print each registered shard with its leader, its place and its followers.")
    .addOption(natsUrlOption().default(NATS_URL_DEFAULT))
    .addOption(regionOption())
    .addOption(jsonOption("one shard a line, as JSON"))
    .addHelpText("after", LIST_EXAMPLES)
    .action(async ({ natsUrl, region, json }: ListOptions) => {
      const connection = await connectNats({ servers: natsServers(natsUrl), name: "omnirelay shard" });
      try {
        const shards = await surveyShards(connection, region);
        if (json) for (const shard of shards) terminal.out(JSON.stringify(shard));
        else for (const line of aligned(shards.map(rowOf))) terminal.out(line);
      } finally {
        await connection.close();
      }
      done(EXIT_CODES.ok);
    });
}

function rowOf({ region, shard, leader, term, sequence, followers, lastKnown }: ShardSight): readonly string[] {
  const remembered = lastKnown === null ? "" : `, last ${safeText(lastKnown.leader)} in term ${lastKnown.term}`;
  const followed = followers.map(
    ({ peer, behind, stopping }) => `${safeText(peer)} (${stopping ? "stopping" : `${behind} behind`})`,
  );
  return [
    `${region}/${shard}`,
    leader === null
      ? `led by nobody${remembered}`
      : `led by ${safeText(leader)} in term ${term}, at sequence ${sequence}`,
    followed.length === 0 ? "followed by nobody" : `followed by ${followed.join(", ")}`,
  ];
}

function handoverCommand(terminal: Terminal, done: Done): Command {
  return askCommand("handover", "the reply")
    .description("Hand a shard over to another dispatcher, in order and without losing anything.")
    .addOption(
      new Option("--to <peer>", "the dispatcher that should lead; the one that leads least by default").argParser(
        parsedBy(PeerId),
      ),
    )
    .addHelpText("after", HANDOVER_EXAMPLES)
    .action(async (options: AskOptions & { readonly to?: string }) => {
      const { to, shard, json } = options;
      const reply = await withClient(options, (client) => client.handover({ to }));
      const { term, sequence, successor } = reply;
      if (json) terminal.out(JSON.stringify(reply));
      else terminal.out(`shard ${shard}: term ${term}, sequence ${sequence}: ${safeText(successor)} leads next`);
      done(EXIT_CODES.ok);
    });
}

type ConfigureOptions = AskOptions & { readonly logVersion?: number };

function configureCommand(terminal: Terminal, done: Done): Command {
  return askCommand("configure", "the reply, with all options")
    .description("Change options of a shard: those that are named.")
    .argument("[name=value...]", "options", optionPatch)
    .addOption(
      new Option("--log-version <version>", "raise the state version of the log to this").argParser(
        integer(1, LOG_VERSION_MAX),
      ),
    )
    .addHelpText("after", CONFIGURE_EXAMPLES)
    .action(async (patches: readonly ShardOptionsPatch[], options: ConfigureOptions, command: Command) => {
      const patch: ShardOptionsPatch = Object.assign({}, ...patches);
      const { logVersion, shard, json } = options;
      const named = Object.keys(patch);
      if (named.length === 0 && logVersion === undefined)
        command.error("error: give options as name=value, or --log-version");
      const reply = await withClient(options, (client) => client.configure(patch, { logVersion }));
      const now: Readonly<Record<string, unknown>> = reply.options;
      const changes = named.map((name) => `${name}=${String(now[name])}`);
      if (logVersion !== undefined) changes.push(`state version ${logVersion}`);
      if (json) terminal.out(JSON.stringify(reply));
      else terminal.out(`shard ${shard}: ${changes.join(", ")}`);
      done(EXIT_CODES.ok);
    });
}

/** Adds one `name=value` to those before it. */
function optionPatch(value: string, before: readonly ShardOptionsPatch[] = []): readonly ShardOptionsPatch[] {
  const [, name = "", text = ""] = /^(\w+)=(.*)$/s.exec(value) ?? [];
  if (!Object.hasOwn(ShardOptionsPatch.shape, name)) {
    const guess = nearest(name, Object.keys(ShardOptionsPatch.shape));
    throw new InvalidArgumentError(
      name === ""
        ? "must be name=value"
        : `there is no such option${guess === undefined ? "" : `; did you mean ${guess}?`}`,
    );
  }
  const patch = { [name]: /^\d{1,16}$/.test(text) ? Number(text) : text };
  return [...before, parsedBy(ShardOptionsPatch)(patch)];
}
