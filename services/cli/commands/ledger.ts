/** `omnirelay ledger`: the log as evidence. Verifies it, exports it, signs what it comes to, and proves single events of it. */
import type { NatsConnection } from "@nats-io/transport-node";
import { Command, InvalidArgumentError, Option } from "commander";
import { connectNats } from "../../jetstream/connect.ts";
import { EXIT_CODES } from "../../runtime/lifecycle.ts";
import { NATS_URL_DEFAULT, natsServers } from "../../runtime/settings.ts";
import { integer, jsonOption, natsUrlOption, regionOption, shardOption } from "../arguments.ts";
import { writeDocument } from "../ledger/documents.ts";
import { mustNotExist } from "../ledger/export-writer.ts";
import { readPrivateKey, readPublicKey, writeNewKey } from "../ledger/keys.ts";
import { makeDigest, makeExport, makeExtension, makeProof } from "../ledger/make.ts";
import { digestRows, logText, reportLines } from "../ledger/report.ts";
import { verifyLedger } from "../ledger/verify.ts";
import type { Done } from "../program.ts";
import { ProgressBar } from "../progress-bar.ts";
import { aligned, safeText, type Terminal } from "../terminal.ts";

interface LogOptions {
  readonly natsUrl: string;
  readonly region: string;
  readonly shard: string;
  readonly json: boolean;
}
interface RangeOptions extends LogOptions {
  readonly from?: number;
  readonly to?: number;
}
type VerifyOptions = RangeOptions & {
  readonly file?: string;
  readonly proof?: string;
  readonly extension?: string;
  readonly digest?: string;
  readonly key?: string;
  readonly strict: boolean;
};
type MakeOptions = RangeOptions & { readonly digest?: string; readonly signKey?: string; readonly force: boolean };
type OutOptions = MakeOptions & { readonly out: string };
type ProveOptions = MakeOptions & {
  readonly sequence?: number;
  readonly older?: string;
  readonly file?: string;
  readonly out?: string;
};

const SEQUENCE_MAX = Number.MAX_SAFE_INTEGER;
const VERIFY_EXAMPLES = `
Follows the chain of hashes through the live log, or through an export without any server, and says what is wrong and where: a frame that was changed,
removed, inserted or reordered. Void messages (a stranger's, or copies of the past) are stepped over and named. Exit code 1 when anything is wrong.
With --digest the range is that of the digest, and must come to it. What the chain and a signature prove: docs/ledger.md.

Examples:
  omnirelay ledger verify
  omnirelay ledger verify --from 120000 --to 130000 --json | jq .digest
  omnirelay ledger verify --digest monday.json --key auditor.key.pub
  omnirelay ledger verify --file monday.jsonl --key auditor.key.pub
  omnirelay ledger verify --proof event.json --key auditor.key.pub`;
const EXPORT_EXAMPLES = `
Every frame is checked as it is read; when one is wrong nothing is written. The file is whole or not there: after a kill run it again.

Examples:
  omnirelay ledger export --out monday.jsonl --sign-key auditor.key
  omnirelay ledger export --out part.jsonl --from 120000 --to 130000`;
const DIGEST_EXAMPLES = `
A digest is some hundred bytes that fix every byte of the range. Whoever keeps it can tell later, with ledger verify --digest, that nothing was rewritten.

Examples:
  omnirelay ledger digest --out monday.json --sign-key auditor.key`;
const PROVE_EXAMPLES = `
With --sequence: that the frame with this event is in the range. With --older: that a range begins with the one of an older digest, so that nothing was rewritten
since. The range is that of the live log, of --digest or of the export in --file. Both are checked with ledger verify, without a server.

Examples:
  omnirelay ledger prove --sequence 42 --file monday.jsonl --out event.json
  omnirelay ledger prove --older monday.json --out since-monday.json --sign-key auditor.key`;
const KEY_EXAMPLES = `
The private key signs: keep it where nobody else reads it. The public one, with .pub behind its name, goes to whoever checks.

Examples:
  omnirelay ledger key new --out auditor.key`;

export function ledgerCommand(terminal: Terminal, done: Done): Command {
  const key = new Command("key").description("Make keys that sign digests.").addCommand(newKeyCommand(terminal, done));
  return new Command("ledger")
    .description("Prove what is in the log of a shard: verify, export, sign, prove single events.")
    .addCommand(verifyCommand(terminal, done))
    .addCommand(exportCommand(terminal, done))
    .addCommand(digestCommand(terminal, done))
    .addCommand(proveCommand(terminal, done))
    .addCommand(key);
}

function filePath(value: string): string {
  if (value !== "") return value;
  throw new InvalidArgumentError("must be the path of a file");
}

const fileOption = (flags: string, description: string): Option => new Option(flags, description).argParser(filePath);
const sequenceOption = (flags: string, description: string): Option =>
  new Option(flags, description).argParser(integer(1, SEQUENCE_MAX));

function rangeCommand(name: string, json: string): Command {
  return new Command(name)
    .addOption(natsUrlOption().default(NATS_URL_DEFAULT))
    .addOption(regionOption())
    .addOption(shardOption())
    .addOption(sequenceOption("--from <sequence>", "begin with the frame that holds this event; absent: what is there"))
    .addOption(sequenceOption("--to <sequence>", "end with the frame that holds this event; absent: the log's end"))
    .addOption(jsonOption(json));
}

function makeCommand(name: string, json: string): Command {
  return rangeCommand(name, json)
    .addOption(fileOption("--digest <file>", "take the range of this digest").conflicts(["from", "to"]))
    .addOption(fileOption("--sign-key <file>", "sign the digest with this private key (Ed25519, PEM)"))
    .option("--force", "replace a file that is there", false);
}

function verifyCommand(terminal: Terminal, done: Done): Command {
  const range = ["from", "to"];
  return rangeCommand("verify", "the report")
    .description("Verify the log, an export or a proof.")
    .addOption(fileOption("--file <file>", "an export").conflicts([...range, "proof", "extension"]))
    .addOption(fileOption("--proof <file>", "the proof of an event").conflicts([...range, "extension"]))
    .addOption(fileOption("--extension <file>", "the proof that a digest continues an older one").conflicts(range))
    .addOption(fileOption("--digest <file>", "what was found must agree with this digest").conflicts(range))
    .addOption(fileOption("--key <file>", "the digest must be signed by the owner of this public key (Ed25519, PEM)"))
    .option("--strict", "check every field of every event against its schema", false)
    .addHelpText("after", VERIFY_EXAMPLES)
    .action(async (options: VerifyOptions, command: Command) => {
      const { file, proof, extension, digest, key, strict, json } = options;
      if (key !== undefined && (file ?? proof ?? extension ?? digest) === undefined)
        command.error("error: the log itself is not signed: --key is about --file, --proof, --extension or --digest");
      const publicKey = key === undefined ? undefined : readPublicKey(key);
      const report = await withProgress(options, terminal, (onProgress) =>
        verifyLedger({ ...options, isStrict: strict, publicKey, onProgress }, connectOf(options)),
      );
      if (json) terminal.out(JSON.stringify(report));
      else for (const line of reportLines(report)) terminal.out(line);
      const { problem, ok } = report;
      if (problem !== undefined) terminal.note(`omnirelay: ${problem.code}: ${safeText(problem.message)}`);
      done(ok ? EXIT_CODES.ok : EXIT_CODES.failed);
    });
}

function exportCommand(terminal: Terminal, done: Done): Command {
  return makeCommand("export", "the digest")
    .description("Write the frames of a range into a file that proves itself.")
    .addOption(fileOption("--out <file>", "the file").makeOptionMandatory())
    .addHelpText("after", EXPORT_EXAMPLES)
    .action(async (options: OutOptions) => {
      const { out, force: isForced, json } = options;
      const signed = await withProgress(options, terminal, (onProgress) =>
        makeExport({ ...options, ...signing(options), out, isForced, onProgress }, connectOf(options)),
      );
      print(terminal, json, signed, `exported to ${out}`);
      done(EXIT_CODES.ok);
    });
}

function digestCommand(terminal: Terminal, done: Done): Command {
  return makeCommand("digest", "the digest")
    .description("Write what a range of the log comes to, signed if wanted.")
    .addOption(fileOption("--out <file>", "the file").makeOptionMandatory())
    .addHelpText("after", DIGEST_EXAMPLES)
    .action(async (options: OutOptions) => {
      const { out, force, json } = options;
      mustNotExist(out, force);
      const signed = await withProgress(options, terminal, (onProgress) =>
        makeDigest({ ...options, ...signing(options), onProgress }, connectOf(options)),
      );
      await writeDocument(out, signed, force);
      print(terminal, json, signed, `written to ${out}`);
      done(EXIT_CODES.ok);
    });
}

function proveCommand(terminal: Terminal, done: Done): Command {
  return makeCommand("prove", "the proof")
    .description("Prove that an event is in a range of the log, or that a range continues an older one.")
    .addOption(sequenceOption("--sequence <sequence>", "the event").conflicts("older"))
    .addOption(fileOption("--older <file>", "an older digest of this log").conflicts(["from", "to"]))
    .addOption(fileOption("--file <file>", "an export to prove it from, without a server").conflicts(["from", "to"]))
    .addOption(fileOption("--out <file>", "write the proof to this file; absent: print it"))
    .addHelpText("after", PROVE_EXAMPLES)
    .action(async (options: ProveOptions, command: Command) => {
      const { sequence, older, out, force } = options;
      if (out !== undefined) mustNotExist(out, force);
      const keys = signing(options);
      const proof = await withProgress<object>(options, terminal, (onProgress) => {
        const request = { ...options, ...keys, onProgress };
        if (sequence !== undefined) return makeProof({ ...request, sequence }, connectOf(options));
        if (older !== undefined) return makeExtension({ ...request, older }, connectOf(options));
        return command.error("error: give --sequence, or --older");
      });
      if (out !== undefined) await writeDocument(out, proof, force);
      if (out === undefined || options.json) terminal.out(JSON.stringify(proof));
      else terminal.out(`proof written to ${safeText(out)}; check it: omnirelay ledger verify ${checkOption(options)}`);
      done(EXIT_CODES.ok);
    });
}

const checkOption = ({ sequence, out = "" }: ProveOptions): string =>
  safeText(`${sequence === undefined ? "--extension" : "--proof"} ${out}`);

function newKeyCommand(terminal: Terminal, done: Done): Command {
  return new Command("new")
    .description("Make a key pair (Ed25519, PEM).")
    .addOption(
      fileOption("--out <file>", "the private key; the public one gets .pub behind its name").makeOptionMandatory(),
    )
    .addOption(jsonOption("the names of the files and the id of the key, as JSON"))
    .addHelpText("after", KEY_EXAMPLES)
    .action(({ out, json }: { readonly out: string; readonly json: boolean }) => {
      const made = writeNewKey(out);
      if (json) terminal.out(JSON.stringify(made));
      else
        for (const line of aligned([
          ["key", made.keyId],
          ["private", safeText(made.privateFile)],
          ["public", safeText(made.publicFile)],
        ]))
          terminal.out(line);
      done(EXIT_CODES.ok);
    });
}

const signing = ({ signKey }: MakeOptions) => ({
  signKey: signKey === undefined ? undefined : readPrivateKey(signKey),
});

function print(terminal: Terminal, json: boolean, signed: Awaited<ReturnType<typeof makeDigest>>, what: string): void {
  const { digest, keyId } = signed;
  if (json) {
    terminal.out(JSON.stringify(signed));
    return;
  }
  const rows = [
    ["ledger", `${logText(digest)}: ${safeText(what)}`],
    ...digestRows(digest),
    ["signature", keyId === undefined ? "none" : `of the key ${keyId}`],
  ];
  for (const line of aligned(rows)) terminal.out(line);
}

async function withProgress<Result>(
  { json }: LogOptions,
  terminal: Terminal,
  step: (onProgress: (value: number, total: number) => void) => Promise<Result>,
): Promise<Result> {
  const bar = new ProgressBar(terminal.isInteractive && !json, "{value} of {total}");
  try {
    return await step((value, total) => bar.show(value, total));
  } finally {
    bar.close();
  }
}

const connectOf =
  ({ natsUrl }: LogOptions) =>
  async <Result>(use: (connection: NatsConnection) => Promise<Result>): Promise<Result> => {
    const connection = await connectNats({ servers: natsServers(natsUrl), name: "omnirelay ledger" });
    try {
      return await use(connection);
    } finally {
      await connection.close();
    }
  };
