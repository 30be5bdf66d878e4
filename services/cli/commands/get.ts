/** `omnirelay get`: items by their ids, with their bodies. */
import type { Command } from "commander";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { askCommand, itemIds } from "../arguments.ts";
import type { Done } from "../program.ts";
import { type AskOptions, withClient } from "../shard-client.ts";
import { safeText, type Terminal } from "../terminal.ts";

export function getCommand(terminal: Terminal, done: Done): Command {
  return askCommand("get", "one record a line")
    .description("Print items by their ids. An item that the shard does not know is told, and the exit code is 1.")
    .argument("<item...>", "item ids", itemIds)
    .addHelpText("after", "\nExamples:\n  omnirelay get 3\n  omnirelay get 3 4 --json | jq .status")
    .action(async (ids: readonly string[], options: AskOptions) => {
      let code: number = EXIT_CODES.ok;
      await withClient(options, async (client) => {
        // One at a time: a reply has a limit, and bodies may be large.
        for (const itemId of ids) {
          const [result] = await client.getMany([itemId]);
          if (result?.kind === "ok") terminal.out(JSON.stringify(result.value, null, options.json ? 0 : 2));
          else {
            terminal.note(
              `omnirelay: item ${JSON.stringify(itemId)}: ${safeText(result?.error.message ?? "no answer")}`,
            );
            code = EXIT_CODES.failed;
          }
        }
      });
      done(code);
    });
}
