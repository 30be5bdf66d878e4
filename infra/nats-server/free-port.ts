/** Picks ports for servers that may be stopped and started again on the same port, which the ports of the kernel's own choice do not survive. */
import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/**
 * Below the range from which Linux takes the local ports of outgoing connections (32768 and up). In that range a client that retries while
 * the server is down takes the server's port, and on loopback even connects to itself.
 */
const PORT_MIN = 10_240;
const PORT_MAX = 32_000;
const ATTEMPTS_MAX = 200;

/** A port that nobody listens on now. Another process may take it before it is used: the caller tries again then. */
export async function pickFreePort(host: string): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const port = randomInt(PORT_MIN, PORT_MAX);
    if (await canListen(host, port)) return port;
  }
  throw new Error(`found no free port on ${host} in ${ATTEMPTS_MAX} attempts`);
}

/** Several different free ports. */
export async function pickFreePorts(host: string, count: number): Promise<readonly number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await pickFreePort(host));
  return [...ports];
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
