/** `omnirelay outbox relay` against a real mesh: what a service has committed reaches the shard, and signals end it in order. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, test } from "vitest";
import { enqueueInTransaction } from "../../services/outbox/mod.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { startProcess } from "../support/process.ts";
import { cli } from "./fake-terminal.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

test("relays an outbox until it is empty, tells what is parked, and goes on until a signal", async ({
  onTestFinished,
}) => {
  const mesh = await testMesh(onTestFinished);
  await mesh.dispatcher("d1");
  const client = await mesh.client("default");
  const file = join(mesh.folder, "orders.sqlite");
  const db = new Database(file);
  onTestFinished(() => {
    db.close();
    rmSync(file);
  });
  const relay = (...more: readonly string[]) => ["relay", "--sqlite", file, "--nats-url", mesh.server.url, ...more];
  const missing = await cli("outbox", ...relay());
  expect([missing.code, missing.notes]).toEqual([1, expect.stringContaining("no such table")]);

  db.exec((await cli("outbox", "tables", "sqlite")).out);
  for (let index = 0; index < 5; index += 1) enqueueInTransaction(db, { resourceType: "t", resourceId: `r${index}` });
  expect(await cli("outbox", ...relay("--until-empty", "--json"))).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^\{"sent":0,"waiting":5,.*\n\{"sent":5,"waiting":0,"parked":0,"lagMs":0\}$/s),
    notes: "",
  });
  expect((await client.stats()).pending).toBe(5);

  db.exec(`INSERT INTO omnirelay_outbox (request_id, item) VALUES ('x', '{"resourceType":7}')`);
  const parked = await cli("outbox", ...relay("--until-empty"));
  expect(parked.code).toBe(1);
  expect(parked.notes).toMatch(/row 6 is parked: invalid_argument: /);

  const running = startProcess("services/cli/main.ts", ["outbox", ...relay("--report-ms", "100")], onTestFinished);
  await running.line("0 sent, 0 waiting, 1 parked");
  enqueueInTransaction(db, { resourceType: "t", resourceId: "late" });
  await running.line("1 sent, 0 waiting, 1 parked");
  await running.signal("SIGTERM");
  expect(await running.ended).toBe(0);
  expect(running.lines.at(-1)).toContain("1 rows were sent");
});
