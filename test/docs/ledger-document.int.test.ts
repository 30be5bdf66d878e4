/** Every command of docs/ledger.md does what the document says of it, one after the other, against a real server; those of other tools as well. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LEDGER_FORMATS } from "../../contracts/ledger.ts";
import { schemaFiles } from "../../infra/schemas.ts";
import { cli } from "../cli/fake-terminal.ts";
import { StoredLog } from "../cli/stored-log.ts";
import { ShardWorld } from "../core/shard-world.ts";
import { failOnLeakedServers, skipWithoutNats } from "../support/nats.ts";

beforeEach(skipWithoutNats);
afterEach(failOnLeakedServers);

const TEXT = readFileSync(join(import.meta.dirname, "../../docs/ledger.md"), "utf8");
const BLOCKS = [...TEXT.matchAll(/^```sh\n(.*?)^```/gms)].map(([, block = ""]) => block.trim());
const TOOLS = ["jq", "sha256sum", "xxd", "openssl"];

const runShell = (script: string, cwd: string) => spawnSync("sh", ["-ec", script], { cwd, encoding: "utf8" });

test("every command of docs/ledger.md does something", async (context) => {
  const world = new ShardWorld({ at: 1_700_000_000_000 });
  for (let index = 0; index < 5; index += 1) world.seed(1, { body: "line\u2028 \u0000 é😀" });
  const { url } = await StoredLog.create(context.onTestFinished, world.frames);
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-ledger-"));
  context.onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const lines = BLOCKS.flatMap((block) => block.split("\n")).filter((line) => line.startsWith("omnirelay "));
  expect(lines.length).toBeGreaterThan(10);
  const named = (word: string) => (/\.(jsonl?|key|pub)$/.test(word) ? join(folder, word) : word);
  for (const line of lines) {
    const words = line.split(" ").slice(1).map(named);
    const { code, out, notes } = await cli(...words, ...(words[1] === "key" ? [] : ["--nats-url", url]));
    expect([line, code, notes]).toEqual([line, 0, ""]);
    expect(out).not.toBe("");
  }
  const missing = TOOLS.filter((tool) => runShell(`command -v ${tool}`, folder).status !== 0);
  if (missing.length > 0) return context.skip(`not checked without ${missing.join(", ")}`);
  const [hashes = "", signature = ""] = BLOCKS.filter((block) => !block.startsWith("omnirelay "));
  const [sum = "", chain] = runShell(hashes, folder).stdout.split("\n");
  expect(chain).toMatch(/^[0-9a-f]{64}$/);
  expect(sum).toBe(`${chain}  -`);
  expect(runShell(signature, folder)).toMatchObject({ status: 0, stdout: "Signature Verified Successfully\n" });
});

test("docs/ledger.md names every format, and every field of its schemas", () => {
  for (const format of Object.values(LEDGER_FORMATS)) expect(TEXT).toContain(`\`${format}\``);
  const schemas = [...schemaFiles()].filter(([name]) => name.startsWith("ledger/"));
  expect(schemas).toHaveLength(6);
  for (const [name, text] of schemas)
    for (const field of Object.keys(JSON.parse(text).properties))
      expect([name, field, new RegExp(`[\`{ ]${field}\\??[\`,: }]`).test(TEXT)]).toEqual([name, field, true]);
});
