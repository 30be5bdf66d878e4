/** What the items of one group or of one quota key may take together: leases at once, grants per time, a share. Part of a shard's state. */
import { z } from "zod";
import { wellFormed } from "./ids.ts";
import {
  DELAY_MS_MAX,
  GROUP_LENGTH_MAX,
  LEASES_PER_PEER_MAX,
  QUOTA_COUNT_MAX,
  QUOTA_WEIGHT_MAX,
  QUOTAS_MAX,
} from "./limits.ts";

/** A group or a quota key of an item. */
export const GroupName = wellFormed(z.string().min(1).max(GROUP_LENGTH_MAX));

export const QUOTA_KINDS = ["group", "key"] as const;
export type QuotaKind = (typeof QUOTA_KINDS)[number];
/** After the slash: the quota of all groups, or keys, that have none of their own. */
export const QUOTA_OF_OTHERS = "*";

export const quotaName = (kind: QuotaKind, name: string): string => `${kind}/${name}`;
export const QuotaName = wellFormed(z.string().max(GROUP_LENGTH_MAX + 6)).refine(
  (name) => /^(group|key)\/./su.test(name),
  {
    error: "must be group/NAME, key/NAME, or group/* and key/* for all that have no quota of their own",
  },
);

/** A bucket of `burst` grants, full at first, that `count` grants per `perMs` flow into. */
const Rate = z
  .strictObject({
    count: z.int().min(1).max(QUOTA_COUNT_MAX).describe("Grants in each `perMs`."),
    perMs: z.int().min(1).max(DELAY_MS_MAX).describe("ms."),
    burst: z
      .int()
      .min(1)
      .max(QUOTA_COUNT_MAX)
      .optional()
      .describe("Grants at once after a pause; as many as `count` by default."),
  })
  .refine(({ count, perMs, burst = count }) => (burst / count) * perMs <= DELAY_MS_MAX, {
    error: `the burst would take more than ${DELAY_MS_MAX} ms to come back`,
    path: ["burst"],
  });

export const Quota = z.strictObject({
  leasesMax: z
    .int()
    .min(0)
    .max(LEASES_PER_PEER_MAX)
    .optional()
    .describe("Leases at once; 0 grants none. Absent: as many as there are workers."),
  rate: Rate.optional().describe("Grants per time, first attempts and later ones alike."),
  weight: z
    .int()
    .min(1)
    .max(QUOTA_WEIGHT_MAX)
    .optional()
    .describe("Of a group with fairness on: its grants in each round, beside those of the others; 1 by default."),
});
export type Quota = Readonly<z.infer<typeof Quota>>;

/** A change of some quotas by name; null removes one. */
export const QuotasPatch = z
  .record(z.string(), Quota.nullable())
  .refine((patch) => Object.keys(patch).every((name) => QuotaName.safeParse(name).success), {
    error: "a quota is named group/NAME or key/NAME, or group/* and key/* for all that have none of their own",
  })
  .refine((patch) => Object.keys(patch).length <= QUOTAS_MAX, { error: `at most ${QUOTAS_MAX} quotas` })
  .refine(
    (patch) => Object.entries(patch).every(([name, quota]) => quota?.weight === undefined || name.startsWith("group/")),
    { error: "only a group has a weight" },
  );
export type QuotasPatch = Readonly<z.infer<typeof QuotasPatch>>;
