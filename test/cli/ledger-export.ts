/** Exports of logs that tests build by hand, and what may be done to their lines. */
import { createHash, type KeyObject } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { Frame } from "../../contracts/frame.ts";
import type { LedgerExportFrame } from "../../contracts/ledger.ts";
import type { LogMessage } from "../../contracts/ports.ts";
import { LedgerChain } from "../../services/cli/ledger/chain.ts";
import { ExportWriter } from "../../services/cli/ledger/export-writer.ts";
import { LedgerSum } from "../../services/cli/ledger/sum.ts";
import { chainOf, encodeFrame } from "../../services/runtime/frame-codec.ts";
import { signDigest } from "../../services/runtime/ledger-digest.ts";

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-ledger-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes the export of a whole log. */
export async function writeExport(path: string, messages: readonly LogMessage[], signKey?: KeyObject): Promise<void> {
  const chain = new LedgerChain({ region: "local", shard: "default", logId: "", isStrict: false, unit: "line" });
  const sum = new LedgerSum();
  const writer = await ExportWriter.open(path);
  for (const message of messages) {
    const step = chain.take(message);
    if (step.kind !== "frame") throw new Error(`message ${message.streamSequence}: ${step.kind}`);
    sum.add(step);
    await writer.frame(step);
  }
  const digest = sum.digest();
  await writer.finish(signKey === undefined ? { digest } : signDigest(digest, signKey), true);
}

export const linesOf = (path: string): string[] => readFileSync(path, "utf8").trimEnd().split("\n");

/** Writes lines with the checksum that they have, as somebody does who knows the format. */
export function writeLines(path: string, lines: readonly string[]): void {
  const frames = lines.slice(1, -1);
  const checksum = createHash("sha256")
    .update(frames.map((line) => `${line}\n`).join(""))
    .digest("hex");
  const footer = { ...JSON.parse(lines.at(-1) ?? ""), frames: frames.length, checksum };
  const header = JSON.stringify({ ...JSON.parse(lines[0] ?? ""), frames: frames.length }).padEnd(1_024);
  writeFileSync(path, `${[header, ...frames, JSON.stringify(footer)].join("\n")}\n`);
}

/** A line of a frame that says something else, with the chain value that it then has. */
export function changedLine(line: string, change: (frame: Frame) => Partial<Frame>): string {
  const { payload } = JSON.parse(line) as LedgerExportFrame;
  const changed = changedPayload(Buffer.from(payload), change);
  return JSON.stringify({ chain: chainOf(changed), payload: new TextDecoder().decode(changed) });
}

/** The same of a stored message. */
export function changedFrame(message: LogMessage, change: (frame: Frame) => Partial<Frame>): LogMessage {
  const payload = changedPayload(message.payload, change);
  return { ...message, payload, chainHeader: chainOf(payload) };
}

function changedPayload(payload: Uint8Array, change: (frame: Frame) => Partial<Frame>): Uint8Array {
  const frame = JSON.parse(new TextDecoder().decode(payload)) as Frame;
  return encodeFrame({ ...frame, ...change(frame) });
}
