/** Every command of docs/queue.md does what the document says of it, one after the other, against a real mesh. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { LeaseClient } from "../../services/client/mod.ts";
import { cli } from "../cli/fake-terminal.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

/** The commands in order, as lists of words; a text in quotes is one. */
function documentCommands(): readonly (readonly string[])[] {
  const text = readFileSync(join(import.meta.dirname, "../../docs/queue.md"), "utf8");
  return [...text.matchAll(/^omnirelay (.*)$/gm)].map(([, line = ""]) =>
    [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? ""),
  );
}

async function enqueue(client: LeaseClient): Promise<string> {
  return (await client.enqueue({ resourceType: "mail", resourceId: "prepared", priority: 9 })).itemId;
}

async function bury(client: LeaseClient): Promise<string> {
  const itemId = await enqueue(client);
  const [lease] = (await client.lease({ resourceTypes: ["mail"] })).leases;
  expect(lease?.itemId).toBe(itemId);
  await client.fail({ itemId, token: lease?.token ?? 0 }, { reason: "no", code: "timeout", requeue: false });
  return itemId;
}

test("every command of docs/queue.md does something", { timeout: 60_000 }, async ({ onTestFinished }) => {
  const mesh = await testMesh(onTestFinished);
  await mesh.dispatcher("d1");
  const client = await mesh.client("default");
  const commands = documentCommands();
  expect(commands.length).toBeGreaterThan(10);
  for (const words of commands) {
    const isOfDeadLetters = words[0] === "dead-letters";
    const itemId = isOfDeadLetters ? await bury(client) : await enqueue(client);
    const named = (word: string): string => (word.endsWith(".jsonl") ? join(mesh.folder, word) : word);
    const line = words.map((word) => (word === "ITEM" ? itemId : named(word)));
    // It asks no server.
    const isAlone = words[0] === "schedule" && words[1] === "next";
    const { code, out, notes } = await cli(...line, ...(isAlone ? [] : ["--nats-url", mesh.server.url]));
    expect([line, code, notes]).toEqual([line, 0, ""]);
    expect(out).not.toMatch(/^(|0 .*)$/);
    // So that the next dead letter is the first that is granted.
    await client.cancel(itemId).catch(() => undefined);
  }
  expect((await client.stats()).options).toMatchObject({ ageingMs: 60_000, retry: "exponential", retryMaxMs: 60_000 });
});
