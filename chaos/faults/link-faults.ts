/** Faults of the ways from dispatchers, clients and workers to the NATS servers, by the proxies between them. */

import { pause } from "../drill.ts";
import type { Mesh } from "../driver/mesh.ts";
import type { Direction, TcpProxy } from "../tcp-proxy.ts";
import { dispatchersOf } from "./dispatcher-faults.ts";
import { type FaultKind, numberParam, type PlannedFault, type Strike } from "./fault.ts";

/** How long a fault may wait for a dispatcher that it can strike: another fault may have killed them all. ms. */
const AWAKE_MS = 20_000;
const POLL_MS = 50;

interface Way {
  readonly target: string;
  readonly proxies: readonly TcpProxy[];
}

/** `clients` and `workers` are all of them; another word than a role is a party's own name. */
async function wayOf(mesh: Mesh, target: string, draw: () => number): Promise<Way> {
  const names =
    target === "leader" || target === "standby"
      ? [await awake(mesh, target, draw)]
      : target === "clients" || target === "workers"
        ? [...mesh[target].keys()]
        : [target];
  return { target: names.join("+"), proxies: names.flatMap((name) => mesh.links.of(name)) };
}

/** A dispatcher of that role, or another one if it stands still or is dead: who sends nothing shows no loss. Waits until there is one. */
async function awake(mesh: Mesh, role: string, draw: () => number): Promise<string> {
  const candidates = [...dispatchersOf(mesh, role, draw), ...mesh.dispatchers.values()];
  const endMs = performance.now() + AWAKE_MS;
  for (;;) {
    const found = candidates.find(({ isRunning, isStill }) => isRunning && !isStill);
    if (found !== undefined) return found.name;
    if (performance.now() > endMs) throw new Error("no dispatcher is awake");
    await pause(POLL_MS);
  }
}

/** What the proxies have counted since. */
function countersSince(proxies: readonly TcpProxy[]): () => Readonly<Record<string, number>> {
  const sum = () => {
    const all = proxies.map(({ counters }) => counters);
    const add = (of: (counters: TcpProxy["counters"]) => number): number =>
      all.reduce((total, counters) => total + of(counters), 0);
    return {
      accepted: add(({ accepted }) => accepted),
      forwardedBytes: add(({ forwardedBytes }) => forwardedBytes),
      lostUpBytes: add(({ lostBytes }) => lostBytes.up),
      lostDownBytes: add(({ lostBytes }) => lostBytes.down),
      delayedBytes: add(({ delayedBytes }) => delayedBytes),
      reset: add(({ reset }) => reset),
    };
  };
  const before = sum();
  return () => {
    const now = sum();
    return Object.fromEntries(
      Object.entries(now).map(([name, count]) => [name, count - before[name as keyof typeof before]]),
    );
  };
}

/** Cuts the proxies until the end, in both directions or one. */
export function cutProxies({ target, proxies }: Way, direction?: Direction): Strike {
  const counted = countersSince(proxies);
  for (const proxy of proxies) proxy.cut(direction);
  return {
    target,
    end: async () => {
      const evidence = counted();
      for (const proxy of proxies) proxy.heal();
      const lost = { up: evidence["lostUpBytes"] ?? 0, down: evidence["lostDownBytes"] ?? 0 };
      const applied = direction === undefined ? lost.up + lost.down > 0 : lost[direction] > 0;
      return { applied, evidence };
    },
  };
}

/** Makes everything take longer until the end. */
export function slowProxies({ target, proxies }: Way, fault: PlannedFault, random: () => number): Strike {
  const counted = countersSince(proxies);
  const delay = { latencyMs: numberParam(fault, "latencyMs"), jitterMs: numberParam(fault, "jitterMs"), random };
  for (const proxy of proxies) proxy.slow(delay);
  return {
    target,
    end: async () => {
      for (const proxy of proxies) proxy.heal();
      const evidence = counted();
      return { applied: (evidence["delayedBytes"] ?? 0) > 0, evidence };
    },
  };
}

function resetProxies({ target, proxies }: Way, fault: PlannedFault): Strike {
  const counted = countersSince(proxies);
  const reset = (): void => {
    for (const proxy of proxies) proxy.resetAll();
  };
  reset();
  const timer = setInterval(reset, numberParam(fault, "periodMs"));
  return {
    target,
    end: async () => {
      clearInterval(timer);
      const evidence = counted();
      return { applied: (evidence["reset"] ?? 0) > 0, evidence };
    },
  };
}

export const LINK_FAULTS = {
  "partition-dispatcher": {
    description: "cut off from all servers; nobody is told",
    area: "links",
    durationMs: [3_000, 10_000],
    targets: ["leader", "leader", "standby"],
    // As a pause: 1.1 to 1.6 s.
    writeGapMs: 4_000,
    movesLeader: true,
    strike: async (mesh, { target }, draw) => cutProxies(await wayOf(mesh, target, draw)),
  },
  "partition-client": {
    description: "one client or worker cut off from all servers",
    area: "links",
    durationMs: [3_000, 8_000],
    targets: ["c1", "c2", "w1", "w2"],
    // The other client goes on writing: 0.7 s.
    writeGapMs: 2_000,
    strike: async (mesh, { target }, draw) => cutProxies(await wayOf(mesh, target, draw)),
  },
  "one-way-loss": {
    description: "what goes to the servers (up), or what comes from them (down), is lost",
    area: "links",
    durationMs: [3_000, 9_000],
    targets: ["leader", "standby", "clients", "workers"],
    params: { direction: ["up", "down"] },
    // A leader that is not heard is replaced as one that is paused, 1.1 to 1.5 s; one that hears nothing has to find that out, 4.4 s.
    // Of the clients it takes both: workers go on for a while with what is there.
    writeGapMs: 7_000,
    stopsWrites: { clients: 4_000 },
    strike: async (mesh, { target, params }, draw) =>
      cutProxies(await wayOf(mesh, target, draw), params["direction"] as Direction),
  },
  latency: {
    description: "everything takes longer, unevenly",
    area: "links",
    durationMs: [6_000, 12_000],
    targets: ["leader", "standby", "clients", "workers"],
    params: { latencyMs: [20, 300], jitterMs: [0, 200] },
    // Every frame takes up to half a second each way: 1.0 s, and 1.7 s where leadership moves.
    writeGapMs: 4_000,
    strike: async (mesh, fault, draw) => slowProxies(await wayOf(mesh, fault.target, draw), fault, draw),
  },
  "reset-connections": {
    description: "connections are reset again and again",
    area: "links",
    durationMs: [4_000, 8_000],
    targets: ["leader", "standby", "clients", "workers"],
    params: { periodMs: [300, 1_500] },
    // Whoever is cut off is back before the next reset: 0.2 s.
    writeGapMs: 3_000,
    strike: async (mesh, fault, draw) => resetProxies(await wayOf(mesh, fault.target, draw), fault),
  },
} as const satisfies Readonly<Record<string, FaultKind>>;
