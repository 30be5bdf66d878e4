/** Every command of docs/payloads.md does what the document says of it, one after the other, against a real mesh. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
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
  for (const line of lines) {
    const { code, out, notes } = await cli(...line.split(" "), "--nats-url", mesh.server.url);
    expect([line, code, notes]).toEqual([line, 0, ""]);
    expect(out).not.toBe("");
  }
});
