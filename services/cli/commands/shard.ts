/** `omnirelay shard`: who leads each shard, and handing one over. */
import { Command, Option } from "commander";
import { PeerId } from "../../../contracts/ids.ts";
import { connectNats } from "../../jetstream/connect.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { NATS_URL_DEFAULT, natsServers } from "../../runtime/settings.ts";
import { askCommand, jsonOption, natsUrlOption, parsedBy, regionOption } from "../arguments.ts";
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

export function shardCommand(terminal: Terminal, done: Done): Command {
  return new Command("shard")
    .description("Show who leads the shards, and hand one over.")
    .addCommand(listCommand(terminal, done))
    .addCommand(handoverCommand(terminal, done));
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
