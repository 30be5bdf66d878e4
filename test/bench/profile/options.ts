/** What `npm run profile` takes, as one schema: every option with its unit, and a plain refusal of what is wrong. */
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { OperatingError } from "../../../contracts/errors.ts";

/** `batches`: 100 items per request, 16 requests in flight. `singles`: single calls of the SDK by 512 callers. `requests`: one raw request per verb and item. */
const SCENARIOS = ["batches", "singles", "requests"] as const;
export type Scenario = (typeof SCENARIOS)[number];

const Count = (most: number) => z.coerce.number().int().min(1).max(most);
const ProfileOptions = z.strictObject({
  scenarios: z
    .string()
    .default("batches")
    .transform((text) => text.split(","))
    .pipe(z.array(z.enum(SCENARIOS)).min(1))
    .describe(`what is driven, one or several, comma-separated: ${SCENARIOS.join(", ")}`),
  items: Count(10_000_000).default(60_000).describe("items of a run of batches; the other scenarios take a third"),
  runs: Count(1_000).default(5).describe("runs without a profiler, of which figures are the medians"),
  top: Count(1_000).default(25).describe("lines of each table of functions and files"),
  "snapshot-events": Count(1_000_000_000)
    .default(1_000_000_000)
    .describe(
      "events between two snapshots of the dispatcher; by default so many that none is taken while it is measured",
    ),
  against: z.string().min(1).optional().describe("folder of another checkout, measured in turn with this one"),
  figures: z.boolean().default(false).describe("figures only, no profiles"),
  out: z.string().min(1).optional().describe("folder for the raw .cpuprofile and .heapprofile files; none by default"),
  json: z.boolean().default(false).describe("one JSON document instead of tables"),
});
export type ProfileOptions = z.output<typeof ProfileOptions>;

const FLAGS = new Set(["figures", "json"]);

/** Throws `invalid_options` (definite) with each problem named, and with what may be said instead. */
export function profileOptions(args: readonly string[]): ProfileOptions {
  const names = Object.keys(ProfileOptions.shape);
  const known = names.map((name) => [name, { type: FLAGS.has(name) ? "boolean" : "string" } as const] as const);
  let values: object;
  try {
    values = parseArgs({ args: [...args], options: Object.fromEntries(known) }).values;
  } catch (cause) {
    throw refused(cause instanceof Error ? cause.message : String(cause), cause);
  }
  const parsed = ProfileOptions.safeParse(values);
  if (parsed.success) return usable(parsed.data);
  const problems = parsed.error.issues.map(({ path, message }) => `--${path.join(".")}: ${message}`);
  throw refused(problems.join("\n"));
}

/** What would fail only when all has been measured, or in a process that is started, fails here. */
function usable(options: ProfileOptions): ProfileOptions {
  const { against, out } = options;
  if (against !== undefined && !existsSync(join(against, "services/dispatcher/main.ts")))
    throw refused(`--against: ${against} is no checkout: it has no services/dispatcher/main.ts`);
  try {
    if (out !== undefined) mkdirSync(out, { recursive: true });
  } catch (cause) {
    throw refused(`--out: ${out} cannot be a folder: ${cause instanceof Error ? cause.message : cause}`, cause);
  }
  return options;
}

const refused = (problem: string, cause?: unknown): OperatingError =>
  new OperatingError("invalid_options", `${problem}\n${usage()}`, { definite: true, cause });

function usage(): string {
  return Object.entries(ProfileOptions.shape)
    .map(([name, schema]) => `  --${name}: ${schema.description ?? ""}`)
    .join("\n");
}
