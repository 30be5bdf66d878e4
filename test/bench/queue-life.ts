/** The life of an item in the core alone: enqueue, lease, complete, in batches of 100 over a backlog. Once for a checkout and a kind of queue. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** `plain`: no option set. `fair`: 20 groups that take turns, one with a quota; `fairPartitions`: and every item in one of 5,000 partitions. */
export const KINDS = ["plain", "fair", "fairPartitions"] as const;
export type Kind = (typeof KINDS)[number];

export const BATCH = 100;
const BODY = JSON.stringify({ table: "db.orders.1", partition: "p1", rows: "x".repeat(180) });

/** What a checkout has to have, from the first release on. */
interface Core {
  readonly createState: () => State;
  readonly createLog: (state: State, log: object, moment: object, sink: object) => void;
  readonly execute: (state: State, command: object, context: object, sink: object) => { readonly reply?: unknown };
  readonly defaults: object;
}
interface State {
  readonly pending: number;
}

async function loadCore(checkout: string): Promise<Core> {
  const load = (path: string) => import(pathToFileURL(join(checkout, path)).href);
  const [{ createState }, { createLog }, { execute }, { SHARD_OPTIONS_DEFAULT }] = await Promise.all([
    load("services/core/state.ts"),
    load("services/core/term.ts"),
    load("services/core/execute.ts"),
    load("contracts/options.ts"),
  ]);
  return { createState, createLog, execute, defaults: SHARD_OPTIONS_DEFAULT };
}

/** Items per second of one run over a backlog of `depth` items. */
function runLife(core: Core, kind: Kind, items: number, depth: number): number {
  const state = core.createState();
  const sink = { actor: () => 0, push: () => {} };
  const context = { at: 1_000, principal: "worker", peerId: "worker" };
  const fairness = kind === "plain" ? {} : { fairness: "groups" };
  core.createLog(state, { logId: "log-1", options: { ...core.defaults, ...fairness }, tokenEpoch: 0 }, context, sink);
  const run = (verb: string, request: object) => core.execute(state, { verb, request }, context, sink).reply;
  if (kind !== "plain") run("configure", { options: {}, quotas: { "group/g0": { leasesMax: 1_000 } } });
  let made = 0;
  const enqueue = (): void => {
    run("enqueue", { items: Array.from({ length: BATCH }, () => itemOf(kind, made++)) });
  };
  while (state.pending < depth) enqueue();
  const from = performance.now();
  for (let done = 0; done < items; done += BATCH) {
    enqueue();
    const { leases } = run("lease", { maxItems: BATCH, waitMs: 0 }) as { leases: { itemId: string; token: number }[] };
    if (leases.length !== BATCH) throw new Error(`${leases.length} of ${BATCH} items were leased`);
    run("complete", { leases: leases.map(({ itemId, token }) => ({ itemId, token })) });
  }
  return (items * 1_000) / (performance.now() - from);
}

export function itemOf(kind: Kind, index: number): object {
  const item = { resourceType: `t${index % 4}`, resourceId: `r${index}`, body: BODY };
  if (kind === "plain") return item;
  const fair = { ...item, group: `g${index % 20}` };
  return kind === "fair" ? fair : { ...fair, exclusivity: "partition", partitionKey: `p${index % 5_000}` };
}

/** Rounds until the code is compiled as it will stay. */
const WARM_UP = 3;

/** As a program: `queue-life.ts CHECKOUT KIND ITEMS DEPTH` prints items per second. */
if (import.meta.main) {
  const [checkout = "", kind = "", items, depth] = process.argv.slice(2);
  const core = await loadCore(checkout);
  for (let round = 0; round < WARM_UP; round += 1) runLife(core, kind as Kind, Number(items), Number(depth));
  process.stdout.write(`${runLife(core, kind as Kind, Number(items), Number(depth))}\n`);
}
