/** The client process of the benchmarks: connects to one peer, runs what it is asked for, and ends when whoever started it is gone. */
import assert from "node:assert/strict";
import type { Answer, ClientRequest, LoadRequest, LoadResult, Request } from "./client-process.ts";
import { Conductor } from "./conductor.ts";
import { Items } from "./items.ts";
import { Meter } from "./meter.ts";
import type { Peer, PeerClient } from "./peers/peer.ts";
import { peerNamed } from "./peers/registry.ts";
import { scenarioNamed } from "./scenarios/registry.ts";
import type { Amounts } from "./scenarios/scenario.ts";

/** How long closing may take when the process ends. ms. */
const CLOSE_MS = 5_000;
/** How long no item may move beyond the time that a scenario rests. Above that of a drain, which knows better what it waits for. ms. */
const STALL_MS = 90_000;
const say = (answer: Answer): void => void process.send?.(answer);

interface Opened {
  readonly peer: Peer;
  readonly client: PeerClient;
  readonly request: ClientRequest;
  readonly conductor: Conductor;
}
let opened: Opened | undefined;

async function open(request: ClientRequest): Promise<void> {
  const { peer: name, base, url, durability, settings } = request;
  const peer = await peerNamed(name, base);
  assert(peer !== undefined, `there is a peer ${name}`);
  const client = await peer.connect(url, durability, settings);
  const conductor = new Conductor(client, (happening) => say({ kind: "happened", happening }));
  opened = { peer, client, request, conductor };
}

async function load(request: LoadRequest): Promise<LoadResult> {
  assert(opened !== undefined, "the client is connected first");
  const { peer, client } = opened;
  const { url, durability } = opened.request;
  const scenario = scenarioNamed(request.scenario);
  assert(scenario?.kind === "load", `${request.scenario} is a scenario that one client runs`);
  const items = new Items();
  const further: PeerClient[] = [];
  const stall = watchForStall(items, request.amounts);
  const loading = scenario.load({
    ...{ peer, client, items, amounts: request.amounts, seed: request.seed },
    meter: new Meter({ processes: request.processes, folder: request.folder }),
    connect: async (settings) => {
      const one = await peer.connect(url, durability, settings);
      further.push(one);
      return one;
    },
    report: (line) => say({ kind: "says", line }),
  });
  const cases = await Promise.race([loading, stall.promise]).finally(stall.end);
  await Promise.all(further.map((one) => one.close()));
  if (client.work !== undefined) items.assertWhole();
  return { cases, doubles: items.doubles, itemsMade: items.made };
}

/**
 * Rejects when no item has been made or seen for longer than any scenario rests: an answer that never comes, from a server that has ended for
 * instance, must not hold up the hours of a run.
 */
function watchForStall(items: Items, { seconds = 0 }: Amounts) {
  const boundMs = STALL_MS + seconds * 1_000;
  const { promise, reject } = Promise.withResolvers<never>();
  let before = -1;
  const look = (): void => {
    const now = items.made + items.seen + items.doubles;
    if (now === before) reject(new Error(`no item has moved for ${boundMs / 1_000} s, after ${items.made} were made`));
    before = now;
  };
  const timer = setInterval(look, boundMs);
  return { promise, end: () => clearInterval(timer) };
}

async function answer(request: Request): Promise<void> {
  try {
    if (request.kind === "load") return say({ kind: "done", result: await load(request) });
    if (request.kind === "open") await open(request);
    else await opened?.conductor.carryOut(request.order);
    say({ kind: "done" });
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    say({ kind: "refused", message: text });
  }
}

process.on("message", (request: Request) => void answer(request));
process.once("disconnect", () => {
  setTimeout(() => process.exit(1), CLOSE_MS).unref();
  void Promise.resolve(opened?.client.close())
    .catch(() => undefined)
    .then(() => process.exit(0));
});
