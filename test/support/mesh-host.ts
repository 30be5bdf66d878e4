/** A dispatcher in a mesh host with a control plane beside it, so that a test can read what an operator reads. */
import { join } from "node:path";
import type { TestMesh } from "./mesh.ts";
import { type Cleanup, type RunningProcess, startProcess } from "./process.ts";

export interface DispatcherHost extends RunningProcess {
  /** Peer id of the dispatcher in it. */
  readonly peerId: string;
  readonly dataDir: string;
  /** What `/readyz` answers. */
  readiness(): Promise<{ readonly ready: boolean; readonly reasons: readonly string[] }>;
  /** The dispatcher's own words in `/healthz`. */
  detail(): Promise<string>;
  /** Resolves when the readiness is as wanted. */
  untilReadiness(isWanted: (reasons: readonly string[]) => boolean): Promise<readonly string[]>;
}

const POLL_MS = 100;
const PATIENCE_MS = 40_000;

export async function dispatcherHost(
  mesh: TestMesh,
  peerId: string,
  args: readonly string[],
  cleanup: Cleanup,
): Promise<DispatcherHost> {
  const dataDir = mesh.dataDir(peerId);
  const host = startProcess(
    "services/mesh/main.ts",
    [
      ...["--roles", "dispatcher,control-plane", "--http-port", "0"],
      ...["--nats-url", mesh.server.url, "--peer-id", peerId, "--data-dir", dataDir, ...args],
    ],
    cleanup,
  );
  await host.line('"msg":"ready"');
  const started = await host.line('"detail":"http://');
  const { detail: url } = JSON.parse(started) as { detail: string };
  const get = async <T>(path: string): Promise<T> => (await fetch(url + path)).json() as Promise<T>;
  const readiness: DispatcherHost["readiness"] = () => get("/readyz");
  return Object.assign(host, {
    peerId: `${peerId}--dispatcher`,
    dataDir: join(dataDir, "dispatcher"),
    readiness,
    detail: async () => {
      const { roles } = await get<{ roles: { name: string; detail: string }[] }>("/healthz");
      return roles.find(({ name }) => name === "dispatcher")?.detail ?? "";
    },
    untilReadiness: async (isWanted: (reasons: readonly string[]) => boolean) => {
      const endMs = performance.now() + PATIENCE_MS;
      for (;;) {
        const { reasons } = await readiness();
        if (isWanted(reasons)) return reasons;
        if (performance.now() > endMs) throw new Error(`the readiness stayed at: ${reasons.join("; ") || "ready"}`);
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    },
  });
}
