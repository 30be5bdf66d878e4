/** A client of a run: enqueues items at a steady pace, repeats what has an unknown outcome, and reads. */
import { pause, randomFrom } from "../drill.ts";
import { ItemWishes } from "./item-wishes.ts";
import { KnownItems, Operator } from "./operator.ts";
import { type Caller, runWorkload, type WorkloadParts } from "./workload.ts";

const LANES = 4;
/** Time between two requests of a lane, at least. ms. */
const PERIOD_MS = 160;
/** Rest before the same is sent again. ms. */
const REPEAT_MS = 150;
/** So often a request of unknown outcome is sent again; what is given up earlier stays unknown for ever. */
const REPEATS_MAX = 40;
const ITEMS_MAX = 3;
const RESOURCES = 8;
const PARTITIONS = 6;
/** The one client that is an operator too. */
const OPERATING = "c1";

/** Parts of the requests. */
const GIVEN_UP = 0.25;
const STATS = 0.08;
const REPEATED_AFTER_OK = 0.05;
/** Parts of the reads, and how many events ahead of what is known some of them ask for. */
const CONSISTENT = 0.5;
const AHEAD = 0.2;
const AHEAD_MAX = 3;

type Draw = () => number;
type Body = Readonly<Record<string, unknown>>;

async function runLane(parts: WorkloadParts, known: KnownItems, index: number): Promise<void> {
  const { settings, caller, isSettling } = parts;
  const wishes = new ItemWishes(settings.features, settings.seed + index * 7_919);
  const draw = randomFrom(settings.seed + index * 7_919);
  const name = `${settings.name}-${index}`;
  const own: Caller = { name, isPatient: index === 0 };
  for (let count = 1; !isSettling(); count += 1) {
    const startMs = performance.now();
    if (draw() < STATS) await caller.call(own, "stats", readRequest(caller.knownSequence, draw));
    else {
      const request = enqueueRequest(`${name}-${count}`, draw, wishes);
      const isOk = await enqueue(parts, known, own, request, draw);
      if (isOk && draw() < REPEATED_AFTER_OK) await caller.call(own, "enqueue", request);
    }
    await pause(Math.max(0, PERIOD_MS - (performance.now() - startMs)));
  }
}

/** Current, or from a state that has what this process knows; sometimes from one that the shard comes to only now, or not in time. */
function readRequest(knownSequence: number, draw: Draw): Body {
  const isConsistent = draw() < CONSISTENT;
  const minSequence = knownSequence + (draw() < AHEAD ? 1 + Math.floor(draw() * AHEAD_MAX) : 0);
  if (!isConsistent) return { minSequence };
  return draw() < 0.5 ? { consistent: true } : { consistent: true, minSequence };
}

/** Sends the same until its outcome is known, or it is given up. */
async function enqueue(
  { caller }: WorkloadParts,
  known: KnownItems,
  own: Caller,
  request: Body,
  draw: Draw,
): Promise<boolean> {
  const isGivenUp = draw() < GIVEN_UP;
  for (let repeat = 0; repeat <= REPEATS_MAX; repeat += 1) {
    const outcome = await caller.call(own, "enqueue", request);
    if (outcome.type === "ok") {
      known.add(outcome.reply);
      return true;
    }
    if (outcome.type === "info" && isGivenUp) return false;
    await pause(REPEAT_MS);
  }
  return false;
}

function enqueueRequest(requestId: string, draw: Draw, wishes: ItemWishes): Body {
  const count = 1 + Math.floor(draw() * ITEMS_MAX);
  const one = (index: number) => ({ ...item(`${requestId}-${index}`, draw), ...wishes.ofItem(Date.now()) });
  return { requestId, items: Array.from({ length: count }, (_, index) => one(index)) };
}

/** Most items are independent; some exclude each other by resource, some are in order by partition. */
function item(id: string, draw: Draw): Body {
  const kind = draw();
  const common = { resourceType: "table", body: JSON.stringify({ id }) };
  if (kind < 0.6) return { ...common, resourceId: id };
  if (kind < 0.85)
    return { ...common, resourceId: `shared-${Math.floor(draw() * RESOURCES)}`, exclusivity: "resource" };
  const partitionKey = `p${Math.floor(draw() * PARTITIONS)}`;
  return { ...common, resourceId: id, partitionKey, exclusivity: "partition" };
}

await runWorkload(async (parts) => {
  const known = new KnownItems();
  const lanes = Array.from({ length: LANES }, (_, index) => runLane(parts, known, index));
  if (parts.settings.principal === OPERATING) lanes.push(new Operator(parts, known).run());
  await Promise.all(lanes);
});
