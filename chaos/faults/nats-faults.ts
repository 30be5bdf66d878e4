/** Faults of the NATS servers, one server at a time: killed, paused, cut off from the others, restarted in order. */

import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { isStopped } from "../../infra/nats-server/process-state.ts";
import type { Mesh } from "../driver/mesh.ts";
import { type FaultKind, keptFor, type PlannedFault, type Strike, type StrikeEnd } from "./fault.ts";
import { cutProxies, slowProxies } from "./link-faults.ts";

async function serverOf(mesh: Mesh, role: string, draw: () => number): Promise<NatsServer> {
  const leader = await mesh.stream.leader();
  if (role === "leader") return leader;
  const others = mesh.servers.filter((server) => server !== leader);
  return others[Math.floor(draw() * others.length)] ?? leader;
}

/** The next fault of a server must find all replicas up to date, or two of three would be behind. */
async function whenWhole(mesh: Mesh, { applied, evidence }: StrikeEnd): Promise<StrikeEnd> {
  const start = performance.now();
  await mesh.stream.whole();
  const leader = (await mesh.stream.leader()).serverName;
  return { applied, evidence: { ...evidence, wholeAfterMs: Math.round(performance.now() - start), leader } };
}

async function killServer(mesh: Mesh, { target }: PlannedFault, draw: () => number): Promise<Strike> {
  const server = await serverOf(mesh, target, draw);
  const { pid, exited } = server;
  await server.kill();
  const { signal } = await exited;
  return {
    target: server.serverName,
    end: async () => {
      await server.restart();
      return whenWhole(mesh, { applied: signal === "SIGKILL", evidence: { pid, signal, restarted: server.pid } });
    },
  };
}

async function pauseServer(mesh: Mesh, { target }: PlannedFault, draw: () => number): Promise<Strike> {
  const server = await serverOf(mesh, target, draw);
  await server.pause();
  return {
    target: server.serverName,
    end: async () => {
      const stillStands = await isStopped(server.pid);
      server.resume();
      return whenWhole(mesh, { applied: stillStands, evidence: { pid: server.pid, stillStands } });
    },
  };
}

async function isolateServer(mesh: Mesh, { target }: PlannedFault, draw: () => number): Promise<Strike> {
  const { serverName } = await serverOf(mesh, target, draw);
  const strike = cutProxies({ target: serverName, proxies: mesh.links.routes(mesh.servers, serverName) });
  return { target: serverName, end: async () => whenWhole(mesh, await strike.end()) };
}

/** Lame duck: a server hands over what it leads, sends its clients away and ends. The stream's leader goes first. */
async function rollServers(mesh: Mesh): Promise<Strike> {
  const leader = await mesh.stream.leader();
  const servers = [leader, ...mesh.servers.filter((server) => server !== leader)];
  const roll = async () => {
    const steps = [];
    for (const server of servers) {
      const start = performance.now();
      process.kill(server.pid, "SIGUSR2");
      const { code, signal } = await server.exited;
      const endedMs = Math.round(performance.now() - start);
      await server.restart();
      await mesh.stream.whole();
      steps.push({ server: server.serverName, code, signal, endedMs, wholeMs: Math.round(performance.now() - start) });
    }
    return steps;
  };
  const rolled = keptFor(roll());
  return {
    target: servers.map(({ serverName }) => serverName).join("+"),
    end: async () => {
      const steps = await rolled;
      return { applied: steps.every(({ code }) => code === 0), evidence: { steps } };
    },
  };
}

export const NATS_FAULTS = {
  "kill-nats-leader": {
    description: "SIGKILL of the server that leads the stream; started again after a while",
    area: "nats",
    durationMs: [6_000, 12_000],
    targets: ["leader"],
    // Raft elects another leader of the stream after a silence of 4 to 9 s: 4.0 to 8.7 s in 60 kills; a vote that nobody wins is repeated.
    writeGapMs: 14_000,
    strike: killServer,
  },
  "kill-nats-follower": {
    description: "SIGKILL of another server; started again after a while",
    area: "nats",
    durationMs: [4_000, 10_000],
    targets: ["follower"],
    // Those who were connected to it go to another server: 0.4 to 1.2 s.
    writeGapMs: 4_000,
    strike: killServer,
  },
  "pause-nats": {
    description: "SIGSTOP of a server, later SIGCONT",
    area: "nats",
    durationMs: [5_000, 12_000],
    targets: ["leader", "leader", "follower"],
    // As the death of the leader: 5.5 to 8.9 s.
    writeGapMs: 14_000,
    strike: pauseServer,
  },
  "partition-nats": {
    description: "a server cut off from the other servers, not from its clients",
    area: "nats",
    durationMs: [8_000, 14_000],
    targets: ["leader", "leader", "follower"],
    // An election, and dispatchers and callers have to leave a server that still answers them: 8.1 to 10.1 s.
    writeGapMs: 16_000,
    strike: isolateServer,
  },
  "latency-nats": {
    description: "everything between the servers takes longer, unevenly",
    area: "nats",
    durationMs: [6_000, 12_000],
    targets: ["routes"],
    params: { latencyMs: [10, 150], jitterMs: [0, 100] },
    // A quorum takes as long as the ways between the servers: 0.8 to 1.0 s.
    writeGapMs: 4_000,
    strike: async (mesh, fault, draw) =>
      slowProxies({ target: "routes", proxies: mesh.links.routes(mesh.servers) }, fault, draw),
  },
  "roll-nats": {
    description: "every server leaves as a lame duck and is started again, one after the other",
    area: "nats",
    durationMs: [30_000, 40_000],
    targets: ["all"],
    // A lame duck hands over what it leads: 0.6 to 1.6 s. A vote on top of that may be lost.
    writeGapMs: 8_000,
    strike: rollServers,
  },
} as const satisfies Readonly<Record<string, FaultKind>>;
