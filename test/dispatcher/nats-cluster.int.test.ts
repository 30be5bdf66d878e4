/** What dispatchers, clients and workers do when the server that they are connected to leaves a cluster of three: announced, and without a word. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { NatsServer } from "../../infra/nats-server/embedded.ts";
import { LeaseClient } from "../../services/client/mod.ts";
import { startLoad } from "../support/load.ts";
import { witnessLog } from "../support/log-witness.ts";
import { cluster, failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { startProcess } from "../support/process.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

/** Lame duck mode closes one connection after the other; this is the shortest that the server allows. */
const LAME_DUCK = 'lame_duck_duration: "30s", lame_duck_grace_period: "100ms"';
/** An election of the stream's leader takes 4 to 9 s; the rest is for a busy machine. ms. */
const ELECTED_MS = 15_000;

interface Connections {
  readonly connections: readonly { readonly name?: string }[];
}

/** The node that carries most connections of the mesh. */
async function busiest(nodes: readonly NatsServer[]): Promise<NatsServer> {
  const counts = await Promise.all(
    nodes.map(async (node) => {
      const { connections } = (await (await fetch(`${node.httpUrl}/connz`)).json()) as Connections;
      return { node, count: connections.filter(({ name }) => name?.startsWith("omnirelay") === true).length };
    }),
  );
  const [first] = counts.toSorted((left, right) => right.count - left.count);
  if (first === undefined) throw new Error("no node");
  return first.node;
}

test("a server that leaves in lame duck mode, or is killed, costs a cluster's clients no error and no work", async ({
  onTestFinished,
}) => {
  const { nodes, urls, metaLeader } = await cluster(3, { cleanup: onTestFinished, extraConfig: LAME_DUCK });
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-cluster-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const dispatchers = ["a", "b"].map((peer) =>
    startProcess(
      "services/dispatcher/main.ts",
      [...["--nats-url", urls.join(","), "--replicas", "3"], ...["--peer-id", peer, "--data-dir", join(folder, peer)]],
      onTestFinished,
    ),
  );
  await Promise.all(dispatchers.map((dispatcher) => dispatcher.line('"msg":"ready"')));
  const connect = async (principal: string): Promise<LeaseClient> => {
    const client = await LeaseClient.connect({ servers: urls, shard: "default", principal });
    onTestFinished(() => client.close());
    return client;
  };
  const client = await connect("load");
  const witness = await witnessLog(urls, "default", onTestFinished);
  const load = startLoad(client, await connect("worker"), onTestFinished);
  await load.more(50);

  const leaving = await busiest(nodes);
  process.kill(leaving.pid, "SIGUSR2");
  await leaving.exited;
  await load.more(50);
  const leavingMs = load.longestGapMs();
  console.log(`longest gap while the lame duck left: ${Math.round(leavingMs)} ms`);
  expect(leavingMs).toBeLessThan(ELECTED_MS);
  expect(load.errors).toEqual([]);
  await leaving.restart();
  await metaLeader(nodes);

  const killed = await busiest(nodes);
  load.longestGapMs();
  await killed.kill();
  await load.more(50);
  const killedMs = load.longestGapMs();
  console.log(`longest gap around the kill: ${Math.round(killedMs)} ms`);
  expect(killedMs).toBeLessThan(ELECTED_MS);
  await load.finish();
  expect(load.errors).toEqual([]);
  const stats = await client.stats({ consistent: true });
  expect(stats.stateHash).toBe(await witness.hashAt(stats.sequence));
  expect(stats.completed).toBe(load.applied.size);
});
