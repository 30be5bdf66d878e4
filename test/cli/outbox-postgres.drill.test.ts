/** `omnirelay outbox relay` on a real PostgreSQL server. */
import pg from "pg";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { enqueueInTransaction } from "../../services/outbox/mod.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { postgresNote, postgresServer } from "../support/postgres.ts";
import { cli } from "./fake-terminal.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

test("relays the outbox of a PostgreSQL database that a variable names", async (context) => {
  if (postgresNote !== undefined) return context.skip(postgresNote);
  const { onTestFinished } = context;
  const url = await postgresServer(onTestFinished);
  const mesh = await testMesh(onTestFinished);
  await mesh.dispatcher("d1");
  const client = await mesh.client("default");
  const db = new pg.Client(url);
  await db.connect();
  onTestFinished(() => db.end());
  await db.query((await cli("outbox", "tables", "postgres", "--table", "mail_outbox")).out);
  for (let index = 0; index < 5; index += 1)
    await enqueueInTransaction(db, { resourceType: "t", resourceId: `r${index}` }, "mail_outbox");
  vi.stubEnv("TEST_OUTBOX_URL", url);
  onTestFinished(() => void vi.unstubAllEnvs());
  const options = ["--postgres-env", "TEST_OUTBOX_URL", "--nats-url", mesh.server.url, "--until-empty", "--json"];
  const wrong = await cli("outbox", "relay", ...options);
  expect([wrong.code, wrong.notes]).toEqual([1, expect.stringContaining("omnirelay_outbox")]);
  const { code, out } = await cli("outbox", "relay", "--table", "mail_outbox", ...options);
  expect([code, out]).toEqual([0, expect.stringMatching(/"sent":5,"waiting":0,"parked":0/)]);
  expect((await client.stats()).pending).toBe(5);
});
