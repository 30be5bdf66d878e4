/** Speaks just enough of the NATS protocol to be taken for a server of any version: real old ones are not at hand on every machine. */
import { createServer, type Socket } from "node:net";

export interface OldServer {
  readonly url: string;
  close(): Promise<void>;
}

/** Greets with `version` and answers the account question of JetStream; everything else gets no answer. */
export async function startOldServer(version: string): Promise<OldServer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    socket.setEncoding("latin1");
    const info = {
      server_id: "OLD",
      server_name: "old",
      version,
      proto: 1,
      headers: true,
      max_payload: 1_048_576,
      jetstream: true,
    };
    socket.write(`INFO ${JSON.stringify(info)}\r\n`);
    /** Subject, with or without a star at its end -> subscription id. */
    const subscriptions = new Map<string, string>();
    socket.on("data", (chunk) => {
      for (const line of String(chunk).split("\r\n")) {
        const [verb, first = "", second = "", third = ""] = line.split(" ");
        if (verb === "PING") socket.write("PONG\r\n");
        if (verb === "SUB") subscriptions.set(first, third === "" ? second : third);
        if (verb === "PUB" && first === "$JS.API.INFO") answer(socket, subscriptions, second);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `nats://127.0.0.1:${port}`,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function answer(socket: Socket, subscriptions: ReadonlyMap<string, string>, reply: string): void {
  const body = JSON.stringify({
    type: "io.nats.jetstream.api.v1.account_info_response",
    memory: 0,
    storage: 0,
    streams: 0,
    consumers: 0,
  });
  for (const [subject, id] of subscriptions) {
    const isMatch = subject.endsWith("*") ? reply.startsWith(subject.slice(0, -1)) : reply === subject;
    if (isMatch) socket.write(`MSG ${reply} ${id} ${body.length}\r\n${body}\r\n`);
  }
}
