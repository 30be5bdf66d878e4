/** `omnirelay bodies`: the object store bucket of bodies that are too large for their items. */
import { Command, Option } from "commander";
import { BODY_BUCKET } from "../../../contracts/subjects.ts";
import { BODY_HOLD_MS } from "../../client/body-store.ts";
import { SWEEP_GRACE_MS_DEFAULT, type SweepProgress, type SweepReport, sweepBodies } from "../../client/body-sweep.ts";
import { provisionBodies } from "../../jetstream/body-bucket.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { NATS_URL_DEFAULT } from "../../runtime/settings.ts";
import { integer, jsonOption, natsUrlOption, principalOption } from "../arguments.ts";
import type { Done } from "../program.ts";
import { ProgressBar } from "../progress-bar.ts";
import { withConnection } from "../shard-client.ts";
import type { Terminal } from "../terminal.ts";

interface CreateOptions {
  readonly natsUrl: string;
  readonly replicas: number;
  readonly maxBytes: number;
}
interface SweepCommandOptions {
  readonly natsUrl: string;
  readonly principal: string;
  readonly graceMs: number;
  readonly dryRun: boolean;
  readonly json: boolean;
}

const GRACE_MS_MIN = 2 * BODY_HOLD_MS;
const GRACE_MS_MAX = 365 * 86_400_000;
const CREATE_EXAMPLES = `
An existing bucket stays as it is.

Examples:
  omnirelay bodies create
  omnirelay bodies create --replicas 3 --max-bytes 10737418240`;
const SWEEP_EXAMPLES = `
Removes bodies that no unfinished item names, and what unfinished uploads have left: after crashes, and of items that were cancelled or purged. All registered
shards are asked; while one does not answer nothing is removed. It can be repeated, and ended, at any time. Run it daily.

Examples:
  omnirelay bodies sweep --dry-run
  omnirelay bodies sweep --json | jq .orphanBytes`;

export function bodiesCommand(terminal: Terminal, done: Done): Command {
  return new Command("bodies")
    .description("Keep the bodies that are too large for their items: create their bucket, remove orphans.")
    .addCommand(createCommand(terminal, done))
    .addCommand(sweepCommand(terminal, done));
}

function createCommand(terminal: Terminal, done: Done): Command {
  return new Command("create")
    .description("Create the object store bucket for large bodies.")
    .addOption(natsUrlOption().default(NATS_URL_DEFAULT))
    .addOption(new Option("--replicas <count>", "copies of each body").default(1).argParser(integer(1, 5)))
    .addOption(
      new Option("--max-bytes <bytes>", "limit of the bucket; -1 for none")
        .default(-1)
        .argParser(integer(-1, Number.MAX_SAFE_INTEGER)),
    )
    .addHelpText("after", CREATE_EXAMPLES)
    .action(async ({ natsUrl, ...options }: CreateOptions) => {
      await withConnection(natsUrl, (connection) => provisionBodies(connection, options));
      terminal.out(`the bucket ${BODY_BUCKET} is there`);
      done(EXIT_CODES.ok);
    });
}

function sweepCommand(terminal: Terminal, done: Done): Command {
  return new Command("sweep")
    .description("Remove large bodies that no item refers to any more.")
    .addOption(natsUrlOption().default(NATS_URL_DEFAULT))
    .addOption(principalOption("cli"))
    .addOption(
      new Option("--grace-ms <ms>", "leave alone what was written since then")
        .default(SWEEP_GRACE_MS_DEFAULT)
        .argParser(integer(GRACE_MS_MIN, GRACE_MS_MAX)),
    )
    .addOption(new Option("--dry-run", "only say what would be removed").default(false))
    .addOption(jsonOption("the report, as JSON"))
    .addHelpText("after", SWEEP_EXAMPLES)
    .action(async ({ natsUrl, principal, graceMs, dryRun, json }: SweepCommandOptions) => {
      const bar = new ProgressBar(terminal.isInteractive, "{step}: {value} of {total}");
      const onProgress = ({ step, done: value, total }: SweepProgress): void => bar.show(value, total, { step });
      const report = await withConnection(natsUrl, (connection) =>
        sweepBodies({ connection, principal, graceMs, isDryRun: dryRun, onProgress }),
      ).finally(() => bar.close());
      if (json) terminal.out(JSON.stringify(report));
      else terminal.out(reportText(report, dryRun));
      done(EXIT_CODES.ok);
    });
}

function reportText({ bodies, young, inUse, orphans, orphanBytes, leftovers }: SweepReport, isDryRun: boolean): string {
  const verb = isDryRun ? "would be removed" : "removed";
  return `${bodies} bodies: ${inUse} in use, ${young} too young, ${orphans} orphans ${verb} (${orphanBytes} bytes), ${leftovers} leftovers ${verb}`;
}
