/**
 * Finds the large bodies that no item refers to any more and removes them: those of enqueues that never came, and of items that have ended.
 *
 * A body is an orphan when it is older than the time for which its enqueue may be on its way, and no unfinished item of any shard names it.
 * All shards are asked, because an item can move to another one with its reference; while one of them does not answer nothing is removed.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import { BODY_ATTRIBUTE } from "../../contracts/body-reference.ts";
import { BodyBucket, type StoredBody } from "../jetstream/body-bucket.ts";
import { registeredShards } from "../jetstream/registered-shards.ts";
import { LeaseClient } from "./lease-client.ts";

export interface SweepOptions {
  /** Left open. */
  readonly connection: NatsConnection;
  /** Who asks the shards. `anonymous` by default. */
  readonly principal?: string | undefined;
  /** Bodies that were written later are left alone. ms; an hour by default. Below ten minutes an enqueue may be under way: for tests. */
  readonly graceMs?: number | undefined;
  /** How long each question to a shard may take. ms; 30,000 by default. */
  readonly timeoutMs?: number | undefined;
  /** Says what would be removed, and removes nothing. */
  readonly isDryRun?: boolean | undefined;
  readonly onProgress?: ((progress: SweepProgress) => void) | undefined;
}
export interface SweepProgress {
  /** `items`: looking through the shards, `total` of them. `bodies`: removing. */
  readonly step: "items" | "bodies";
  readonly done: number;
  readonly total: number;
}
export interface SweepReport {
  /** Bodies in the bucket when the sweep began. */
  readonly bodies: number;
  /** Of these, too young to be looked at. */
  readonly young: number;
  /** Named by an unfinished item. */
  readonly inUse: number;
  /** Orphans; removed unless it was a dry run. */
  readonly orphans: number;
  readonly orphanBytes: number;
  /** Unfinished uploads and removals; removed likewise. */
  readonly leftovers: number;
}

export const SWEEP_GRACE_MS_DEFAULT = 3_600_000;
const PAGE_SIZE = 1_000;

/** Throws: OperatingError `bodies_not_provisioned`, `registry_missing`, `unavailable`, and what JetStream answers. It may be repeated, also after a crash. */
export async function sweepBodies(options: SweepOptions): Promise<SweepReport> {
  const { connection, graceMs = SWEEP_GRACE_MS_DEFAULT, isDryRun = false, onProgress } = options;
  const bucket = await BodyBucket.open(connection);
  try {
    // Before the items: a body that is old by now was enqueued by now, or never will be.
    const { count, bodies, leftovers } = await bucket.aged(graceMs);
    const named = bodies.length === 0 ? new Set<string>() : await namedBodies(options);
    const orphans = bodies.filter(({ name }) => !named.has(name));
    if (!isDryRun) {
      for (const [done, body] of orphans.entries()) {
        onProgress?.({ step: "bodies", done, total: orphans.length });
        await bucket.remove(body);
      }
      for (const subject of leftovers) await bucket.removeLeftover(subject);
    }
    return {
      ...{ bodies: count, young: count - bodies.length, inUse: bodies.length - orphans.length },
      ...{ orphans: orphans.length, orphanBytes: bytesOf(orphans), leftovers: leftovers.length },
    };
  } finally {
    await bucket.close();
  }
}

const bytesOf = (bodies: readonly StoredBody[]): number => bodies.reduce((sum, { bytes }) => sum + bytes, 0);

/** The bodies that unfinished items of any shard name. */
async function namedBodies({ connection, principal, timeoutMs, onProgress }: SweepOptions): Promise<Set<string>> {
  const named = new Set<string>();
  const shards = await registeredShards(connection);
  for (const [done, { shard }] of shards.entries()) {
    onProgress?.({ step: "items", done, total: shards.length });
    const client = await LeaseClient.connect({ connection, shard, principal, timeoutMs });
    try {
      // A deposed leader does not know of what its successor was given: no page may be older than this.
      const { sequence: minSequence } = await client.stats({ consistent: true });
      for await (const { item } of client.listAll({ limit: PAGE_SIZE }, { minSequence })) {
        const name = item?.attributes[BODY_ATTRIBUTE];
        if (name !== undefined) named.add(name);
      }
    } finally {
      await client.close();
    }
  }
  return named;
}
