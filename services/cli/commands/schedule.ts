/** `omnirelay schedule`: puts, lists and deletes schedules, and says when a cron expression ticks. */
import { Command, Option } from "commander";
import { REQUESTS, ScheduleItem } from "../../../contracts/commands.ts";
import { OperatingError } from "../../../contracts/errors.ts";
import { PAGE_SIZE_MAX } from "../../../contracts/limits.ts";
import { CATCH_UPS, ScheduleName, scheduleFields } from "../../../contracts/schedules.ts";
import type { ScheduleRecord } from "../../client/schedule-client.ts";
import { nextTick } from "../../runtime/cron.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { askCommand, integer, logTime, parsedBy } from "../arguments.ts";
import { givenFields, ITEM_OPTIONS, type ItemOptions, withItemOptions } from "../item-options.ts";
import type { Done } from "../program.ts";
import { type AskOptions, withClient } from "../shard-client.ts";
import { aligned, safeText, type Terminal, timeText } from "../terminal.ts";

interface SpecOptions {
  readonly cron: string;
  readonly timeZone?: string;
  readonly catchUp?: (typeof CATCH_UPS)[number];
  readonly paused?: boolean;
}
interface NextOptions {
  readonly timeZone: string;
  readonly count: number;
  readonly from?: number;
  readonly json: boolean;
}

const COUNT_DEFAULT = 5;
const COUNT_MAX = 1_000;
const PUT_EXAMPLES = `
A schedule of that name is replaced; the same again changes nothing. One that is paused goes on when it is put again without --paused.

Examples:
  omnirelay schedule put nightly --cron "0 3 * * *" --time-zone Europe/Berlin --resource-type reports --resource-id daily
  omnirelay schedule put poll --cron "*/10 * * * * *" --catch-up none --resource-type feed --resource-id a --unique-key poll-a`;
const LIST_EXAMPLES = `
Examples:
  omnirelay schedule list
  omnirelay schedule list --json | jq -r .name`;
const NEXT_EXAMPLES = `
Asks no server.

Examples:
  omnirelay schedule next "30 2 * * *" --time-zone Europe/Berlin --from 2030-03-30T00:00:00Z --count 3`;

export function scheduleCommand(terminal: Terminal, done: Done): Command {
  return new Command("schedule")
    .description("Enqueue items again and again, when a cron expression says so.")
    .addCommand(putCommand(terminal, done))
    .addCommand(listCommand(terminal, done))
    .addCommand(deleteCommand(terminal, done))
    .addCommand(nextCommand(terminal, done));
}

const zoneOption = (): Option =>
  new Option("--time-zone <name>", "IANA name of the zone; UTC by default").argParser(
    parsedBy(scheduleFields.timeZone),
  );

function putCommand(terminal: Terminal, done: Done): Command {
  const command = askCommand("put", "the reply")
    .description("Put a schedule: what it enqueues, and when.")
    .argument("<name>", "name of the schedule", parsedBy(ScheduleName))
    .addOption(
      new Option("--cron <expression>", "minute, hour, day of month, month, day of week; seconds may stand first")
        .argParser(parsedBy(scheduleFields.cron))
        .makeOptionMandatory(),
    )
    .addOption(zoneOption())
    .addOption(
      new Option("--catch-up <policy>", "ticks that nobody was there for: none, last (the default) or all").choices(
        CATCH_UPS,
      ),
    )
    .addOption(new Option("--paused", "it does not tick"));
  return withItemOptions(command)
    .addHelpText("after", PUT_EXAMPLES)
    .action(async (name: string, options: AskOptions & SpecOptions & ItemOptions, self: Command) => {
      const { cron, timeZone, catchUp, paused } = options;
      const item = ScheduleItem.safeParse(givenFields(options, ["resourceType", ...ITEM_OPTIONS]));
      if (!item.success) return self.error(`error: the item is not valid: ${problemsOf(item.error)}`);
      const spec = { name, cron, timeZone, catchUp, paused, item: item.data };
      const reply = await withClient(options, (client) => client.schedules.put(spec));
      if (options.json) terminal.out(JSON.stringify(reply));
      else {
        const state = reply.next === undefined ? "paused" : `next ${timeText(reply.next)}`;
        terminal.out(`${safeText(name)}: ${state}${reply.duplicate ? ", as it was before" : ""}`);
      }
      done(EXIT_CODES.ok);
    });
}

const problemsOf = ({ issues }: { readonly issues: readonly { path: readonly PropertyKey[]; message: string }[] }) =>
  issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ");

function listCommand(terminal: Terminal, done: Done): Command {
  return askCommand("list", "one schedule a line")
    .description("Print the schedules of a shard, by name, with their next ticks.")
    .addHelpText("after", LIST_EXAMPLES)
    .action(async (options: AskOptions) => {
      await withClient(options, async (client) => {
        let cursor: string | undefined;
        do {
          const page = await client.schedules.list({ limit: PAGE_SIZE_MAX, cursor });
          if (options.json) for (const schedule of page.schedules) terminal.out(JSON.stringify(schedule));
          else for (const line of aligned(page.schedules.map(rowOf))) terminal.out(line);
          cursor = page.cursor;
        } while (cursor !== undefined);
      });
      done(EXIT_CODES.ok);
    });
}

function rowOf({ name, cron, timeZone, catchUp, paused, next, item }: ScheduleRecord): readonly string[] {
  return [
    safeText(name),
    safeText(cron),
    safeText(timeZone),
    catchUp,
    next === undefined ? (paused ? "paused" : "stands still") : `next ${timeText(next)}`,
    safeText(`${item.resourceType} ${item.resourceId}`),
  ];
}

function deleteCommand(terminal: Terminal, done: Done): Command {
  return askCommand("delete", "the reply")
    .description("Delete a schedule. Items that it has enqueued stay.")
    .argument("<name>", "name of the schedule", parsedBy(REQUESTS["schedule-delete"].shape.name))
    .action(async (name: string, options: AskOptions) => {
      const reply = await withClient(options, (client) => client.schedules.delete(name));
      if (options.json) terminal.out(JSON.stringify(reply));
      else terminal.out(`${safeText(name)}: ${reply.deleted ? "deleted" : "there was none"}`);
      done(EXIT_CODES.ok);
    });
}

function nextCommand(terminal: Terminal, done: Done): Command {
  return new Command("next")
    .description("Print when a cron expression ticks next.")
    .argument("<expression>", "the cron expression", parsedBy(scheduleFields.cron))
    .addOption(zoneOption().default("UTC"))
    .addOption(new Option("--count <count>", "how many ticks").default(COUNT_DEFAULT).argParser(integer(1, COUNT_MAX)))
    .addOption(new Option("--from <time>", "ticks behind this time; now by default").argParser(logTime))
    .addOption(new Option("--json", "print only one time a line, in ms since 1970").default(false))
    .addHelpText("after", NEXT_EXAMPLES)
    .action((cron: string, { timeZone, count, from, json }: NextOptions) => {
      let at = from ?? Date.now();
      for (let index = 0; index < count; index += 1) {
        const tick = nextTick(cron, timeZone, at);
        if (typeof tick !== "number")
          throw new OperatingError("invalid_argument", `${tick.path}: ${tick.message}`, { definite: true });
        terminal.out(json ? String(tick) : timeText(tick));
        at = tick;
      }
      done(EXIT_CODES.ok);
    });
}
