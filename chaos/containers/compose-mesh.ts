/** The mesh of docker-compose.yml under our hand, by testcontainers: started with an image built here, struck container by container, and gone with us. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { NatsConnection } from "@nats-io/transport-node";
import { type ContainerRuntimeClient, DockerComposeEnvironment, getContainerRuntimeClient } from "testcontainers";
import { buildImage } from "../../infra/compose/image.ts";
import { pickFreePorts } from "../../infra/nats-server/free-port.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { type AtEnd, atEnd } from "../at-end.ts";

export interface ComposeMeshOptions {
  /** Of docker-compose.yml; what they depend on is started too. */
  readonly services: readonly string[];
  /** For the variables of docker-compose.yml. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Takes a line of progress. */
  readonly report: (line: string) => void;
}

type RuntimeContainer = ReturnType<ContainerRuntimeClient["container"]["getById"]>;
type Inspection = Awaited<ReturnType<RuntimeContainer["inspect"]>>;

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const FILE = "docker-compose.yml";
const IMAGE = "omnirelay:drill";
/** Two elections of NATS and a check of health each 10 s. ms. */
const START_MS = 180_000;
const COMMAND_MS = 60_000;
const NOT_MODIFIED = 304;

/** Why no container can be run here; undefined when they can. */
export async function missingEngine(): Promise<string | undefined> {
  try {
    await getContainerRuntimeClient();
  } catch (error) {
    return `no Docker engine answers: ${error instanceof Error ? error.message : String(error)}`;
  }
  return composeCommand() === undefined ? "there is neither `docker compose` nor `docker-compose` here" : undefined;
}

/** The command that reads docker-compose.yml: the plugin, or the program of its own. */
export function composeCommand(): readonly string[] | undefined {
  return [["docker", "compose"], ["docker-compose"]].find(([program = "", ...args]) => {
    const { status } = spawnSync(program, [...args, "version"], { stdio: "ignore", timeout: COMMAND_MS });
    return status === 0;
  });
}

export class ComposeMesh {
  readonly natsUrls: readonly string[];
  /** Address of the control plane, if it was started. */
  readonly httpUrl: string;
  /** Over the published ports of the servers. */
  readonly connection: NatsConnection;
  readonly #project: string;
  readonly #runtime: ContainerRuntimeClient;
  readonly #release: AtEnd;

  static async start({ services, environment = {}, report }: ComposeMeshOptions): Promise<ComposeMesh> {
    await buildImage(IMAGE, report);
    const [http = 0, ...nats] = await pickFreePorts("127.0.0.1", 4);
    const project = `omnirelay-drill-${process.pid}`;
    const variables = {
      ...environment,
      OMNIRELAY_IMAGE: IMAGE,
      OMNIRELAY_HTTP_PORT: String(http),
      ...Object.fromEntries(nats.map((port, index) => [`OMNIRELAY_NATS_PORT_${index + 1}`, String(port)])),
    };
    const release = guard(project, variables);
    try {
      report(`the containers of ${services.join(", ")}`);
      await new DockerComposeEnvironment(ROOT, FILE)
        .withProjectName(project)
        // We end them ourselves: the container that testcontainers would start for it comes from a registry.
        .withAutoCleanup(false)
        .withEnvironment(variables)
        .withStartupTimeout(START_MS)
        .withClientOptions(composeCommand()?.length === 1 ? { executable: { standalone: true } } : {})
        .up([...services]);
      const natsUrls = nats.map((port) => `nats://127.0.0.1:${port}`);
      const connection = await connectNats({ servers: natsUrls, name: "drill" });
      const httpUrl = `http://127.0.0.1:${http}`;
      const runtime = await getContainerRuntimeClient();
      return new ComposeMesh({ natsUrls, httpUrl, connection, project, runtime, release });
    } catch (error) {
      release.now();
      throw error;
    }
  }

  private constructor(parts: {
    readonly natsUrls: readonly string[];
    readonly httpUrl: string;
    readonly connection: NatsConnection;
    readonly project: string;
    readonly runtime: ContainerRuntimeClient;
    readonly release: AtEnd;
  }) {
    this.natsUrls = parts.natsUrls;
    this.httpUrl = parts.httpUrl;
    this.connection = parts.connection;
    this.#project = parts.project;
    this.#runtime = parts.runtime;
    this.#release = parts.release;
  }

  async inspect(service: string): Promise<Inspection> {
    return (await this.#container(service)).inspect();
  }

  /** Ends its process by SIGKILL. The engine does not start it again by itself after that. */
  async kill(service: string): Promise<void> {
    const container = await this.#container(service);
    const ended = container.wait();
    await container.kill({ signal: "SIGKILL" });
    await ended;
  }

  async start(service: string): Promise<void> {
    const container = await this.#container(service);
    await container.start().catch((error: { readonly statusCode?: number }) => {
      if (error.statusCode !== NOT_MODIFIED) throw error; // it runs already
    });
  }

  async pause(service: string): Promise<void> {
    await (await this.#container(service)).pause();
  }

  async resume(service: string): Promise<void> {
    await (await this.#container(service)).unpause();
  }

  /** Takes the container out of that network of docker-compose.yml; the answer puts it back under the same names. */
  async cut(service: string, network: string): Promise<() => Promise<void>> {
    const name = `${this.#project}_${network}`;
    const { Id, NetworkSettings } = await this.inspect(service);
    const aliases = NetworkSettings.Networks[name]?.Aliases ?? [];
    const live = this.#runtime.container.dockerode.getNetwork(name);
    await live.disconnect({ Container: Id, Force: true });
    return async () => {
      // The engine gives the container's id as a name by itself.
      const Aliases = aliases.filter((alias: string) => !Id.startsWith(alias));
      await live.connect({ Container: Id, EndpointConfig: { Aliases } });
    };
  }

  /** Whether the container is in that network of docker-compose.yml. */
  async isIn(service: string, network: string): Promise<boolean> {
    return Object.hasOwn((await this.inspect(service)).NetworkSettings.Networks, `${this.#project}_${network}`);
  }

  /** Ends all of it, volumes included. */
  async close(): Promise<void> {
    await this.connection.close();
    this.#release.now();
  }

  async #container(service: string): Promise<RuntimeContainer> {
    const { container } = this.#runtime;
    const label = [`com.docker.compose.project=${this.#project}`, `com.docker.compose.service=${service}`];
    const [found] = await container.dockerode.listContainers({ all: true, filters: { label } });
    if (found === undefined) throw new Error(`there is no container of ${service}`);
    return container.getById(found.Id);
  }
}

/** Whatever ends this process but SIGKILL takes the containers with it. */
function guard(project: string, variables: Readonly<Record<string, string>>): AtEnd {
  return atEnd(() => {
    const [program = "", ...args] = composeCommand() ?? [];
    const down = [...args, "-p", project, "-f", FILE, "down", "--volumes", "--timeout", "0"];
    // Its word is not waited for: a process that ends can do no more.
    spawnSync(program, down, {
      cwd: ROOT,
      env: { ...process.env, ...variables },
      stdio: "ignore",
      timeout: COMMAND_MS,
    });
  });
}
