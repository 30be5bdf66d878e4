/** `omnirelay ledger` over real streams: a mesh's own log, and logs that were tampered with before they were stored. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, onTestFinished, test } from "vitest";
import type { LogMessage } from "../../contracts/ports.ts";
import { connectNats } from "../../services/jetstream/connect.ts";
import { readLogMessages } from "../../services/jetstream/read-log.ts";
import { chainOf } from "../../services/runtime/frame-codec.ts";
import { logHand } from "../support/log-hand.ts";
import { testMesh } from "../support/mesh.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";
import { cli } from "./fake-terminal.ts";
import { changedFrame } from "./ledger-export.ts";
import { richWorld, StoredLog } from "./stored-log.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-ledger-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test("a mesh's own log is exported, signed, verified offline and proven event by event, past what a stranger published", async () => {
  const mesh = await testMesh(onTestFinished);
  await mesh.dispatcher("d1");
  const client = await mesh.client("default");
  const hand = await logHand(mesh.server.url, { shard: "default" }, onTestFinished);
  const { itemId, sequence } = await client.enqueue({
    resourceType: "table",
    resourceId: "a",
    body: "line\u2028 \u0000 😀",
  });
  await hand.publish(Buffer.from("hello"));
  await hand.publish(await hand.read(2), true);
  for (const { token } of (await client.lease()).leases) await client.complete({ itemId, token });
  const path = (name: string) => join(mesh.folder, name);
  const ask = (line: string) => askIn(mesh.folder, mesh.server.url, line);

  await ask("key new --out auditor.key");
  const live = await ask("verify --strict --json");
  expect(live.notes).toBe("");
  const { last } = await hand.bounds();
  expect(JSON.parse(live.out)).toMatchObject({
    ok: true,
    source: "log",
    frames: last - 2,
    voids: {
      count: 2,
      first: [expect.stringMatching(/^stream sequence \d+: unparsable$/), expect.stringMatching(/copy of the past$/)],
    },
    digest: { firstSequence: 1, chainBefore: "", region: "local", shard: "default" },
  });
  // What a killed export leaves behind.
  writeFileSync(path("export.jsonl.partial"), "x".repeat(1_000_000));
  const exported = await ask("export --out export.jsonl --sign-key auditor.key --json");
  expect(JSON.parse(exported.out).digest).toEqual(JSON.parse(live.out).digest);
  expect(readdirSync(mesh.folder).filter((name) => name.includes("partial"))).toEqual([]);
  await ask("digest --out digest.json --sign-key auditor.key");

  // The stored bytes, as they are in the stream.
  const connection = await connectNats({ servers: mesh.server.url, name: "auditor" });
  onTestFinished(() => connection.close());
  const stored: string[] = [];
  for await (const { payload, chainHeader } of readLogMessages(connection, { region: "local", shard: "default" }))
    if (chainHeader === chainOf(payload) && !stored.includes(chainHeader)) stored.push(chainHeader);
  const lines = readFileSync(path("export.jsonl"), "utf8").trimEnd().split("\n");
  expect(lines.slice(1, -1).map((line) => chainOf(Buffer.from(JSON.parse(line).payload)))).toEqual(stored);

  // From here on nobody is asked.
  await mesh.server.kill();
  const offline = await ask("verify --file export.jsonl --digest digest.json --key auditor.key.pub --strict");
  expect(offline).toMatchObject({ code: 0, notes: "" });
  await ask(`prove --sequence ${sequence} --file export.jsonl --out event.json`);
  const proven = await ask("verify --proof event.json --key auditor.key.pub --json");
  expect(JSON.parse(proven.out)).toMatchObject({
    signature: "valid",
    event: { sequence, event: { type: "enqueued", itemId, item: { body: "line\u2028 \u0000 😀" } } },
  });
  const line = lines.findIndex((text) => text.includes("😀"));
  writeFileSync(path("export.jsonl"), readFileSync(path("export.jsonl"), "utf8").replace("😀", "😁"));
  expect(await ask("verify --file export.jsonl --json")).toMatchObject({
    code: 1,
    notes: expect.stringMatching(`^omnirelay: ledger_frame_changed: line ${line + 1}: the payload and the chain value`),
  });
});

async function askIn(folder: string, url: string, line: string) {
  const words = line.split(" ").map((word) => (/^[a-z-]+(\.[a-z]+)+$/.test(word) ? join(folder, word) : word));
  const isOffline = /^(key|verify --(file|proof)|prove .*--file)/.test(line);
  return cli("ledger", ...words, ...(isOffline ? [] : ["--nats-url", url]));
}

/** A log of real frames in a real stream. */
async function stored() {
  const world = richWorld();
  const log = await StoredLog.create(onTestFinished, world.frames);
  const folder = temporaryFolder();
  return { world, log, folder, ask: (line: string) => askIn(folder, log.url, line) };
}

test("any range of a live log is verified by the events that it is to hold, and what is trimmed away is told", async () => {
  const { world, log, folder, ask } = await stored();
  const first = (index: number): number => world.frames[index]?.first ?? 0;
  const [from, to] = [first(10), first(21) - 1];
  const report = async (line: string) => JSON.parse((await ask(`${line} --json`)).out);
  const part = await report(`verify --from ${from} --to ${to}`);
  expect(part).toMatchObject({
    ok: true,
    digest: {
      firstSequence: from,
      lastSequence: to,
      chainBefore: chainOf(log.messages[9]?.payload ?? Buffer.from("")),
    },
  });
  const end = world.state.sequence;
  expect((await report(`verify --from ${end}`)).digest).toMatchObject({ lastSequence: end });
  expect((await ask(`verify --from ${from}`)).out).toMatch(/^not proven +what stood before the range/m);
  for (const [line, message] of [
    [
      `verify --from ${end + 1}`,
      new RegExp(`begins at sequence ${end + 1}, behind the end of the log of local/default`),
    ],
    [
      `export --out x.jsonl --to ${end + 1}`,
      new RegExp(`the range ends at sequence ${end + 1}; the log ends at ${end}`),
    ],
    ["export --out x.jsonl --from 9 --to 8", /the range from sequence 9 to 8 is empty/],
    [`prove --sequence ${end + 1} --out x.json`, /is not in the range, which holds the events 1 to/],
    ["export --out none/x.jsonl", /cannot write none\/x.jsonl: ENOENT/],
    ["verify --shard other", /there is no stream LEASE_LOG_local_other/],
  ] as const)
    expect([line, await ask(line)]).toEqual([line, { code: 1, out: "", notes: expect.stringMatching(message) }]);
  expect(readdirSync(folder)).toEqual([]);

  await ask(`export --out part.jsonl --from ${from} --to ${to}`);
  await ask("digest --out kept.json");
  await ask(`digest --out late.json --from ${first(30)}`);
  await log.trim(15);
  expect(await ask(`verify --from ${from}`)).toMatchObject({
    code: 1,
    notes: expect.stringMatching(/ledger_range_trimmed: .*below stream sequence 15/),
  });
  expect(await ask("verify --digest kept.json")).toMatchObject({
    code: 1,
    notes: expect.stringMatching(/ledger_range_trimmed/),
  });
  expect(await ask("verify --file part.jsonl")).toMatchObject({ code: 0 });
  expect(await ask("verify --digest late.json")).toMatchObject({ code: 0, notes: "" });
  expect(await report("verify")).toMatchObject({ ok: true, frames: log.messages.length - 14 });
});

test("a log that was tampered with before it was stored is told with what was done, and where", async () => {
  const { log, folder, ask } = await stored();
  await ask("digest --out kept.json");
  const good = log.messages.slice(0, 12);
  const tenth = good[9] as LogMessage;
  const rewritten = changedFrame(tenth, () => ({ writer: "mallory" }));
  const flipped = { ...tenth, payload: Buffer.from(tenth.payload).fill((tenth.payload[30] ?? 0) ^ 4, 30, 31) };
  const cases: [string, readonly LogMessage[], string, number][] = [
    ["a flipped bit", good.with(9, flipped), "ledger_frame_changed", 10],
    ["a changed header", good.with(9, { ...tenth, chainHeader: "0".repeat(64) }), "ledger_frame_changed", 10],
    ["a rewritten frame", good.with(9, rewritten), "ledger_frame_changed", 10],
    ["a removed frame", good.toSpliced(9, 1), "ledger_frame_removed", 10],
    ["two frames in the wrong order", good.with(8, tenth).with(9, good[8] as LogMessage), "ledger_frame_reordered", 9],
    ["an inserted frame that continues the chain", good.toSpliced(9, 0, rewritten), "ledger_frame_inserted", 10],
    [
      "an inserted frame that continues nothing",
      good.toSpliced(
        9,
        0,
        changedFrame(tenth, ({ first }) => ({ first: first + 50, prev: "0".repeat(64) })),
      ),
      "ledger_frame_inserted",
      10,
    ],
  ];
  for (const [what, messages, code, at] of cases) {
    log.messages = messages;
    await log.removeStream();
    await log.recreate(messages.length);
    const { code: exitCode, out, notes } = await ask("verify --json");
    expect([what, JSON.parse(out).problem, notes]).toEqual([
      what,
      { code, message: expect.any(String), place: { unit: "stream sequence", at } },
      expect.stringMatching(`^omnirelay: ${code}: stream sequence ${at}: `),
    ]);
    expect(exitCode).toBe(1);
    expect(await ask("export --out tampered.jsonl")).toMatchObject({ code: 1, out: "" });
    expect(readdirSync(folder)).toEqual(["kept.json"]);
  }
  log.messages = good;
  await log.removeStream();
  await log.recreate(12);
  const shorter = await ask("verify --digest kept.json");
  expect(shorter.notes).toMatch(/log_tail_lost: the digest is of \d+ frames; the log ends after 12 of them/);
  await log.remove(5);
  expect((await ask("verify")).notes).toMatch(/log_gap: stream sequence 5: the message is missing in the stream/);
});

test("a range of a long log is found by halves, also where copies of the past mislead", async () => {
  const { world, log, ask } = await stored();
  const before = world.frames.length;
  for (let index = 0; index < 400; index += 1) world.seed(1);
  await log.append(world.frames.slice(before, 400));
  // Copies: a run that is chained in itself, and single ones.
  for (const index of [...Array(50).keys(), 3, 150, 5]) {
    const { payload, chainHeader } = log.messages[200 + index] ?? log.messages[0] ?? { payload: "", chainHeader: "" };
    await log.publish(payload, chainHeader);
  }
  await log.appendBehind(53, world.frames.slice(400));
  const first = (index: number): number => world.frames[index]?.first ?? 0;
  const chains = log.messages.map(({ payload }) => chainOf(payload));
  for (const index of [200, 249, 399, 400, 401]) {
    const from = first(index);
    for (const to of [from, first(index + 3) - 1]) {
      if (to < from) continue;
      const { out, notes } = await ask(`verify --from ${from} --to ${to} --json`);
      expect([index, notes]).toEqual([index, ""]);
      const { digest } = JSON.parse(out);
      expect([index, digest.chainBefore, digest.firstSequence, digest.lastSequence]).toEqual([
        ...[index, chains[index - 1], from, to],
      ]);
    }
  }
  expect(await ask(`digest --from ${first(390)} --out kept.json`)).toMatchObject({ code: 0 });
  expect(await ask("verify --digest kept.json")).toMatchObject({ code: 0, notes: "" });
});
