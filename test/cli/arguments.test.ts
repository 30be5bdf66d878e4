/** What the command refuses before it asks anybody, and what it says then. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { addLine, deltaFolder, temporaryFolder } from "../catalog/delta-folder.ts";
import { cli } from "./fake-terminal.ts";

const NOWHERE = "nats://127.0.0.1:1";

beforeEach(() => {
  vi.stubEnv("OMNIRELAY_NATS_URL", undefined);
  vi.stubEnv("OMNIRELAY_REGION", undefined);
  return () => vi.unstubAllEnvs();
});

describe("wrong usage ends with code 2 and says what is wrong", () => {
  const cases: [string, RegExp][] = [
    ["nonsense", /unknown command 'nonsense'/],
    ["enque", /unknown command 'enque'\s+\(Did you mean enqueue\?\)/],
    ["snapshot verify --sequence 1.5", /must be a whole number/],
    ["snapshot list --data-dir=", /must be the path of a folder/],
    ["state diff", /missing required argument 'left'/],
    ["state diff log@x", /needs an event sequence behind log@/],
    ["state dump", /required option '--output <file>' not specified/],
    ["outbox relay", /give --sqlite or --postgres-env/],
    ["outbox relay --sqlite x --postgres-env Y", /cannot be used with option/],
    ["outbox relay --postgres-env postgres://u:p@h", /must be the name of a variable/],
    ["outbox relay --sqlite=", /must be the path of a file/],
    ["outbox relay --sqlite x --batch-size 0", /must be a whole number from 1 to 1000/],
    ["outbox tables mysql", /Allowed choices are sqlite, postgres/],
    ["stats --nonsense", /unknown option '--nonsense'/],
    ["stats extra", /too many arguments/],
    ["stats --shard A", /--shard <name>' argument 'A' is invalid/],
    ["stats --shard a.b", /--shard/],
    ["stats --shard *", /--shard/],
    ["stats --principal a.b", /--principal <name>' argument 'a.b' is invalid/],
    ["stats --principal me--you", /--principal/],
    ["stats --nats-url http://x", /must be nats:\/\/HOST:PORT, several with commas/],
    ["stats --nats-url nats://", /must be nats:\/\/HOST:PORT/],
    ["stats --nats-url nats://h:65536", /must be nats:\/\/HOST:PORT/],
    ["stats --nats-url nats://h:0", /must be nats:\/\/HOST:PORT/],
    ["stats --nats-url nats://h:1,,nats://h:2", /must be nats:\/\/HOST:PORT/],
    ["stats --timeout-ms 0", /must be a whole number from 1 to/],
    ["stats --timeout-ms 1e3", /must be a whole number/],
    ["stats --timeout-ms -5", /whole number/],
    ["stats --timeout-ms 99999999999999999999", /must be a whole number/],
    ["list --status done", /Allowed choices are pending, leased, deadLettered/],
    ["list --limit 1001", /must be a whole number from 1 to 1000/],
    ["list --cursor A!", /must be the cursor of an earlier page/],
    ["list --all --cursor 3", /cannot be used with option/],
    ["get", /missing required argument 'item'/],
    ["enqueue", /give --file, or --resource-type and --resource-id/],
    ["enqueue --resource-type t", /give --file, or --resource-type and --resource-id/],
    ["enqueue --file x --resource-type t", /exclude each other/],
    ["enqueue --file x --body b", /exclude each other/],
    ["enqueue --resource-type t --resource-id r --attribute x", /must be name=value/],
    ["enqueue --resource-type t --resource-id r --attribute __proto__=x", /an attribute name is not allowed/],
    ["enqueue --resource-type t --resource-id r --payload-encoding x", /payloadEncoding: /],
    ["enqueue --resource-type t --resource-id r --exclusivity all", /Allowed choices are none, resource, partition/],
    ["enqueue --resource-type t --resource-id r --max-attempts 0", /whole number from 1 to 1000/],
    ["enqueue --file x --priority 1", /exclude each other/],
    ["enqueue --resource-type t --resource-id r --priority 10", /whole number from 0 to 9/],
    ["enqueue --resource-type t --resource-id r --delay-ms -1", /whole number from 0/],
    ["enqueue --resource-type t --resource-id r --delay-ms 1 --not-before 5", /cannot be used with option/],
    ["enqueue --resource-type t --resource-id r --not-before tomorrow", /must be a time such as/],
    ["enqueue --resource-type t --resource-id r --not-before 2030-02-30T08:00:00Z", /must be a time such as/],
    ["enqueue --resource-type t --resource-id r --not-after 2030-01-31T08:00:00", /must be a time such as/],
    ["enqueue --resource-type t --resource-id r --not-before 9 --not-after 9", /notAfter: must be after notBefore/],
    ["enqueue --resource-type t --resource-id r --lease-duration-ms 99", /whole number from 100/],
    ["enqueue --resource-type t --resource-id r --retry often", /must be none, fixed:D/],
    ["enqueue --resource-type t --resource-id r --retry none:1", /must be none, fixed:D/],
    ["enqueue --resource-type t --resource-id r --retry fixed", /must be none, fixed:D/],
    ["enqueue --resource-type t --resource-id r --retry fixed:", /whole number/],
    ["enqueue --resource-type t --resource-id r --retry exponential:1000", /must be none, fixed:D/],
    ["enqueue --resource-type t --resource-id r --retry exponential:9:1", /firstMs must be at most maxMs/],
    ["enqueue --resource-type t --resource-id r --retry list:1,x", /whole number/],
    ["enqueue --resource-type t --resource-id r --unique-key=", /--unique-key/],
    ["cancel", /missing required argument 'item'/],
    ["cancel 3 --reason=", /--reason/],
    ["explain", /missing required argument 'item'/],
    ["explain 3 4", /too many arguments/],
    ["dead-letters redrive", /give item ids, a filter, or --all/],
    ["dead-letters redrive 3 --all", /exclude each other/],
    ["dead-letters redrive 3 --code x", /exclude each other/],
    ["dead-letters redrive --all --limit 5", /cannot be used with option/],
    ["dead-letters redrive --all --rate 0", /whole number from 1 to 1000/],
    ["dead-letters purge 3", /if they may be, add --yes/],
    ["dead-letters purge --yes", /give item ids, a filter, or --all/],
    ["shard configure", /give options as name=value, or --log-version/],
    ["shard configure maxAttempts", /must be name=value/],
    ["shard configure maxatempts=3", /there is no such option; did you mean maxAttempts\?/],
    ["shard configure __proto__=3", /there is no such option/],
    ["shard configure maxAttempts=many", /expected number/],
    ["shard configure --log-version 99", /whole number from 1 to/],
    ["log tail -n -1", /whole number from 0/],
    ["log verify --from 0", /whole number from 1/],
    ["ingest delta", /missing required argument 'dir'/],
    ["ingest delta . --workers 0", /whole number from 1 to 256/],
    ["ingest delta . --wait-ms 5", /whole number from 1000/],
    ["ingest iceberg .", /unknown command 'iceberg'/],
    ["help nonsense", /there is no command 'nonsense'/],
  ];
  test.each(cases)("omnirelay %s", async (line, message) => {
    const { code, out, notes } = await cli(...line.split(" "));
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(notes).toMatch(message);
    expect(notes).toMatch(/^omnirelay: /);
    expect(notes).toContain("See: omnirelay ");
  });

  test.each([[["ingest", "delta", ""]], [["ingest", "delta", ".", "--data-dir", ""]]])(
    "%j: an empty path stands for no folder",
    async (args) => {
      expect(await cli(...args)).toMatchObject({
        code: 2,
        notes: expect.stringContaining("must be the path of a folder"),
      });
    },
  );

  test("an empty name", async () => {
    expect(await cli("enqueue", "--resource-type", "", "--resource-id", "r")).toMatchObject({ code: 2 });
  });

  test("a setting in the environment that is no URL", async () => {
    vi.stubEnv("OMNIRELAY_NATS_URL", "what");
    vi.stubEnv("OMNIRELAY_REGION", "A.B");
    expect(await cli("log", "verify")).toMatchObject({ code: 2, notes: expect.stringContaining("OMNIRELAY_REGION") });
  });
});

describe("the variables mean what they mean to the processes", () => {
  test("a list of servers", async () => {
    vi.stubEnv("OMNIRELAY_NATS_URL", " nats://127.0.0.1:1, nats://127.0.0.1:2");
    expect(await cli("stats")).toMatchObject({
      code: 1,
      notes: expect.stringContaining("no NATS server answers at nats://127.0.0.1:1, nats://127.0.0.1:2"),
    });
  });

  test("an empty one is not set", async () => {
    vi.stubEnv("OMNIRELAY_NATS_URL", "");
    vi.stubEnv("OMNIRELAY_REGION", "");
    expect((await cli("log", "verify", "--nats-url", NOWHERE)).notes).toContain("no NATS server answers");
    const folder = temporaryFolder();
    // Without a server it would start its own: it gets as far as the tables.
    expect((await cli("ingest", "delta", folder)).notes).toContain("has a _delta_log");
  });
});

test("what a stranger wrote can neither move the cursor nor turn the text around", async () => {
  const name = await cli("enqueue", "--file", "no\u001b[31m\u202esuch\u{e0041}", "--nats-url", NOWHERE);
  expect(name).toMatchObject({
    code: 1,
    notes: expect.stringContaining("cannot read no\\u001b[31m\\u202esuch\\udb40\\udc41"),
  });
});

describe("what cannot be done ends with code 1 and says why", () => {
  test("no server", async () => {
    const { code, out, notes } = await cli("stats", "--nats-url", "nats://me:secret@127.0.0.1:1");
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(notes).toMatch(/^omnirelay: no NATS server answers at nats:\/\/127\.0\.0\.1:1/);
    expect(notes).not.toContain("secret");
  });

  test("a file that is not there", async () => {
    expect(await cli("enqueue", "--file", "/no/such/file", "--nats-url", NOWHERE)).toMatchObject({
      code: 1,
      notes: expect.stringMatching(/cannot read \/no\/such\/file: ENOENT/),
    });
  });

  test("a file with bad lines: each is named, and nothing is sent", async () => {
    const file = join(temporaryFolder(), "items.jsonl");
    writeFileSync(
      file,
      '{"resourceType":"t","resourceId":"1"}\n\n{"resourceType":"t"}\nnope\n{"resourceType":"t","resourceId":"1","bogus":1}\n{"resourceType":"t","resourceId":"1","attributes":{"__proto__":"x"}}\n',
    );
    const { code, notes } = await cli("enqueue", "--file", file, "--nats-url", NOWHERE);
    expect(code).toBe(1);
    expect(notes.split("\n")).toEqual([
      expect.stringMatching(/items\.jsonl, line 3: resourceId: /),
      expect.stringMatching(/items\.jsonl, line 4: no valid JSON/),
      expect.stringMatching(/items\.jsonl, line 5: item: Unrecognized key: "bogus"/),
      expect.stringMatching(/items\.jsonl, line 6: the name "__proto__" is not allowed/),
      "nothing was sent",
    ]);
  });

  test("a file that is not UTF-8: line and byte are named", async () => {
    const file = join(temporaryFolder(), "items.jsonl");
    const good = '{"resourceType":"t","resourceId":"ä"}\n';
    writeFileSync(file, Buffer.concat([Buffer.from(`${good}${good}{"ä`), Buffer.of(0xe4), Buffer.from(`"\n${good}`)]));
    expect(await cli("enqueue", "--file", file, "--nats-url", NOWHERE)).toMatchObject({
      code: 1,
      notes: expect.stringMatching(
        /items\.jsonl, line 3: it is not UTF-8, from byte 5 of the line on\nnothing was sent$/,
      ),
    });
  });

  test("a field that is misspelt: the near one is named", async () => {
    const file = join(temporaryFolder(), "items.jsonl");
    writeFileSync(file, '{"resourceType":"t","resourceId":"1","patitionKey":"p"}\n');
    expect((await cli("enqueue", "--file", file, "--nats-url", NOWHERE)).notes).toContain("did you mean partitionKey?");
  });

  test("an empty file", async () => {
    const file = join(temporaryFolder(), "items.jsonl");
    writeFileSync(file, "\n\n");
    expect(await cli("enqueue", "--file", file, "--nats-url", NOWHERE)).toMatchObject({
      code: 1,
      notes: expect.stringContaining("holds no item"),
    });
  });

  test("a folder that is not there, and one without a table", async () => {
    expect(await cli("ingest", "delta", "/no/such/folder")).toMatchObject({
      code: 1,
      notes: expect.stringContaining("cannot read the folder"),
    });
    const folder = temporaryFolder();
    expect(await cli("ingest", "delta", folder)).toMatchObject({
      code: 1,
      notes: `omnirelay: no folder below ${folder} has a _delta_log`,
    });
  });

  test("an ingest without a server", async () => {
    const args = ["--data-dir", temporaryFolder(), "--nats-url", NOWHERE];
    expect(await cli("ingest", "delta", deltaFolder({ t: [addLine("a", 1)] }), ...args)).toMatchObject({
      code: 1,
      notes: expect.stringContaining("no NATS server answers"),
    });
  });

  test("an ingest into a data folder that is a file", async () => {
    const file = join(temporaryFolder(), "file");
    writeFileSync(file, "");
    const folder = deltaFolder({ t: [addLine("a", 1)] });
    expect(await cli("ingest", "delta", folder, "--data-dir", file)).toMatchObject({
      code: 1,
      notes: expect.stringContaining("the data folder"),
    });
  });
});

describe("help and version end with code 0", () => {
  test.each(["--help", "help", "help log tail", "log verify --help", "ingest delta --help"])(
    "omnirelay %s",
    async (line) => {
      const { code, out, notes } = await cli(...line.split(" "));
      expect({ code, notes }).toEqual({ code: 0, notes: "" });
      expect(out).toContain("Usage: omnirelay");
    },
  );

  test("omnirelay --version", async () => {
    expect(await cli("--version")).toEqual({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+$/), notes: "" });
  });

  test("help --all has every command and its examples", async () => {
    const { out } = await cli("help", "--all");
    for (const name of [
      "up",
      "ingest delta",
      "enqueue",
      "stats",
      "list",
      "get",
      "explain",
      "cancel",
      "dead-letters redrive",
      "log verify",
    ])
      expect(out).toContain(`## omnirelay ${name}\n`);
    expect(out.match(/^Examples:/gm)?.length).toBeGreaterThanOrEqual(7);
  });
});
