/** `omnirelay explain`: why an item is not running. */
import type { Command } from "commander";
import { ItemId } from "../../../contracts/ids.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { askCommand, parsedBy } from "../arguments.ts";
import type { Done } from "../program.ts";
import { type AskOptions, withClient } from "../shard-client.ts";
import { aligned, safeText, type Terminal, timeText } from "../terminal.ts";

const EXAMPLES = `
Examples:
  omnirelay explain 3
  omnirelay explain 3 --json | jq -r '.holds[].hold'`;

export function explainCommand(terminal: Terminal, done: Done): Command {
  return askCommand("explain", "the reply")
    .description("Say why an item is not running: what holds it back, until when, and which item or peer it is.")
    .argument("<item>", "item id", parsedBy(ItemId))
    .addHelpText("after", EXAMPLES)
    .action(async (itemId: string, options: AskOptions) => {
      const reply = await withClient(options, (client) => client.explain(itemId));
      if (options.json) terminal.out(JSON.stringify(reply));
      else {
        terminal.out(`item ${safeText(itemId)} is ${safeText(reply.status)}`);
        const rows = reply.holds.map(({ hold, message, until }) => [
          safeText(hold),
          until === undefined ? "" : `until ${timeText(until)}`,
          safeText(message),
        ]);
        for (const line of aligned(rows)) terminal.out(line);
      }
      done(EXIT_CODES.ok);
    });
}
