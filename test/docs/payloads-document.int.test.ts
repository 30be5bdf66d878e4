/** Every command of docs/payloads.md does what the document says of it, one after the other, against a real mesh. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, test } from "vitest";
import { enqueueInTransaction, outboxTable } from "../../services/outbox/mod.ts";
import { cli } from "../cli/fake-terminal.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

test("every command of docs/payloads.md does something", async ({ onTestFinished }) => {
  const mesh = await testMesh(onTestFinished);
  await mesh.dispatcher("d1");
  const text = readFileSync(join(import.meta.dirname, "../../docs/payloads.md"), "utf8");
  const lines = [...text.matchAll(/^omnirelay (.*)$/gm)].map(([, line = ""]) => line);
  expect(lines.length).toBeGreaterThan(2);
  const service = new Database(join(mesh.folder, "orders.sqlite"));
  onTestFinished(() => void service.close());
  service.exec(outboxTable("sqlite"));
  enqueueInTransaction(service, { resourceType: "mail", resourceId: "17" });
  for (const line of lines) {
    const words = line.split(" ").map((word) => (word.endsWith(".sqlite") ? join(mesh.folder, word) : word));
    // It asks no server.
    const isAlone = line.startsWith("outbox tables");
    const { code, out, notes } = await cli(...words, ...(isAlone ? [] : ["--nats-url", mesh.server.url]));
    expect([line, code, notes.replace(/^omnirelay: the relay has ended; 1 rows were sent$/, "")]).toEqual([
      line,
      0,
      "",
    ]);
    expect(out).not.toBe("");
  }
});
