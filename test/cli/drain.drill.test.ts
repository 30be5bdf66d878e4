/**
 * `omnirelay drain`, `restore`, `discard` and `evict` against a real mesh. The promise: whatever is killed at whatever step, the same commands
 * again bring every item back once. Faults: SIGKILL of the dispatcher or of the command, at moments met by what stands in the log.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { LogEvent } from "../../contracts/events.ts";
import { type LeaseClient, unwrap } from "../../services/client/mod.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { readLogMessages } from "../../services/jetstream/read-log.ts";
import { decodeFrame } from "../../services/runtime/frame-codec.ts";
import { type TestMesh, testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import type { Cleanup } from "../support/process.ts";
import { startCli } from "./cli-process.ts";
import { type CliResult, cli } from "./fake-terminal.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

interface World {
  readonly mesh: TestMesh;
  readonly client: LeaseClient;
  readonly file: string;
  readonly ask: (...args: readonly string[]) => Promise<CliResult>;
}

async function world(cleanup: Cleanup, shards = "default"): Promise<World> {
  const mesh = await testMesh(cleanup);
  await mesh.dispatcher("d1", ["--shards", shards]);
  const client = await mesh.client("default");
  const ask = (...args: readonly string[]) => cli(...args, "--nats-url", mesh.server.url);
  return { mesh, client, file: join(mesh.folder, "export.jsonl"), ask };
}

const TEXT = "line 1\nline\u2028 2 \u0000 😀";

/** So many items, of which one failed once, one is in a partition and one has every term. */
async function enqueue(client: LeaseClient, count: number): Promise<string[]> {
  const results = await client.enqueueMany(
    Array.from({ length: count }, (_, index) => ({
      ...{ resourceType: "mail", resourceId: `${index}`, body: `${index} ${TEXT}` },
      ...(index % 3 === 1 ? { exclusivity: "partition" as const, partitionKey: "p" } : {}),
      ...(index === 2
        ? { uniqueKey: "u", maxAttempts: 9, leaseDurationMs: 5_000, attributes: { b: "1", a: "2" } }
        : {}),
    })),
  );
  const [lease] = (await client.lease()).leases;
  if (lease !== undefined) await client.fail(lease, { reason: "no", code: "c" });
  return results.map((result) => unwrap(result).itemId);
}

/** What is pending, in order, without what a new item has anew. */
async function contents(client: LeaseClient): Promise<unknown[]> {
  const ids: string[] = [];
  for await (const { itemId } of client.listAll({ limit: 1_000 })) ids.push(itemId);
  const records = [];
  for (let from = 0; from < ids.length; from += 500)
    records.push(...(await client.getMany(ids.slice(from, from + 500))).map(unwrap));
  return records.map(({ itemId: _id, sequence: _sequence, origin: _origin, item, ...rest }) => ({
    ...rest,
    item: { ...item, requestId: undefined },
  }));
}

test("drains, exports, discards and restores, each twice with one effect", async ({ onTestFinished }) => {
  const { client, file, ask } = await world(onTestFinished, "default,other");
  await enqueue(client, 12);
  const before = await contents(client);
  const { leases } = await client.lease({ maxItems: 2 });
  expect(await ask("drain", "monday")).toEqual({
    code: 0,
    out: "drain monday: 12 items held, 2 of them leased",
    notes: "",
  });
  expect((await ask("stats")).out).toMatch(/^granting +draining for monday, which holds 12 items$/m);
  expect(await client.lease()).toMatchObject({ leases: [], reason: "draining" });
  expect(await ask("discard", "monday", "--yes")).toMatchObject({ code: 1, notes: expect.stringContaining("leased") });
  expect(await ask("drain", "tuesday")).toMatchObject({ code: 1, notes: expect.stringContaining("monday is on") });
  expect(await ask("evict", "load")).toEqual({ code: 0, out: "peer load: 2 leases ended", notes: "" });
  expect(await ask("evict", "nobody")).toMatchObject({ code: 0, out: "peer nobody: 0 leases ended" });
  await expect(client.complete(leases[0] as (typeof leases)[number])).rejects.toMatchObject({
    code: "stale_token",
    details: { reason: "evicted" },
  });
  for (let time = 0; time < 2; time += 1)
    expect(await ask("drain", "monday", "--export", file)).toEqual({
      code: 0,
      out: `drain monday: 12 items held, 0 of them leased, 12 exported to ${file}`,
      notes: "",
    });
  writeFileSync(`${file}.other`, "another file");
  const taken = await ask("drain", "monday", "--export", `${file}.other`);
  expect(taken).toMatchObject({ code: 1, notes: expect.stringContaining("no export of this drain") });
  expect(readFileSync(`${file}.other`, "utf8")).toBe("another file");
  expect(await ask("discard", "monday")).toMatchObject({ code: 2, notes: expect.stringContaining("add --yes") });
  expect((await ask("discard", "monday", "--yes")).out).toBe("drain monday: discarded, 12 items have ended");
  expect((await ask("discard", "monday", "--yes")).out).toBe("drain monday: discarded before");
  expect(await ask("restore", "monday")).toMatchObject({ code: 1, notes: expect.stringContaining("conflict") });
  expect((await ask("restore", "--file", file)).out).toBe("12 restored, 0 there before, 0 refused");
  expect((await ask("restore", "--file", file)).out).toBe("0 restored, 12 there before, 0 refused");
  // The two that were granted keep their attempts.
  const attempts = (records: unknown[]) => records.map((each) => ({ ...(each as object), attempt: 0 }));
  expect(attempts(await contents(client))).toEqual(attempts(before));

  const foreign = await ask("restore", "--file", file, "--shard", "other");
  expect(foreign).toMatchObject({ code: 1, out: "", notes: expect.stringMatching(/line 1: .*--from-other-log/) });
  for (const out of ["12 restored, 0 there before, 0 refused", "0 restored, 12 there before, 0 refused"])
    expect((await ask("restore", "--file", file, "--shard", "other", "--from-other-log")).out).toBe(out);
});

test("restore lets a drain's items go on, and a poll that waits is served then", async ({ onTestFinished }) => {
  const { client, ask } = await world(onTestFinished);
  const [first] = await enqueue(client, 1);
  await ask("drain", "monday", "--leases", "expire");
  const polled = client.lease({ waitMs: 20_000 });
  expect((await ask("restore", "monday")).out).toBe("drain monday: restored");
  expect((await polled).leases.map(({ itemId }) => itemId)).toEqual([first]);
  expect((await ask("restore", "monday")).out).toBe("drain monday: restored before");
  expect(await ask("restore", "never")).toMatchObject({ code: 1, notes: expect.stringContaining("drain_not_found") });
  expect(await ask("discard", "never", "--yes")).toMatchObject({ code: 1 });
  expect(await ask("restore")).toMatchObject({ code: 2 });
});

/** The lines with one text in the place of another, and every check as it must be then: a file that somebody else wrote. */
function rechecked(lines: readonly string[], find: string, replace: string): string[] {
  let check = "";
  return lines.map((line) => {
    if (line === "") return line;
    const content = `{${line.slice('{"check":"0123456789abcdef",'.length)}`.replace(find, replace);
    check = createHash("sha256").update(check).update(content).digest("hex").slice(0, 16);
    return `{"check":"${check}",${content.slice(1)}`;
  });
}

describe("a bad file", () => {
  const bad: Record<string, { edit: (lines: string[]) => string[]; says: RegExp }> = {
    "whose item was edited": {
      edit: (lines) => lines.map((line, at) => (at === 2 ? line.replace('"mail"', '"male"') : line)),
      says: /line 3: its check is wrong/,
    },
    "whose lines were swapped": {
      edit: ([a = "", b = "", c = "", ...rest]) => [a, c, b, ...rest],
      says: /line 2: its check is wrong/,
    },
    "that lacks a line": { edit: (lines) => lines.filter((_, at) => at !== 2), says: /line 3: its check is wrong/ },
    "that was cut off": { edit: (lines) => [...lines.slice(0, 3), ""], says: /line 4: the file was cut off/ },
    "that was cut off within a line": {
      edit: (lines) => [...lines.slice(0, 3), (lines[3] ?? "").slice(0, 50)],
      says: /line 4: not a whole line/,
    },
    "with more behind its footer": {
      edit: (lines) => [...lines.slice(0, -1), "{}", ""],
      says: /line 7: a line behind/,
    },
    "that is no export": { edit: () => ["{}", ""], says: /line 1: not a whole line/ },
    "of a newer schema": {
      edit: (lines) => rechecked(lines, '"schemaVersion":1', '"schemaVersion":2'),
      says: /line 1: schema version 2; this release reads 1/,
    },
    "whose item cannot be": {
      edit: (lines) => rechecked(lines, '"attempt":1,"charged":1', '"attempt":1,"charged":2'),
      says: /line 2: charged: must be at most attempt/,
    },
    "whose footer counts more": {
      edit: (lines) => rechecked(lines, '"items":4', '"items":5'),
      says: /line 6: the footer counts 5 items, there are 4/,
    },
    "that is empty": { edit: () => [], says: /line 1: the file was cut off/ },
  };

  test("is refused with the line that is wrong, and nothing is sent", async ({ onTestFinished }) => {
    const { client, file, ask } = await world(onTestFinished);
    await enqueue(client, 4);
    await ask("drain", "monday", "--export", file);
    await ask("discard", "monday", "--yes");
    const { sequence } = await client.stats();
    const text = readFileSync(file, "utf8");
    expect(text.split("\n")).toHaveLength(7);
    for (const [name, { edit, says }] of Object.entries(bad)) {
      writeFileSync(file, edit(text.split("\n")).join("\n"));
      expect([name, await ask("restore", "--file", file)]).toEqual([
        name,
        { code: 1, out: "", notes: expect.stringMatching(says) },
      ]);
    }
    expect(await ask("restore", "--file", `${file}.none`)).toMatchObject({
      code: 1,
      notes: expect.stringMatching(/cannot read/),
    });
    expect((await client.stats()).sequence).toBe(sequence);
  });
});

const ITEMS = 2_500;

/** Waits until so many events of a kind stand in the log. */
async function untilEvents(mesh: TestMesh, cleanup: Cleanup, kind: string, count: number): Promise<void> {
  const connection = await connectNats({ servers: mesh.server.url, name: "test" });
  cleanup(() => connection.close());
  let seen = 0;
  for await (const message of readLogMessages(connection, { region: "local", shard: "default", live: true })) {
    const decoded = decodeFrame(message.payload);
    if (decoded.kind === "void") continue;
    seen += decoded.frame.events.filter((event) => kindOf(event) === kind).length;
    if (seen >= count) return;
  }
}

const kindOf = (event: LogEvent): string =>
  event.type === "restored" && event.entry !== undefined ? "restored item" : event.type;

/** Each step with the moment of its kill. */
const STEPS = [
  { args: ["drain", "d", "--leases", "expire"], kind: "drained", count: 1 },
  { args: ["drain", "d", "--leases", "expire", "--export", "FILE"], kind: "export", count: 1 },
  { args: ["discard", "d", "--yes"], kind: "discarded", count: 1 },
  { args: ["restore", "--file", "FILE"], kind: "restored item", count: 700 },
  { args: ["drain", "e"], kind: "drained", count: 2 },
  { args: ["restore", "e"], kind: "restored", count: 1 },
];

test.for(["dispatcher", "command"])(
  "no item is lost or doubled when the %s is killed at each step",
  { timeout: 240_000 },
  async (victim, { onTestFinished }) => {
    const mesh = await testMesh(onTestFinished);
    let dispatcher = await mesh.dispatcher("d1");
    const client = await mesh.client("default", { timeoutMs: 60_000 });
    await enqueue(client, ITEMS);
    const before = await contents(client);
    const file = join(mesh.folder, "export.jsonl");
    for (const { args, kind, count } of STEPS) {
      const line = args.map((word) => (word === "FILE" ? file : word));
      const ask = () => startCli([...line, "--nats-url", mesh.server.url, "--timeout-ms", "60000"], onTestFinished);
      const isWriting = (): boolean => [file, `${file}.partial`].some((path) => existsSync(path));
      const met =
        kind === "export"
          ? expect.poll(isWriting, { timeout: 30_000, interval: 2 }).toBe(true)
          : untilEvents(mesh, onTestFinished, kind, count);
      const running = ask();
      await met;
      if (victim === "command") running.child.kill("SIGKILL");
      else {
        await dispatcher.signal("SIGKILL");
        dispatcher = await mesh.dispatcher("d1");
      }
      await running.ended;
      for (let time = 0; time < 2; time += 1) expect(await ask().ended).toMatchObject({ code: 0 });
    }
    expect(await contents(client)).toEqual(before);
    expect(await client.stats()).toMatchObject({ pending: ITEMS, active: 0, removed: ITEMS });
    const audit = await cli("log", "verify", "--nats-url", mesh.server.url, "--json");
    expect(JSON.parse(audit.out)).toMatchObject({ ok: true });
  },
);
