/** The governance example in Go rebuilds, from the changefeed alone, the catalog that the worker of a mesh run has written. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeEach, expect, test, vi } from "vitest";
import { changes } from "../../services/client/mod.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { skipWithoutNats } from "../support/nats.ts";
import { startProcess } from "../support/process.ts";

beforeEach(skipWithoutNats);

const run = promisify(execFile);
const EXAMPLE = join(import.meta.dirname, "../../docs/examples/governance-go");
const ITEMS = 400;
const PATIENCE = { timeout: 60_000, interval: 200 };

/** Why the example cannot be built here; undefined where it can. Modules that are there already are not asked for again. */
async function goNote(): Promise<string | undefined> {
  try {
    await run("go", ["mod", "download"], { cwd: EXAMPLE, timeout: 60_000 });
    return undefined;
  } catch (error) {
    const { code, stderr = "" } = error as { code?: string; stderr?: string };
    return code === "ENOENT"
      ? "Go is not installed"
      : `the modules of the example cannot be had here: ${stderr.trim()}`;
  }
}

test("rebuilds the catalog of a mesh run", async (context) => {
  const note = await goNote();
  if (note !== undefined) return context.skip(note);
  const { onTestFinished } = context;
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-governance-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, "governance");
  await run("go", ["build", "-o", program, "."], { cwd: EXAMPLE, timeout: 150_000 });

  const sinks = JSON.stringify([{ name: "changefeed", kind: "changefeed" }]);
  const mesh = startProcess(
    "services/mesh/main.ts",
    [
      ...["--items", String(ITEMS), "--tables", "8", "--http-port", "0", "--sinks", sinks],
      ...["--data-dir", join(folder, "data")],
    ],
    onTestFinished,
  );
  const { url: natsUrl } = JSON.parse(await mesh.line('"msg":"nats_server_started"')) as { url: string };
  const { detail: httpUrl } = JSON.parse(await mesh.line('"detail":"http://')) as { detail: string };
  const connection = await connectNats({ servers: natsUrl, name: "governance test" });
  onTestFinished(() => connection.close());
  // The sink makes the stream when the log is there.
  await vi.waitFor(() => changes(connection, { shard: "default" }).ready(), PATIENCE);
  let completed = 0;
  for await (const _ of changes(connection, { shard: "default", filter: { eventTypes: ["Completed"] } })) {
    completed += 1;
    if (completed === ITEMS) break;
  }

  const { stdout } = await run(program, ["-server", natsUrl], { timeout: 60_000 });
  const { tables } = (await (await fetch(`${httpUrl}/demo/catalogs?limit=1000`)).json()) as { tables: object[] };
  expect(tables.length).toBeGreaterThan(4);
  expect(JSON.parse(stdout)).toEqual({ tables });
  await expect(run(program, ["-server", natsUrl, "-shard", "other"])).rejects.toMatchObject({
    stderr: expect.stringContaining("LEASE_CHANGES_local_other"),
  });
});
