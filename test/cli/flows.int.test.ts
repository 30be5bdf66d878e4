/** `omnirelay enqueue` with items that depend on others, against a real mesh. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { cli } from "./fake-terminal.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

test("items of a file depend on lines before them, also where the file takes several requests", async ({
  onTestFinished,
}) => {
  const mesh = await testMesh(onTestFinished);
  await mesh.dispatcher("d1");
  const client = await mesh.client("default");
  const ask = (...args: readonly string[]) => cli(...args, "--nats-url", mesh.server.url);
  const folder = mkdtempSync(join(tmpdir(), "flows-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "items.jsonl");
  const line = (more: object) => JSON.stringify({ resourceType: "t", resourceId: "r", ...more });
  const plain = Array.from({ length: 1_000 }, () => line({}));
  const flows = [{ index: 3 }, { index: 1_000 }, { index: 1_005 }].map((named) => line({ dependsOn: [named] }));
  writeFileSync(file, [...plain, ...flows].join("\n"));
  const reply = await ask("enqueue", "--file", file, "--json");
  expect(reply.code).toBe(1);
  const { results, enqueued } = JSON.parse(reply.out) as { results: { itemId: string }[]; enqueued: number };
  expect(enqueued).toBe(1_002);
  expect(reply.notes).toMatch(/item 1003: invalid_argument/);
  const named = async (place: number) => (await client.get(results[place]?.itemId ?? "")).dependencies;
  expect(await named(1_000)).toEqual([{ itemId: results[3]?.itemId, outcome: "pending" }]);
  expect(await named(1_001)).toEqual([{ itemId: results[1_000]?.itemId, outcome: "pending" }]);

  const [first = "", second = ""] = results.map(({ itemId }) => itemId);
  const names = ["--depends-on", first, "--depends-on", second, "--on-dependency-failure", "cancel"];
  const one = await ask("enqueue", "--resource-type", "t", "--resource-id", "r", ...names, "--json");
  const { itemId = "" } = JSON.parse(one.out).results[0] as { itemId?: string };
  expect(await client.get(itemId)).toMatchObject({ onDependencyFailure: "cancel", dependencies: [{}, {}] });
  expect((await ask("explain", itemId)).out).toContain("waits for 2 of the 2 items that it depends on");
  await client.cancel(first);
  await expect.poll(async () => (await client.get(itemId)).status, { timeout: 15_000, interval: 20 }).toBe("cancelled");
  expect((await ask("log", "tail", "-n", "3")).out).toMatch(/cancelled .*was not completed: cancelled/);
});
