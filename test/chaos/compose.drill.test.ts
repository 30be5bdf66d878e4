/** The mesh in containers: docker-compose.yml, the image that is built for it, and a short round of each drill on it. Skipped, with the reason, where no engine answers. */
import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { ComposeMesh, composeCommand, missingEngine } from "../../chaos/containers/compose-mesh.ts";
import { randomFrom } from "../../chaos/drill.ts";
import { ContainerDrill, type ContainerFault, type ContainerTarget } from "../../chaos/drills/containers.ts";
import { startProcess } from "../support/process.ts";

const ROOT = new URL("../..", import.meta.url);
/** The image is built the first time. ms. */
const START_MS = 300_000;
const DRILL_MS = 120_000;
const ITEMS = 500;
const SERVICES = ["n1", "n2", "n3", "d1", "d2", "control-plane", "replicator", "w1", "w2"];
const report = (line: string): void => console.log(line);

const missing = await missingEngine();

test("docker-compose.yml is valid, and needs no variable to be set", (context) => {
  const [program, ...args] = composeCommand() ?? [];
  if (program === undefined) return context.skip("there is neither `docker compose` nor `docker-compose` here");
  const { status, stdout, stderr } = spawnSync(program, [...args, "config"], { cwd: ROOT, encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  for (const service of SERVICES) expect(stdout).toContain(`  ${service}:\n`);
});

test(
  "the mesh of docker-compose.yml becomes healthy with an image built here, and its workers complete what is enqueued",
  async (context) => {
    if (missing !== undefined) context.skip(missing);
    const mesh = await ComposeMesh.start({ services: SERVICES, report });
    onTestFinished(() => mesh.close());
    for (const service of SERVICES) expect((await mesh.inspect(service)).State.Health?.Status).toBe("healthy");
    const args = ["--nats-url", mesh.natsUrls.join(","), "--items", String(ITEMS)];
    expect(await startProcess("services/seeder/main.ts", args, onTestFinished).ended).toBe(0);
    await vi.waitFor(
      async () => {
        const page = await (await fetch(`${mesh.httpUrl}/omnirelay/control/shards`)).json();
        expect(page).toMatchObject({ shards: [{ serving: true, enqueued: ITEMS, completed: ITEMS, deadLettered: 0 }] });
      },
      { timeout: 30_000, interval: 250 },
    );
    expect((await fetch(`${mesh.httpUrl}/readyz`)).status).toBe(200);
  },
  START_MS,
);

describe("containers under load: nothing acknowledged is lost or doubled, and the replicas end up equal, when", () => {
  let drill: ContainerDrill | undefined;
  const random = randomFrom(7);

  beforeAll(async () => {
    if (missing === undefined) drill = await ContainerDrill.start(report);
  }, START_MS);
  afterAll(async () => drill?.close());
  beforeEach((context) => {
    if (missing !== undefined) context.skip(missing);
  });

  const CASES: readonly [what: string, fault: ContainerFault, target: ContainerTarget, evidence: string][] = [
    ["the server that leads the stream is killed", "kill", "server", "exited with code 137"],
    ["the leading dispatcher is paused", "pause", "dispatcher", "paused"],
    ["the leading dispatcher loses its network", "cut", "dispatcher", "not in the network dispatch"],
    ["the server that leads the stream loses the network to the others", "cut", "server", "not in the network routes"],
  ];
  test.each(CASES)(
    "%s",
    async (_what, fault, target, evidence) => {
      const run = await drill?.strike(fault, target, random);
      report(JSON.stringify(run));
      expect(run).toMatchObject({ evidence, problems: [] });
    },
    DRILL_MS,
  );

  test("all of it is over: what was acknowledged is there once", async () => {
    expect(await drill?.compare()).toEqual({ lost: 0, doubled: 0 });
  });
});
