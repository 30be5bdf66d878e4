/** What `omnirelay ledger verify --file` says of exports, and of every way in which one can be damaged or forged. No server is needed. */
import { generateKeyPairSync } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { chainOf } from "../../services/runtime/frame-codec.ts";
import { ChainBuilder } from "./chain-builder.ts";
import { cli } from "./fake-terminal.ts";
import { changedLine, linesOf, temporaryFolder, writeExport, writeLines } from "./ledger-export.ts";

const TEXT = 'line\u2028 "quoted" \\ \u0000 😀';
/** 12 frames in the lines 2 to 13: two of them empty, next to each other. */
const messages = () => {
  const builder = new ChainBuilder().begin().enqueue(3).enqueue(2).enqueue(0).enqueue(0).term().enqueue(2);
  for (let count = 1; count <= 3; count += 1) builder.enqueue(count);
  return builder.enqueue(1, { actors: [{ principal: "me", peerId: "me", trace: TEXT }] }).messages;
};
const at = (lines: readonly string[], index: number): string => lines[index] ?? "";
const keys = generateKeyPairSync("ed25519");

async function exported() {
  const folder = temporaryFolder();
  const file = join(folder, "export.jsonl");
  await writeExport(file, messages(), keys.privateKey);
  const publicFile = join(folder, "key.pub");
  writeFileSync(publicFile, keys.publicKey.export({ type: "spki", format: "pem" }));
  const verify = async (...args: readonly string[]) => {
    const { code, out, notes } = await cli("ledger", "verify", "--file", file, "--json", ...args);
    return { code, notes, report: out === "" ? undefined : JSON.parse(out) };
  };
  return { file, publicFile, verify, lines: linesOf(file) };
}

test("a whole export is verified without a server, with the signature", async () => {
  const { file, publicFile, verify, lines } = await exported();
  expect(lines).toHaveLength(14);
  expect(await verify("--key", publicFile, "--strict")).toEqual({
    code: 0,
    notes: "",
    report: expect.objectContaining({
      ok: true,
      source: "export",
      frames: 12,
      emptyFrames: 2,
      events: 17,
      signature: "valid",
      digest: expect.objectContaining({ frames: 12, firstSequence: 1, lastSequence: 17, chainBefore: "" }),
    }),
  });
  const { out } = await cli("ledger", "verify", "--file", file);
  expect(out).toMatch(/^ledger +log1 of local\/default: whole$/m);
  expect(out).toMatch(/^signature +by the key [0-9a-f]{64}, not checked: give --key$/m);
});

/** Lines changed by somebody who corrects checksum and counts, but cannot make the chain fit. Of the digest nothing is corrected. */
describe("damage is named with its line", () => {
  const cases: [string, (lines: string[]) => string[], string, number][] = [
    ["a removed frame", (lines) => lines.toSpliced(7, 1), "ledger_frame_removed", 8],
    ["a removed frame without events", (lines) => lines.toSpliced(5, 1), "ledger_frame_changed", 5],
    ["the first frame removed", (lines) => lines.toSpliced(1, 1), "ledger_frame_removed", 2],
    ["several frames removed", (lines) => lines.toSpliced(4, 5), "ledger_frame_removed", 5],
    [
      "two frames in the wrong order",
      (lines) => lines.with(8, at(lines, 9)).with(9, at(lines, 8)),
      "ledger_frame_reordered",
      9,
    ],
    [
      "a frame moved to the end",
      (lines) => lines.toSpliced(8, 1).toSpliced(12, 0, at(lines, 8)),
      "ledger_frame_reordered",
      9,
    ],
    [
      "a frame moved to the front",
      (lines) => lines.toSpliced(9, 1).toSpliced(2, 0, at(lines, 9)),
      "ledger_frame_reordered",
      3,
    ],
    ["a frame twice", (lines) => lines.toSpliced(8, 0, at(lines, 8)), "ledger_frame_inserted", 10],
    ["an old frame once more", (lines) => lines.toSpliced(11, 0, at(lines, 3)), "ledger_frame_inserted", 12],
    [
      "a forged frame that continues the chain",
      (lines) =>
        lines.toSpliced(
          9,
          0,
          changedLine(at(lines, 9), () => ({ append: "forged" })),
        ),
      "ledger_frame_inserted",
      10,
    ],
    [
      "a forged frame that continues nothing",
      (lines) =>
        lines.toSpliced(
          9,
          0,
          changedLine(at(lines, 9), ({ first }) => ({ first: first + 9, prev: "0".repeat(64) })),
        ),
      "ledger_frame_inserted",
      10,
    ],
    [
      "a frame of another log",
      (lines) =>
        lines.toSpliced(
          9,
          0,
          changedLine(at(lines, 9), () => ({ logId: "log2" })),
        ),
      "ledger_frame_inserted",
      10,
    ],
    [
      "a changed frame",
      (lines) =>
        lines.with(
          8,
          changedLine(at(lines, 8), () => ({ writer: "mallory" })),
        ),
      "ledger_frame_changed",
      9,
    ],
    [
      "a changed prev",
      (lines) =>
        lines.with(
          8,
          changedLine(at(lines, 8), () => ({ prev: "ab".repeat(32) })),
        ),
      "ledger_frame_changed",
      9,
    ],
    [
      "the first frame changed",
      (lines) =>
        lines.with(
          1,
          changedLine(at(lines, 1), () => ({ writer: "mallory" })),
        ),
      "ledger_frame_changed",
      2,
    ],
    [
      "a payload that is not its hash",
      (lines) => lines.with(8, at(lines, 8).replace("dispatcher--1", "dispatcher--3")),
      "ledger_frame_changed",
      9,
    ],
    [
      "a chain value that is not its hash",
      (lines) => lines.with(8, at(lines, 8).replace(/[0-9a-f]{64}/, "0".repeat(64))),
      "ledger_frame_changed",
      9,
    ],
    [
      "a lower term",
      (lines) =>
        lines.with(
          12,
          changedLine(at(lines, 12), () => ({ term: 1 })),
        ),
      "log_term_decreased",
      13,
    ],
  ];

  test.each(cases)("%s", async (_what, change, code, line) => {
    const { file, verify, lines } = await exported();
    writeLines(file, change([...lines]));
    const { report, notes, code: exitCode } = await verify();
    expect({ exitCode, report }).toMatchObject({
      exitCode: 1,
      report: { ok: false, problem: { code, place: { unit: "line", at: line } } },
    });
    expect(notes).toMatch(new RegExp(`^omnirelay: ${code}: line ${line}: `));
  });
});

test("no bit of an export can be flipped unseen, and none that is not its signature without the key", async () => {
  const { file, publicFile, verify } = await exported();
  const whole = readFileSync(file);
  const signedFrom = whole.lastIndexOf('"keyId"');
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length * 8 - 1), async (bit) => {
      const bytes = Buffer.from(whole);
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      writeFileSync(file, bytes);
      const { code, report, notes } = await verify("--key", publicFile);
      expect({ code, ok: report.ok }).toEqual({ code: 1, ok: false });
      expect(notes).not.toBe("");
      if (bit >> 3 < signedFrom) expect(await verify()).toMatchObject({ code: 1, report: { ok: false } });
    }),
    { numRuns: 150 },
  );
});

test("an export that was cut off anywhere is refused with the line where it ends", async () => {
  const { file, verify } = await exported();
  const whole = readFileSync(file);
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length - 1), async (length) => {
      const bytes = whole.subarray(0, length);
      writeFileSync(file, bytes);
      const line = bytes.filter((byte) => byte === 0x0a).length + 1;
      const { code, report } = await verify();
      expect({ code, ...report.problem }).toMatchObject({
        code: "ledger_file_invalid",
        place: { unit: "line", at: line },
      });
    }),
  );
});

describe("an export that was written in another way is refused", () => {
  const text = (lines: readonly string[]): string => `${lines.join("\n")}\n`;
  test.each<[string, (lines: string[]) => string, RegExp]>([
    ["with a line behind the last", (lines) => text([...lines, lines.at(-1) ?? ""]), /line 15: there is a line behind/],
    ["with other line ends", (lines) => `${lines.join("\r\n")}\r\n`, /line 14: the checksum is wrong/],
    [
      "with an escape that means the same",
      (lines) => text(lines.with(3, at(lines, 3).replace("writer", "\\u0077riter"))),
      /line 14: the checksum/,
    ],
    [
      "with another root in its first line",
      (lines) => text(lines.with(0, at(lines, 0).replace(/"root":"./, '"root":"g'))),
      /line 1: root/,
    ],
    [
      "with another region in its first line",
      (lines) => text(lines.with(0, at(lines, 0).replace("local", "lokal"))),
      /line 2: /,
    ],
    [
      "with a newer version",
      (lines) => text(lines.with(0, at(lines, 0).replace('"schemaVersion":1', '"schemaVersion":2'))),
      /ledger_file_version: .*line 1: schema version 2; this release reads 1/,
    ],
    [
      "that is a log",
      (lines) => text(lines.slice(1)),
      /line 1: no file of the ledger; expected is omnirelay-ledger-export/,
    ],
    ["that is no text", () => "\u0000\u0001\n", /line 1: it is no valid JSON object/],
  ])("%s", async (_what, change, message) => {
    const { file, verify, lines } = await exported();
    writeFileSync(file, change(lines));
    expect(await verify()).toMatchObject({ code: 1, notes: expect.stringMatching(message), report: { ok: false } });
  });

  test("with frames that come to a digest which somebody else computed", async () => {
    const { file, publicFile, verify } = await exported();
    // Whole in itself: only the signature tells.
    await writeExport(file, messages().slice(0, 5), generateKeyPairSync("ed25519").privateKey);
    expect(await verify()).toMatchObject({ code: 0, report: { ok: true, signature: "unchecked" } });
    expect(await verify("--key", publicFile)).toMatchObject({
      code: 1,
      notes: expect.stringContaining("ledger_key_unknown"),
    });
    await writeExport(file, messages().slice(0, 5));
    expect(await verify("--key", publicFile)).toMatchObject({
      code: 1,
      notes: expect.stringContaining("ledger_unsigned"),
    });
  });
});

test("every payload in an export has the SHA-256 that stands beside it, byte by byte", async () => {
  const { lines } = await exported();
  const stored = messages();
  for (const [index, line] of lines.slice(1, -1).entries()) {
    const { chain, payload } = JSON.parse(line);
    expect(chainOf(Buffer.from(payload))).toBe(chain);
    expect(Buffer.from(payload).equals(stored[index]?.payload ?? Buffer.from(""))).toBe(true);
  }
  expect(lines.join("")).toContain("\u2028");
});
