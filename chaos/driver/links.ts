/** The network of a run: every connection that a fault may strike goes through a proxy of ours, one for each party and server and for each pair of servers. */
import { TcpProxy } from "../tcp-proxy.ts";

/** A server as the links know it. */
export interface LinkedServer {
  readonly serverName: string;
  readonly port: number;
}

export class Links {
  /** By `<who dials> <server>`. */
  readonly #proxies = new Map<string, TcpProxy>();

  /** The port at which one server reaches another. Called again with another port it forgets the first: the cluster was started anew. */
  async route(from: string, to: string, port: number): Promise<number> {
    await this.#proxies.get(nameOf(from, to))?.close();
    return (await this.#open(from, to, port)).port;
  }

  /** The addresses at which a party reaches the servers. */
  async urlsFor(party: string, servers: readonly LinkedServer[]): Promise<readonly string[]> {
    const proxies = servers.map(({ serverName, port }) => this.#open(party, serverName, port));
    return (await Promise.all(proxies)).map(({ port }) => `nats://127.0.0.1:${port}`);
  }

  /** What the party dials. */
  of(party: string): readonly TcpProxy[] {
    const found = [...this.#proxies].filter(([way]) => way.startsWith(nameOf(party, "")));
    return found.map(([, proxy]) => proxy);
  }

  /** What the servers dial among themselves; of one of them, what it dials and what leads to it. */
  routes(servers: readonly LinkedServer[], only?: string): readonly TcpProxy[] {
    const names = servers.map(({ serverName }) => serverName);
    return [...this.#proxies]
      .filter(([way]) => {
        const ends = way.split(" ");
        return ends.every((end) => names.includes(end)) && (only === undefined || ends.includes(only));
      })
      .map(([, proxy]) => proxy);
  }

  healAll(): void {
    for (const proxy of this.#proxies.values()) proxy.heal();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#proxies.values()].map((proxy) => proxy.close()));
  }

  async #open(from: string, to: string, port: number): Promise<TcpProxy> {
    const proxy = await TcpProxy.listen(port);
    this.#proxies.set(nameOf(from, to), proxy);
    return proxy;
  }
}

const nameOf = (from: string, to: string): string => `${from} ${to}`;
