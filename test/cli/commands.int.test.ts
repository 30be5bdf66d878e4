/** The commands against a real mesh: what they print, for people and for programs. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { headers } from "@nats-io/transport-node";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { PAGE_SCAN_MAX } from "../../contracts/limits.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import { CHAIN_HEADER, logSubject } from "../../contracts/subjects.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { readLogMessages } from "../../services/jetstream/read-log.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, natsAvailability } from "../support/nats.ts";
import { startCli } from "./cli-process.ts";
import { cli } from "./fake-terminal.ts";

const nats = await natsAvailability();
const skipNote = nats.available ? "" : `, skipped: ${nats.reason}`;

afterEach(failOnLeakedServers);

function itemsFile(lines: readonly object[]): string {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-items-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "items.jsonl");
  writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  return file;
}

describe.skipIf(!nats.available)(`the commands${skipNote}`, () => {
  test("items go in from options and from a file, once each, and come out by stats, list, get and log", async () => {
    const mesh = await testMesh(onTestFinished);
    await mesh.dispatcher("d1");
    const ask = (...args: readonly string[]) => cli(...args, "--nats-url", mesh.server.url);
    const single = [
      "enqueue",
      "--resource-type",
      "orders",
      "--resource-id",
      "42",
      "--body",
      '{"step":1}',
      "--request-id",
      "r1",
    ];

    expect(await ask(...single)).toEqual({
      code: 0,
      out: "1 enqueued, 0 known before, 0 refused\nitem 3, sequence 3",
      notes: "",
    });
    expect(JSON.parse((await ask(...single, "--json")).out)).toMatchObject({
      items: 1,
      enqueued: 0,
      duplicates: 1,
      refused: 0,
    });
    expect(await ask(...single.with(6, '{"step":2}'))).toMatchObject({
      code: 1,
      notes: expect.stringContaining("item 1: conflict: "),
    });

    const file = itemsFile(
      Array.from({ length: 2_500 }, (_, index) => ({
        resourceType: "t",
        resourceId: `r${index}`,
        requestId: `f${index}`,
      })),
    );
    expect(await ask("enqueue", "--file", file)).toMatchObject({
      code: 0,
      out: "2500 enqueued, 0 known before, 0 refused",
    });
    expect(await ask("enqueue", "--file", file)).toMatchObject({
      code: 0,
      out: "0 enqueued, 2500 known before, 0 refused",
    });

    expect(JSON.parse((await ask("stats", "--json")).out)).toMatchObject({
      pending: 2_501,
      active: 0,
      shard: "default",
      leader: "d1",
    });
    expect((await ask("stats")).out).toMatch(/^pending {7}2501, oldest from 20/m);

    const page = await ask("list", "--resource-type", "t", "--limit", "2");
    expect(page.out.split("\n")).toEqual([
      expect.stringMatching(/^4 +pending +t r0 +0$/),
      expect.stringMatching(/^5 +pending +t r1 +0$/),
    ]);
    const cursor = /--cursor (\S+),/.exec(page.notes)?.[1] ?? "";
    expect((await ask("list", "--resource-type", "t", "--limit", "1", "--cursor", cursor)).out).toMatch(/ t r2 /);
    const all = (await ask("list", "--all", "--json")).out.split("\n").map((line) => JSON.parse(line).item.resourceId);
    expect(all).toEqual(["42", ...Array.from({ length: 2_500 }, (_, index) => `r${index}`)]);

    expect(JSON.parse((await ask("get", "3", "--json")).out)).toMatchObject({
      itemId: "3",
      item: { body: '{"step":1}' },
    });
    expect(await ask("get", "3", "nobody", "--json")).toMatchObject({
      code: 1,
      notes: expect.stringMatching(/item "nobody": /),
    });

    const tail = await ask("log", "tail", "-n", "1000");
    expect(tail.out).toMatch(/^ {4}3 {2}enqueued 3 orders 42 {2}by cli$/m);
    const report = JSON.parse((await ask("log", "verify", "--json")).out);
    expect(report).toMatchObject({ ok: true, eventsByType: { enqueued: 2_501 }, counts: { pending: 2_501 } });
    expect(report.stateHash).toBe(JSON.parse((await ask("stats", "--json")).out).stateHash);
  });

  test("log tail --follow prints what comes, and ends in order when its reader leaves", async () => {
    const mesh = await testMesh(onTestFinished);
    await mesh.dispatcher("d1");
    const tail = startCli(["log", "tail", "--follow", "--json", "--nats-url", mesh.server.url], onTestFinished);
    await expect.poll(() => tail.out(), { timeout: 20_000 }).toContain("termStarted");
    await cli("enqueue", "--resource-type", "t", "--resource-id", "late", "--nats-url", mesh.server.url);
    await expect.poll(() => tail.out(), { timeout: 20_000 }).toContain('"resourceId":"late"');
    for (const line of tail.out().trimEnd().split("\n"))
      expect(JSON.parse(line)).toMatchObject({ frame: { schema: 1, shard: "default" } });
    tail.child.stdout?.destroy();
    await cli("enqueue", "--resource-type", "t", "--resource-id", "later", "--nats-url", mesh.server.url);
    expect(await tail.ended).toMatchObject({ code: 0, notes: "" });
  });

  test("log verify steps over a stranger's message, and says when the beginning was taken out", async () => {
    const mesh = await testMesh(onTestFinished);
    const dispatcher = await mesh.dispatcher("d1", [], '"msg":"leading"');
    const ask = (...args: readonly string[]) => cli(...args, "--nats-url", mesh.server.url);
    await ask("enqueue", "--resource-type", "t", "--resource-id", "1");
    await dispatcher.signal("SIGTERM");
    const connection = await connectNats({ servers: mesh.server.url, name: "stranger" });
    onTestFinished(() => connection.close());
    await connection.request(logSubject("local", "default"), "hello");
    const stepped = await ask("log", "verify");
    expect(stepped).toMatchObject({ code: 0, notes: "" });
    expect(stepped.out).toMatch(/^void message at stream sequence \d+: unparsable$/m);
    const purged = await connection.request("$JS.API.STREAM.PURGE.LEASE_LOG_local_default", JSON.stringify({ seq: 2 }));
    expect(JSON.parse(purged.string()).success).toBe(true);
    const trimmed = await ask("log", "verify", "--json");
    expect(trimmed.code).toBe(1);
    expect(JSON.parse(trimmed.out)).toMatchObject({ ok: false, verdict: "incomplete", trimmedBelow: 2 });
    expect(trimmed.notes).toMatch(
      /the log of local\/default is trimmed below stream sequence 2, and no good snapshot leads into what is left/,
    );
    const { last } = JSON.parse(trimmed.out).stream;
    expect(JSON.parse(trimmed.out).stream).toEqual({ first: 2, last: expect.any(Number) });
    expect(await ask("log", "verify", "--from", "2")).toMatchObject({ code: 0, notes: "" });
    const beyond = await ask("log", "verify", "--from", String(last + 1));
    expect(beyond).toMatchObject({ code: 2, out: "" });
    expect(beyond.notes).toContain(`--from ${last + 1} is not in the stream, which holds 2 to ${last}`);
  });

  test("log tail marks a copy of the past and a stranger's message", async () => {
    const mesh = await testMesh(onTestFinished);
    const dispatcher = await mesh.dispatcher("d1", [], '"msg":"leading"');
    const ask = (...args: readonly string[]) => cli(...args, "--nats-url", mesh.server.url);
    await ask("enqueue", "--resource-type", "t", "--resource-id", "1");
    await dispatcher.signal("SIGTERM");
    const connection = await connectNats({ servers: mesh.server.url, name: "stranger" });
    onTestFinished(() => connection.close());
    let copied: LogMessage | undefined;
    for await (const message of readLogMessages(connection, { region: "local", shard: "default", to: 2 }))
      copied = message;
    const header = headers();
    header.set(CHAIN_HEADER, copied?.chainHeader ?? "");
    const subject = logSubject("local", "default");
    await connection.request(subject, copied?.payload ?? "", { headers: header, timeout: 5_000 });
    await connection.request(subject, "hello");
    const tail = await ask("log", "tail", "-n", "3");
    expect(tail.code).toBe(0);
    expect(tail.out).toMatch(/^\d+ {2}void message: copy of the past\n\d+ {2}void message: unparsable$/m);
    const lines = (await ask("log", "tail", "-n", "3", "--json")).out.split("\n").map((line) => JSON.parse(line));
    expect(lines).toEqual([
      expect.objectContaining({ frame: expect.objectContaining({ shard: "default" }) }),
      { streamSequence: expect.any(Number), void: "copy of the past" },
      { streamSequence: expect.any(Number), void: "unparsable" },
    ]);
  });

  test("list with a filter goes on until its limit is filled, however much lies between", async () => {
    const mesh = await testMesh(onTestFinished);
    await mesh.dispatcher("d1");
    const ask = (...args: readonly string[]) => cli(...args, "--nats-url", mesh.server.url);
    const others = Array.from({ length: 2 * PAGE_SCAN_MAX + 10 }, (_, index) => ({
      resourceType: "other",
      resourceId: `r${index}`,
    }));
    const wanted = (id: string) => ({ resourceType: "rare", resourceId: id });
    await ask("enqueue", "--file", itemsFile([wanted("a"), ...others, wanted("b"), wanted("c")]));
    const page = await ask("list", "--resource-type", "rare", "--limit", "2", "--json");
    expect(page.out.split("\n").map((line) => JSON.parse(line).item.resourceId)).toEqual(["a", "b"]);
    expect(page.notes).toMatch(/there may be more: --cursor/);
    const all = await ask("list", "--resource-type", "rare", "--limit", "5", "--json");
    expect([all.out.split("\n").length, all.notes]).toEqual([3, ""]);
  });

  test("what is not there is told: a shard that nobody leads, a stream that nobody made", async () => {
    const mesh = await testMesh(onTestFinished);
    const ask = (...args: readonly string[]) => cli(...args, "--nats-url", mesh.server.url, "--shard", "other");
    expect(await ask("stats", "--timeout-ms", "300")).toMatchObject({
      code: 1,
      notes: expect.stringMatching(/is a dispatcher of this shard running\?/),
    });
    for (const command of [
      ["log", "tail"],
      ["log", "verify"],
    ])
      expect(await ask(...command)).toMatchObject({
        code: 1,
        notes: expect.stringContaining("there is no stream LEASE_LOG_local_other"),
      });
  });

  test("up hands its flags to the mesh, and its exit code back", async () => {
    const refused = await startCli(["up", "--items", "none"], onTestFinished).ended;
    expect(refused).toMatchObject({ code: 2, notes: expect.stringContaining("--items") });
    const help = await startCli(["up", "--", "--help"], onTestFinished).ended;
    expect(help).toMatchObject({ code: 0, out: expect.stringContaining("--roles") });
    const folder = mkdtempSync(join(tmpdir(), "omnirelay-up-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const up = startCli(["up", "--roles", "dispatcher", "--data-dir", folder], onTestFinished);
    await expect.poll(() => up.out(), { timeout: 20_000 }).toContain('"msg":"ready"');
    up.child.kill("SIGTERM");
    expect((await up.ended).code).toBe(0);
  });
});
