/** What the servers themselves say of a replicated stream, each by its own monitoring pages: who leads it, and how far each replica is. */
import { logStream } from "../contracts/subjects.ts";
import type { NatsServer } from "../infra/nats-server/embedded.ts";
import { pause } from "./drill.ts";

const POLL_MS = 20;
const MONITOR_TIMEOUT_MS = 500;
/** Two elections in a row, and the time a server needs to read its store. ms. */
const WAIT_MS_MAX = 60_000;

/** One server's view of the stream. */
interface View {
  readonly server: NatsServer;
  readonly leader: string;
  /** Other replicas that the server, if it leads, sees up to date. */
  readonly current: readonly string[];
}

export class StreamGroup {
  readonly #servers: readonly NatsServer[];
  readonly #stream: string;

  constructor(servers: readonly NatsServer[], region = "local", shard = "default") {
    this.#servers = servers;
    this.#stream = logStream(region, shard);
  }

  /** The server that says of itself that it leads the stream. Throws when none does within a minute. */
  async leader(among: readonly NatsServer[] = this.#servers): Promise<NatsServer> {
    return this.#until(`a leader of ${this.#stream}`, async () => {
      const views = await this.#views(among);
      return views.find(({ server, leader }) => server.serverName === leader)?.server;
    });
  }

  /** Until the leader sees every other replica up to date. */
  async whole(): Promise<void> {
    await this.#until(`replicas of ${this.#stream} that are all up to date`, async () => {
      const views = await this.#views(this.#servers);
      const leader = views.find(({ server, leader: name }) => server.serverName === name);
      return leader?.current.length === this.#servers.length - 1 ? leader : undefined;
    });
  }

  async #until<Result>(what: string, look: () => Promise<Result | undefined>): Promise<Result> {
    const start = performance.now();
    for (;;) {
      const found = await look();
      if (found !== undefined) return found;
      if (performance.now() - start > WAIT_MS_MAX) throw new Error(`there was not ${what} within ${WAIT_MS_MAX} ms`);
      await pause(POLL_MS);
    }
  }

  async #views(servers: readonly NatsServer[]): Promise<readonly View[]> {
    const views = await Promise.all(servers.map((server) => this.#viewOf(server)));
    return views.filter((view) => view !== undefined);
  }

  async #viewOf(server: NatsServer): Promise<View | undefined> {
    let page: StreamsPage;
    try {
      const signal = AbortSignal.timeout(MONITOR_TIMEOUT_MS);
      page = (await (await fetch(`${server.httpUrl}/jsz?streams=1`, { signal })).json()) as StreamsPage;
    } catch {
      return undefined; // down, or not up yet
    }
    const streams = page.account_details?.flatMap((account) => account.stream_detail ?? []);
    const stream = streams?.find(({ name }) => name === this.#stream);
    if (stream === undefined) return undefined;
    const { leader = "", replicas = [] } = stream.cluster ?? {};
    const current = replicas.filter((replica) => replica.current && replica.offline !== true).map(({ name }) => name);
    return { server, leader, current };
  }
}

/** The part of `/jsz?streams=1` that is read here. */
interface StreamsPage {
  readonly account_details?: readonly {
    readonly stream_detail?: readonly {
      readonly name: string;
      readonly cluster?: {
        readonly leader?: string;
        readonly replicas?: readonly { readonly name: string; readonly current: boolean; readonly offline?: boolean }[];
      };
    }[];
  }[];
}
