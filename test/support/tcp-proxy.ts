/** A TCP proxy that can fall silent: connections stay open and nothing comes through, as behind a switch that lost its uplink. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type { Cleanup } from "./process.ts";

export interface TcpProxy {
  readonly port: number;
  /** From now on whatever is sent is lost, also on new connections, and nobody is told. */
  cut(): void;
  /** Lets new connections through. The old ones are reset: what was lost on them cannot be made good. */
  heal(): void;
}

export async function tcpProxy(targetPort: number, cleanup: Cleanup): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let isCut = false;
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    // A reset by either side is what a network does; the other side hears it by the close.
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  };
  const server = createServer((near) => {
    const far = connect(targetPort, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      keep(from);
      from.on("data", (data) => {
        if (!isCut) to.write(data);
      });
      from.on("close", () => {
        if (!isCut) to.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const reset = (): void => {
    for (const socket of [...sockets]) socket.resetAndDestroy();
  };
  cleanup(async () => {
    reset();
    server.close();
    await once(server, "close");
  });
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => {
      isCut = true;
    },
    heal: () => {
      isCut = false;
      reset();
    },
  };
}
