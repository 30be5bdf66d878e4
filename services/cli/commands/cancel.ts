/** `omnirelay cancel`: ends items that are wanted no more. */
import { type Command, Option } from "commander";
import { REQUESTS } from "../../../contracts/commands.ts";
import { utf8Length } from "../../../contracts/ids.ts";
import type { LeaseClient } from "../../client/lease-client.ts";
import { requestRuns } from "../../client/request-runs.ts";
import { askCommand, itemIds, parsedBy } from "../arguments.ts";
import type { Done } from "../program.ts";
import { itemName, jsonResults, noteRefusals } from "../refusals.ts";
import { type AskOptions, withClient } from "../shard-client.ts";
import type { Terminal } from "../terminal.ts";

type CancelOptions = AskOptions & { readonly reason?: string };
type Results = Awaited<ReturnType<LeaseClient["cancelMany"]>>;

/** What the event of one item takes beside the reason, so that the events of a request fit a frame. */
const EVENT_BYTES = 1_024;
const EXAMPLES = `
A pending item or a dead letter ends at once. The holder of a leased item is told with its next heartbeat: it may still complete the item;
whatever else ends its lease ends the item as cancelled.

Examples:
  omnirelay cancel 3
  omnirelay cancel 3 4 --reason "ordered twice" --json | jq .ended
  omnirelay list --resource-type reports --all --json | jq -r .itemId | xargs -n 500 omnirelay cancel`;

export function cancelCommand(terminal: Terminal, done: Done): Command {
  return askCommand("cancel", "the counts and one result per item")
    .description("Cancel items by their ids.")
    .argument("<item...>", "item ids", itemIds)
    .addOption(
      new Option("--reason <text>", "kept with the event, for people").argParser(
        parsedBy(REQUESTS.cancel.shape.reason),
      ),
    )
    .addHelpText("after", EXAMPLES)
    .action(async (ids: readonly string[], options: CancelOptions) => {
      const { reason } = options;
      const eventBytes = EVENT_BYTES + utf8Length(JSON.stringify(reason ?? ""));
      const results = await withClient(options, async (client) => {
        const all: Results[number][] = [];
        for (const run of requestRuns(ids, () => eventBytes)) all.push(...(await client.cancelMany(run, { reason })));
        return all;
      });
      done(printResults(ids, results, options.json, terminal));
    });
}

function printResults(ids: readonly string[], results: Results, json: boolean, terminal: Terminal): number {
  const fresh = results.flatMap((result) => (result.kind === "ok" && !result.value.duplicate ? [result.value] : []));
  const ended = fresh.filter(({ outcome }) => outcome === "ended").length;
  const requested = fresh.length - ended;
  const refused = results.filter(({ kind }) => kind === "refused").length;
  const duplicates = results.length - fresh.length - refused;
  if (json)
    terminal.out(
      JSON.stringify({ items: results.length, ended, requested, duplicates, refused, results: jsonResults(results) }),
    );
  else
    terminal.out(
      `${ended} ended, ${requested} asked of their holders, ${duplicates} cancelled before, ${refused} refused`,
    );
  return noteRefusals(results, (index) => itemName(ids[index]), terminal);
}
