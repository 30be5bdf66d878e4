/** Bare request and reply over NATS with the bytes of an enqueue: no log, no queue; what any system that answers over NATS can reach at most. */
import { join } from "node:path";
import { connect } from "@nats-io/transport-node";
import { startBoundServer } from "../../support/bound-server.ts";
import { natsMissing, startNats } from "../servers/nats.ts";
import { enqueueText, RawRequester } from "./omnirelay-raw.ts";
import type { Peer } from "./peer.ts";

const ECHO_SUBJECT = "bench.echo";

export const natsRequest: Peer = {
  name: "nats-request",
  summary: "bare request and reply with the bytes of an enqueue, 256 in flight: a limit, not a queue",
  docs: ["https://docs.nats.io/nats-concepts/core-nats/reqreply"],
  worth: { enqueue: "nothing is kept", lease: "-", complete: "-" },
  drive: { batch: 1, inFlight: 256, concurrency: 1 },
  only: ["S1", "S2", "S5"],
  abilities: { delay: false, beat: false, recovery: false, queue: false },
  missing: natsMissing,
  serve: async (bed) => {
    const server = await startNats(bed);
    const responder = await startBoundServer({
      command: process.execPath,
      args: [join(import.meta.dirname, "responder.ts"), server.url, ECHO_SUBJECT],
      folder: bed.folder,
      ready: async () => {
        const connection = await connect({ servers: server.url });
        try {
          await connection.request(ECHO_SUBJECT, "");
        } finally {
          await connection.close();
        }
      },
    });
    return {
      url: server.url,
      version: `nats-server ${server.version}`,
      processes: [
        { name: "nats-server", pid: server.pid },
        { name: "responder", pid: responder.pid },
      ],
      stop: async () => {
        await responder.end("SIGTERM");
        await server.stop();
      },
      crash: async () => {
        throw new Error("it keeps nothing");
      },
    };
  },
  connect: async (url) => {
    const requester = await RawRequester.open(url);
    return {
      enqueue: async (bodies) => {
        await Promise.all(bodies.map((body) => requester.request(ECHO_SUBJECT, enqueueText(body))));
      },
      close: () => requester.close(),
    };
  },
};
