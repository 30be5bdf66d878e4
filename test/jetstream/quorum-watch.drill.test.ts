/** A server of a cluster that lives and is cut off from the others: connections leave it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NatsConnection } from "@nats-io/transport-node";
import { expect, test } from "vitest";
import { Links } from "../../chaos/driver/links.ts";
import { startNatsCluster, waitForMetaLeader } from "../../infra/nats-server/cluster.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { QuorumWatch } from "../../services/jetstream/quorum-watch.ts";
import { createClock } from "../../services/runtime/clock.ts";
import { natsAvailability } from "../support/nats.ts";
import { skipNote } from "./skip-note.ts";

const nats = await natsAvailability();

type Cleanup = (dispose: () => unknown) => void;

/** Three servers, and what cuts the first of them off from the others. */
async function splittable(cleanup: Cleanup) {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-quorum-"));
  cleanup(() => rmSync(folder, { recursive: true, force: true }));
  const links = new Links();
  cleanup(() => links.close());
  const servers = await startNatsCluster({
    size: 3,
    folder,
    routeVia: (from, to, port) => links.route(from, to, port),
  });
  cleanup(() => Promise.all(servers.map((server) => server.kill())));
  const leader = await waitForMetaLeader(servers);
  // A leader that is cut off answers on for a while.
  const first = servers.find((server) => server !== leader);
  if (first === undefined) throw new Error("no server");
  const others = servers.filter((server) => server !== first);
  const split = (): void => {
    for (const proxy of links.routes(servers, first.serverName)) proxy.cut();
  };
  return { first, others, split };
}

test.skipIf(!nats.available)(
  `a connection leaves a server that is cut off from the others, and one that is not stays${skipNote(nats)}`,
  async ({ onTestFinished }) => {
    const cleanup: Cleanup = (dispose) => onTestFinished(async () => void (await dispose()));
    const { first, others, split } = await splittable(cleanup);
    const open = async (servers: readonly string[]): Promise<NatsConnection> => {
      const connection = await connectNats({ servers, name: "t" });
      cleanup(() => connection.close());
      return connection;
    };
    const stays = await open(others.map(({ url }) => url));
    const moves = await open([first.url]);
    moves.setServers([first, ...others].map(({ url }) => url));
    const told: unknown[] = [];
    const warned = Promise.withResolvers<void>();
    const reporter = {
      info: () => {},
      error: () => {},
      warn: (_event: string, fields?: Readonly<Record<string, unknown>>) => {
        told.push(fields);
        warned.resolve();
      },
    };
    const watch = new QuorumWatch({ clock: createClock(), reporter });
    cleanup(() => watch.close());
    watch.watch(stays, "stays");
    watch.watch(moves, "moves");
    const left = moves.getServer();
    split();
    await warned.promise;
    expect(told[0]).toMatchObject({ use: "moves", server: left });
    let heard = 0;
    moves.subscribe("probe", {
      callback: () => {
        heard += 1;
      },
    });
    const isHeard = (): boolean => {
      stays.publish("probe");
      return heard > 0;
    };
    await expect.poll(isHeard, { timeout: 15_000, interval: 50 }).toBe(true);
    expect(moves.getServer()).not.toBe(left);
    expect(told).toHaveLength(1);
  },
);
