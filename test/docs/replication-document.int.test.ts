/** The configuration and every command of docs/replication.md and docs/changefeed.md do what the documents say, against a real mesh. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { cli } from "../cli/fake-terminal.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { startProcess } from "../support/process.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

const textOf = (name: string): string => readFileSync(join(import.meta.dirname, "../../docs", name), "utf8");

test("the sinks of the documents run, and every command about them does something", async ({ onTestFinished }) => {
  const mesh = await testMesh(onTestFinished);
  await mesh.dispatcher("d1");
  const documents = [textOf("replication.md"), textOf("changefeed.md")];
  const tables = documents.flatMap((text) =>
    [...text.matchAll(/^```toml\n(\[\[sinks\]\].*?)^```/gms)].map(([, toml]) => toml),
  );
  expect(tables.length).toBeGreaterThan(1);
  const config = join(mesh.folder, "mesh.toml");
  // Paths that begin at the working directory begin at the folder of the test.
  writeFileSync(config, tables.join("\n").replaceAll('"./', `"${mesh.folder}/`));
  const args = ["--config", config, "--nats-url", mesh.server.url, "--data-dir", mesh.dataDir("replicator")];
  await startProcess("services/replicator/main.ts", args, onTestFinished).line('"msg":"ready"');
  await vi.waitFor(
    async () => {
      const { out } = await cli("sink", "list", "--json", "--nats-url", mesh.server.url);
      const states = out.split("\n").map((line) => JSON.parse(line).checkpoint.state);
      expect(states).toEqual(["running", "running", "running"]);
    },
    { timeout: 20_000 },
  );
  const lines = documents.flatMap((text) => [...text.matchAll(/^omnirelay (.*)$/gm)].map(([, line = ""]) => line));
  expect(lines.length).toBeGreaterThan(6);
  for (const line of lines) {
    const { code, out, notes } = await cli(...line.split(" "), "--nats-url", mesh.server.url);
    expect([line, code, notes]).toEqual([line, 0, ""]);
    // Nothing was refused, so nothing is parked.
    expect([line, out === ""]).toEqual([line, line.startsWith("sink parked")]);
  }
});
