/** A mesh with a replicator that runs a sink of a third party, which writes a line for each event into a file. */
import { existsSync, readFileSync, watch } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { runCli } from "../../services/cli/program.ts";
import type { LeaseClient } from "../../services/client/mod.ts";
import { type TestMesh, testMesh } from "../support/mesh.ts";
import { type RunningProcess, startProcess } from "../support/process.ts";

const MODULE = fileURLToPath(new URL("lines-sink.ts", import.meta.url));
export const cleanup = (end: () => Promise<unknown>): void => onTestFinished(async () => void (await end()));

export interface Bed {
  readonly mesh: TestMesh;
  readonly client: LeaseClient;
  readonly file: string;
  replicator(name: string, refuses?: readonly number[]): RunningProcess;
  cli(...args: readonly string[]): Promise<{ readonly code: number; readonly out: readonly string[] }>;
}

export async function replicatorBed(): Promise<Bed> {
  const mesh = await testMesh(cleanup);
  await mesh.dispatcher("d1");
  const file = join(mesh.folder, "lines.txt");
  return {
    mesh,
    file,
    client: await mesh.client("default"),
    replicator: (name, refuses = []) => {
      const failure = { policy: "park", attempts: 1, retryMsMin: 1 };
      const sinks = [{ name: "lines", kind: "lines", options: { file, refuses }, failure }];
      return startProcess(
        "services/replicator/main.ts",
        [
          ...["--nats-url", mesh.server.url, "--peer-id", name, "--data-dir", mesh.dataDir(name)],
          ...["--sinks", JSON.stringify(sinks), "--sink-modules", MODULE, "--http-port", "0"],
        ],
        cleanup,
      );
    },
    cli: async (...args) => {
      const out: string[] = [];
      const line = (text: string): void => void out.push(text);
      const [first = "", second = "", ...rest] = args;
      const code = await runCli([first, second, "--nats-url", mesh.server.url, ...rest], {
        out: line,
        note: line,
        isInteractive: false,
      });
      return { code, out };
    },
  };
}

export const linesOf = (file: string): number[] =>
  existsSync(file) ? readFileSync(file, "utf8").trim().split("\n").filter(Boolean).map(Number) : [];

/** Resolves when the file is as wanted. */
export async function untilLines(file: string, isWanted: (lines: readonly number[]) => boolean): Promise<number[]> {
  const folder = join(file, "..");
  await new Promise<void>((resolve) => {
    const watcher = watch(folder, () => look());
    const look = (): void => {
      if (!isWanted(linesOf(file))) return;
      watcher.close();
      resolve();
    };
    look();
  });
  return linesOf(file);
}

export const items = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => ({ resourceType: "t", resourceId: `r${from + index}` }));
