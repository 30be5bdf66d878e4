/** A failing run as the shrinker saves it: read strictly, so that a file of another kind is never taken for a run without a failure. */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { PROFILES, SEED_MAX } from "./plan.ts";
import type { SeedSpec } from "./seed-run.ts";

/** Wrong usage: told in its own words, without a trace. */
export class UsageError extends Error {}

/** Beside the spec stands what the run showed. */
const SavedRun = z.object({
  spec: z.strictObject({
    seed: z.int().min(0).max(SEED_MAX),
    profile: z.enum(PROFILES),
    overrides: z.record(z.string(), z.number().min(0).lt(1)).optional(),
    faultMsMax: z.number().min(0).optional(),
    isVerbose: z.boolean().optional(),
  }),
});

/** Throws: UsageError when there is no such file, or it holds no saved run. */
export function readSavedRun(path: string | URL): SeedSpec {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UsageError(`${String(path)} cannot be read: ${reason}`, { cause: error });
  }
  const parsed = SavedRun.safeParse(value);
  if (parsed.success) return parsed.data.spec;
  const { path: place = [], message } = parsed.error.issues[0] ?? {};
  throw new UsageError(`${String(path)} is no saved run: ${place.join(".") || "the whole"}: ${message}`);
}
