/** Writes the JSON Schemas of the contracts, for those who do not use TypeScript; `--check` fails when the written ones differ. */
import { existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { BodyReference } from "../contracts/body-reference.ts";
import { REQUESTS } from "../contracts/commands.ts";
import { ReplicationEvent } from "../contracts/envelope.ts";
import { EVENTS, LogEvent } from "../contracts/events.ts";
import { Frame, LogPosition } from "../contracts/frame.ts";
import {
  LedgerExportFooter,
  LedgerExportFrame,
  LedgerExportHeader,
  LedgerExtension,
  LedgerProof,
  SignedDigest,
} from "../contracts/ledger.ts";
import { API_VERSION } from "../contracts/limits.ts";
import { ShardOptions, ShardOptionsPatch } from "../contracts/options.ts";
import { Beat, ErrorReply, REPLIES } from "../contracts/replies.ts";

const folder = fileURLToPath(new URL("../contracts/schemas/", import.meta.url));

/** File name below `contracts/schemas/` to its text. */
export function schemaFiles(): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  /** `input`: what a caller may write, fields with defaults left out. `output`: what a reader finds. */
  const add = (name: string, schema: z.ZodType, io: "input" | "output") => {
    const json = z.toJSONSchema(schema, { target: "draft-2020-12", io, unrepresentable: "throw", reused: "inline" });
    const { $schema, ...rest } = json;
    const id = `urn:omnirelay:${API_VERSION}:${name.replaceAll("/", ":")}`;
    files.set(`${name}.json`, `${JSON.stringify({ $schema, $id: id, ...rest }, null, 2)}\n`);
  };
  for (const [verb, schema] of Object.entries(REQUESTS)) add(`requests/${verb}`, schema, "input");
  for (const [verb, schema] of Object.entries(REPLIES)) add(`replies/${verb}`, schema, "output");
  for (const [type, schema] of Object.entries(EVENTS)) add(`events/${type}`, schema, "output");
  add("replies/error", ErrorReply, "output");
  add("event", LogEvent, "output");
  add("frame", Frame, "output");
  add("log-position", LogPosition, "output");
  add("replication-event", ReplicationEvent, "output");
  add("beat", Beat, "output");
  add("ledger/digest", SignedDigest, "output");
  add("ledger/export-header", LedgerExportHeader, "output");
  add("ledger/export-frame", LedgerExportFrame, "output");
  add("ledger/export-footer", LedgerExportFooter, "output");
  add("ledger/proof", LedgerProof, "output");
  add("ledger/extension", LedgerExtension, "output");
  add("body-reference", BodyReference, "input");
  add("shard-options", ShardOptions, "input");
  add("shard-options-patch", ShardOptionsPatch, "input");
  return files;
}

/** The files that are missing, differ or should not be there. */
export function staleSchemas(): readonly string[] {
  const files = schemaFiles();
  const stale = [...files].filter(
    ([name, text]) => !existsSync(join(folder, name)) || readFileSync(join(folder, name), "utf8") !== text,
  );
  const extra = globSync("**/*.json", { cwd: folder }).filter((name) => !files.has(name.replaceAll("\\", "/")));
  return [...stale.map(([name]) => name), ...extra];
}

function main(): void {
  const stale = staleSchemas();
  if (process.argv.includes("--check")) {
    for (const name of stale)
      console.error(`contracts/schemas/${name} is not what the contracts say; run: npm run schemas`);
    process.exitCode = stale.length === 0 ? 0 : 1;
    return;
  }
  // The protobuf contract in the same folder is written by hand.
  for (const name of globSync("**/*.json", { cwd: folder })) rmSync(join(folder, name));
  for (const [name, text] of schemaFiles()) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  console.log(`wrote ${schemaFiles().size} schemas to contracts/schemas, ${stale.length} of them changed`);
}

if (import.meta.main) main();
