/** The replicator as a process behind a real log: a sink of a third party, parking, seek, SIGKILL, bad settings. */
import { existsSync, readFileSync, watch } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { runCli } from "../../services/cli/program.ts";
import type { LeaseClient } from "../../services/client/mod.ts";
import { type TestMesh, testMesh } from "../support/mesh.ts";
import { type RunningProcess, startProcess } from "../support/process.ts";

const MODULE = fileURLToPath(new URL("lines-sink.ts", import.meta.url));
const cleanup = (end: () => Promise<unknown>): void => onTestFinished(async () => void (await end()));

interface Bed {
  readonly mesh: TestMesh;
  readonly client: LeaseClient;
  readonly file: string;
  replicator(name: string, refuses?: readonly number[]): RunningProcess;
  cli(...args: readonly string[]): Promise<{ readonly code: number; readonly out: readonly string[] }>;
}

async function bed(): Promise<Bed> {
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

const linesOf = (file: string): number[] =>
  existsSync(file) ? readFileSync(file, "utf8").trim().split("\n").filter(Boolean).map(Number) : [];

/** Resolves when the file is as wanted. */
async function until(file: string, isWanted: (lines: readonly number[]) => boolean): Promise<number[]> {
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

const items = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => ({ resourceType: "t", resourceId: `r${from + index}` }));

test("brings every event of the log to a sink of a third party; what it refuses is parked, and seek brings it again", async () => {
  const { client, file, replicator, cli } = await bed();
  const enqueued = await client.enqueueMany(items(5));
  const third = enqueued[2];
  const refused = third?.kind === "ok" ? third.value.sequence : 0;
  const first = replicator("r1", [refused]);
  await first.line('"msg":"ready"');
  await until(file, (lines) => lines.includes(refused + 2));
  expect(linesOf(file)).not.toContain(refused);
  const parked = await cli("sink", "parked", "lines", "--json");
  expect(parked.code).toBe(0);
  expect(parked.out.map((line) => JSON.parse(line))).toMatchObject([
    { sink: "lines", reason: { code: "sink_refused" }, event: { sequenceNumber: refused, eventType: "Enqueue" } },
  ]);
  await first.signal("SIGTERM");
  const second = replicator("r2");
  await second.line('"msg":"ready"');
  expect((await cli("sink", "seek", "lines", "--sequence", String(refused))).code).toBe(0);
  const lines = await until(file, (found) => found.includes(refused));
  expect(lines.slice(lines.indexOf(refused - 1) + 1)).toContain(refused);
});

test("goes on after SIGKILL without a hole, and a second process stands by", async () => {
  const { client, file, replicator, cli } = await bed();
  const first = replicator("r1");
  await first.line('"msg":"ready"');
  await client.enqueueMany(items(50));
  await until(file, (lines) => lines.length >= 52);
  const second = replicator("r2");
  await second.line('"msg":"ready"');
  await first.signal("SIGKILL");
  const { sequence } = await client.enqueue({ resourceType: "t", resourceId: "last" });
  await until(file, (lines) => lines.includes(sequence));
  const seen = [...new Set(linesOf(file))];
  expect(seen).toEqual(Array.from({ length: seen.length }, (_, index) => index + 1));
  const listed = await cli("sink", "list", "--json");
  const sink = listed.out.map((line) => JSON.parse(line)).find(({ follower }) => follower === "lines");
  expect(sink).toMatchObject({
    shard: "default",
    checkpoint: { state: "running", owner: expect.stringMatching(/^r2\//) },
  });
});

test("tells all that is wrong with the sinks at once, before anything is started", async () => {
  const sinks = [
    { name: "a", kind: "nothing-like-it" },
    { name: "a", kind: "memory", options: { eventsMax: 0, colour: "red" }, shards: ["elsewhere"] },
  ];
  const replicator = startProcess("services/replicator/main.ts", ["--sinks", JSON.stringify(sinks)], cleanup);
  expect(await replicator.ended).toBe(1);
  for (const words of ["nothing-like-it", "another sink of this name", "elsewhere", "options.eventsMax", "colour"])
    expect(replicator.lines.join("\n")).toContain(words);
});
