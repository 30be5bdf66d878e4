/** `omnirelay quota`: what groups and quota keys may take of a shard together. */
import { Command, InvalidArgumentError, Option } from "commander";
import { LEASES_PER_PEER_MAX, QUOTA_COUNT_MAX, QUOTA_WEIGHT_MAX } from "../../../contracts/limits.ts";
import { type Quota, QuotaName, QuotasPatch } from "../../../contracts/quotas.ts";
import type { QuotaRecord } from "../../client/shard-admin.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { askCommand, integer, parsedBy } from "../arguments.ts";
import type { Done } from "../program.ts";
import { type AskOptions, withClient } from "../shard-client.ts";
import { aligned, safeText, type Terminal, timeText } from "../terminal.ts";

type Rate = NonNullable<Quota["rate"]>;
type SetOptions = AskOptions & Pick<Quota, "leasesMax" | "weight"> & { readonly rate?: Rate; readonly burst?: number };

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SET_EXAMPLES = `
NAME is group/NAME or key/NAME, by the group and the quotaKey of items; group/* and key/* are for each one that has no quota of its own. A quota that is
set takes the place of the one before as a whole. It holds at once for what waits; leases that live are let be.

Examples:
  omnirelay quota set key/warehouse --leases-max 5
  omnirelay quota set group/acme --rate 100/m --burst 20 --weight 3
  omnirelay quota set "group/*" --leases-max 50`;
const LIST_EXAMPLES = `
Examples:
  omnirelay quota list
  omnirelay quota list --json | jq -r 'select(.leased == .quota.leasesMax) | .name'`;

export function quotaCommand(terminal: Terminal, done: Done): Command {
  return new Command("quota")
    .description("Limit what groups and quota keys take together.")
    .addCommand(setCommand(terminal, done))
    .addCommand(listCommand(terminal, done))
    .addCommand(removeCommand(terminal, done));
}

function setCommand(terminal: Terminal, done: Done): Command {
  return askCommand("set", "the name and the quota")
    .description("Set the quota of one name.")
    .argument("<name>", "group/NAME or key/NAME", parsedBy(QuotaName))
    .addOption(
      new Option("--leases-max <count>", "leases at once; 0 grants none").argParser(integer(0, LEASES_PER_PEER_MAX)),
    )
    .addOption(new Option("--rate <rate>", "grants per time, such as 10/s, 100/m or 5/250ms").argParser(rate))
    .addOption(
      new Option("--burst <count>", "grants at once after a pause; as many as the rate counts by default").argParser(
        integer(1, QUOTA_COUNT_MAX),
      ),
    )
    .addOption(
      new Option("--weight <weight>", "share of a group beside the others").argParser(integer(1, QUOTA_WEIGHT_MAX)),
    )
    .addHelpText("after", SET_EXAMPLES)
    .action(async (name: string, options: SetOptions, command: Command) => {
      const quota = quotaOf(name, options, command);
      await withClient(options, (client) => client.configure({}, { quotas: { [name]: quota } }));
      if (options.json) terminal.out(JSON.stringify({ name, quota }));
      else terminal.out(`shard ${options.shard}: ${safeText(name)} ${quotaText(quota)}`);
      done(EXIT_CODES.ok);
    });
}

function listCommand(terminal: Terminal, done: Done): Command {
  return askCommand("list", "one quota a line")
    .description("Print the quotas by name, with the leases that are taken of each.")
    .addHelpText("after", LIST_EXAMPLES)
    .action(async (options: AskOptions) => {
      await withClient(options, async (client) => {
        const rows: (readonly string[])[] = [];
        for await (const quota of client.quotasAll())
          if (options.json) terminal.out(JSON.stringify(quota));
          else rows.push(rowOf(quota));
        for (const line of aligned(rows)) terminal.out(line);
      });
      done(EXIT_CODES.ok);
    });
}

function removeCommand(terminal: Terminal, done: Done): Command {
  return askCommand("remove", "the name")
    .description("Remove the quota of one name.")
    .argument("<name>", "group/NAME or key/NAME", parsedBy(QuotaName))
    .addHelpText("after", "\nExamples:\n  omnirelay quota remove group/acme")
    .action(async (name: string, options: AskOptions) => {
      await withClient(options, (client) => client.configure({}, { quotas: { [name]: null } }));
      if (options.json) terminal.out(JSON.stringify({ name }));
      else terminal.out(`shard ${options.shard}: ${safeText(name)} has no quota of its own`);
      done(EXIT_CODES.ok);
    });
}

/** `10/s` or `5/250ms`. */
function rate(value: string): Rate {
  const [, count = "", number = "1", unit = ""] = /^(\d{1,16})\/(\d{1,9})?(ms|s|m|h|d)$/.exec(value) ?? [];
  const unitMs = UNIT_MS[unit];
  if (unitMs === undefined) throw new InvalidArgumentError("must be COUNT/TIME, such as 10/s, 100/m or 5/250ms");
  return { count: integer(1, QUOTA_COUNT_MAX)(count), perMs: Number(number) * unitMs };
}

function quotaOf(name: string, { leasesMax, rate: given, burst, weight }: SetOptions, command: Command): Quota {
  if (burst !== undefined && given === undefined) command.error("error: --burst goes with --rate");
  if (leasesMax === undefined && given === undefined && weight === undefined)
    command.error("error: give --leases-max, --rate or --weight");
  const flow = given === undefined || burst === undefined ? given : { ...given, burst };
  const quota = { leasesMax, rate: flow, weight };
  const parsed = QuotasPatch.safeParse({
    [name]: Object.fromEntries(Object.entries(quota).filter(([, value]) => value !== undefined)),
  });
  if (!parsed.success) command.error(`error: ${parsed.error.issues.map(({ message }) => message).join("; ")}`);
  return parsed.data?.[name] as Quota;
}

function rowOf({ name, quota, leased, until }: QuotaRecord): readonly string[] {
  const waits = until === undefined ? "" : `, the next grant at ${timeText(until)}`;
  return [safeText(name), quotaText(quota), `${leased} leased${waits}`];
}

function quotaText({ leasesMax, rate: flow, weight }: Quota): string {
  const parts = [
    ...(leasesMax === undefined ? [] : [`at most ${leasesMax} leases`]),
    ...(flow === undefined ? [] : [`${flow.count} grants per ${flow.perMs} ms, ${flow.burst ?? flow.count} at once`]),
    ...(weight === undefined ? [] : [`weight ${weight}`]),
  ];
  return parts.join(", ");
}
