/** Keys, digests and proofs of the ledger: what they prove without a server, and what they refuse. */
import { createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { digestText } from "../../services/runtime/ledger-digest.ts";
import { ChainBuilder } from "./chain-builder.ts";
import { cli } from "./fake-terminal.ts";
import { temporaryFolder, writeExport } from "./ledger-export.ts";

/** A log of 13 frames with 23 events. */
function log(frames = 11) {
  const builder = new ChainBuilder().begin();
  for (let index = 0; index < frames; index += 1) builder.enqueue(index % 4);
  return builder.messages;
}

async function world() {
  const folder = temporaryFolder();
  const path = (name: string): string => join(folder, name);
  expect(await cli("ledger", "key", "new", "--out", path("auditor.key"))).toMatchObject({ code: 0, notes: "" });
  await writeExport(path("export.jsonl"), log());
  /** A command line with the names of files in the folder. */
  const run = (line: string) =>
    cli("ledger", ...line.split(" ").map((word) => (/^[a-z-]+(\.\w+)+$/.test(word) ? path(word) : word)));
  const prove = async (sequence: number) => {
    expect(
      await run(`prove --sequence ${sequence} --file export.jsonl --sign-key auditor.key --out proof.json --force`),
    ).toMatchObject({
      code: 0,
      notes: "",
    });
  };
  return { folder, path, run, prove };
}

const json = (file: string) => JSON.parse(readFileSync(file, "utf8"));

describe("keys", () => {
  test("a new pair is for its owner alone, and is never replaced", async () => {
    const { path, run, folder } = await world();
    expect(statSync(path("auditor.key")).mode & 0o777).toBe(0o600);
    const before = readFileSync(path("auditor.key"), "utf8");
    const again = await cli("ledger", "key", "new", "--out", path("auditor.key"));
    expect(again).toEqual({
      code: 1,
      out: "",
      notes: expect.stringMatching(/auditor.key is there already; a key is never replaced/),
    });
    writeFileSync(path("other.pub"), "");
    expect(await cli("ledger", "key", "new", "--out", path("other"))).toMatchObject({ code: 1 });
    expect(await cli("ledger", "key", "new", "--out", path("none/key"))).toMatchObject({
      code: 1,
      notes: expect.stringMatching(/cannot write/),
    });
    expect(readFileSync(path("auditor.key"), "utf8")).toBe(before);
    expect(readdirSync(folder).sort()).toEqual(["auditor.key", "auditor.key.pub", "export.jsonl", "other.pub"]);
    const { code, out } = await run("key new --out second.key --json");
    expect({ code, ...JSON.parse(out) }).toEqual({
      code: 0,
      keyId: expect.stringMatching(/^[0-9a-f]{64}$/),
      privateFile: path("second.key"),
      publicFile: path("second.key.pub"),
    });
  });

  test("a key of a wrong kind is refused before anything is read or written", async () => {
    const { path, run, folder } = await world();
    const rsa = generateKeyPairSync("rsa", { modulusLength: 2_048 });
    writeFileSync(path("rsa.key"), rsa.privateKey.export({ type: "pkcs8", format: "pem" }));
    writeFileSync(path("rsa.key.pub"), rsa.publicKey.export({ type: "spki", format: "pem" }));
    writeFileSync(path("no.key"), "hello");
    writeFileSync(path("bad.key"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    const before = readdirSync(folder);
    const make = "prove --sequence 3 --file export.jsonl --out proof.json --sign-key";
    const check = "verify --file export.jsonl --key";
    for (const [line, message] of [
      [`${make} rsa.key`, /it is of type rsa; the ledger is signed with ed25519/],
      [`${make} auditor.key.pub`, /it is a public key; a private one signs/],
      [`${make} no.key`, /it is no key in PEM/],
      [`${make} bad.key`, /it is no key in PEM \(/],
      [`${make} gone.key`, /cannot read .*gone.key/],
      [`${check} rsa.key.pub`, /it is of type rsa/],
      [`${check} auditor.key`, /it is a private key; give the public one/],
      [`${check} no.key`, /it is no key in PEM/],
    ] as const)
      expect([line, await run(line)]).toEqual([line, { code: 1, out: "", notes: expect.stringMatching(message) }]);
    expect(readdirSync(folder)).toEqual(before);
  });
});

describe("the proof of an event", () => {
  test("is made of an export and checked alone, for every event of it", async () => {
    const { path, run, prove } = await world();
    for (let sequence = 1; sequence <= 17; sequence += 1) {
      await prove(sequence);
      const { code, out, notes } = await run("verify --proof proof.json --key auditor.key.pub --json");
      expect({ code, notes, report: JSON.parse(out) }).toMatchObject({
        code: 0,
        notes: "",
        report: { ok: true, source: "proof", signature: "valid", event: { sequence } },
      });
    }
    const { signed } = json(path("proof.json"));
    expect(signed.digest).toMatchObject({ frames: 13, firstSequence: 1, lastSequence: 17 });
    // The signed text, put together by hand.
    const text = `{"algorithm":"sha256-rfc6962","at":${signed.digest.at},"chainAfter":"${signed.digest.chainAfter}","chainBefore":"","firstSequence":1,"format":"omnirelay-ledger-digest","frames":13,"lastSequence":17,"logId":"log1","region":"local","root":"${signed.digest.root}","schemaVersion":1,"shard":"default"}`;
    expect(digestText(signed.digest)).toBe(text);
    const key = createPublicKey(readFileSync(path("auditor.key.pub")));
    expect(verify(null, Buffer.from(text), key, Buffer.from(signed.signature, "hex"))).toBe(true);
  });

  test("says what happened, and who vouches for it", async () => {
    const { run, prove } = await world();
    await prove(5);
    const { out } = await run("verify --proof proof.json");
    expect(out).toMatch(/^ledger +log1 of local\/default: whole$/m);
    expect(out).toMatch(/^event +sequence 5, 1970-01-01T.*, in frame 4 of the range$/m);
    expect(out).toMatch(/^says +\{"type":"enqueued",.*"resourceId":"r1"\}\}$/m);
    expect(out).toMatch(/^signature +by the key [0-9a-f]{64}, not checked: give --key$/m);
  });

  test("is printed where no file is given, and refused of an event that is not there", async () => {
    const { run, folder } = await world();
    const before = readdirSync(folder);
    const printed = await run("prove --sequence 17 --file export.jsonl");
    expect({ ...printed, out: JSON.parse(printed.out) }).toMatchObject({
      code: 0,
      notes: "",
      out: { sequence: 17, index: 12, path: [expect.any(String), expect.any(String)] },
    });
    expect(await run("prove --sequence 18 --file export.jsonl --out proof.json")).toEqual({
      code: 1,
      out: "",
      notes: "omnirelay: sequence 18 is not in the range, which holds the events 1 to 17",
    });
    expect(readdirSync(folder)).toEqual(before);
  });

  test("proves nothing any more once a bit of it is another one", async () => {
    const { path, run, prove } = await world();
    await prove(7);
    const whole = readFileSync(path("proof.json"));
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length * 8 - 1), async (bit) => {
        const bytes = Buffer.from(whole);
        bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        if (bytes.toString().trim() === whole.toString().trim()) return;
        writeFileSync(path("proof.json"), bytes);
        const { code, notes } = await run("verify --proof proof.json --key auditor.key.pub");
        expect(code).toBe(1);
        expect(notes).toMatch(/^omnirelay: ledger_/);
      }),
      { numRuns: 150 },
    );
  });

  test("cannot be lent to another event, frame, range or log", async () => {
    const { path, run, prove } = await world();
    await prove(7);
    const seven = json(path("proof.json"));
    await prove(13);
    const thirteen = json(path("proof.json"));
    const { digest } = seven.signed;
    const cases: [object, RegExp][] = [
      [{ ...seven, sequence: 9 }, /holds the events 6 to 8, and not 9/],
      [{ ...seven, payload: thirteen.payload }, /and not 7/],
      [{ ...thirteen, payload: seven.payload, sequence: 7 }, /the path does not lead from the frame to the root/],
      [{ ...seven, index: seven.index + 1 }, /the path does not lead/],
      [{ ...seven, index: 13 }, /has index 13, its digest is of 13 frames/],
      [{ ...seven, path: seven.path.slice(1) }, /the path does not lead/],
      [
        { ...seven, signed: { digest: { ...digest, logId: "log2" } } },
        /its frame is of logId log1, its digest of log2/,
      ],
      [{ ...seven, signed: { digest: { ...digest, firstSequence: 8 } } }, /is outside of the range/],
      [{ ...seven, signed: { ...seven.signed, keyId: undefined } }, /half a signature/],
      [{ ...seven, schemaVersion: 2 }, /ledger_file_version/],
      [{ ...seven, more: 1 }, /Unrecognized key/],
      [seven.signed, /the digest of a ledger; expected is omnirelay-ledger-proof/],
    ];
    for (const [proof, message] of cases) {
      writeFileSync(path("proof.json"), JSON.stringify(proof));
      expect(await run("verify --proof proof.json")).toMatchObject({ code: 1, notes: expect.stringMatching(message) });
    }
  });
});

describe("a digest that an auditor kept", () => {
  test("agrees with the export that it is of, and with no other", async () => {
    const { path, run, prove } = await world();
    await prove(3);
    writeFileSync(path("kept.json"), JSON.stringify(json(path("proof.json")).signed));
    expect(await run("verify --file export.jsonl --digest kept.json")).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^digest +agrees with the one that was given$/m),
    });
    expect(await run("verify --proof proof.json --digest kept.json")).toMatchObject({ code: 0 });
    await writeExport(path("export.jsonl"), log(10));
    expect(await run("verify --file export.jsonl --digest kept.json")).toMatchObject({
      code: 1,
      notes: expect.stringMatching(/ledger_digest_mismatch: .*lastSequence is 15 and not 17, frames is 12 and not 13/),
    });
  });

  test("is continued by a longer range, which an extension proves alone", async () => {
    const { path, run, prove } = await world();
    await prove(3);
    writeFileSync(path("kept.json"), JSON.stringify(json(path("proof.json")).signed));
    await writeExport(path("longer.jsonl"), log(40));
    const made = await run("prove --older kept.json --file longer.jsonl --sign-key auditor.key --out extension.json");
    expect(made).toMatchObject({
      code: 0,
      out: expect.stringMatching(/check it: omnirelay ledger verify --extension/),
    });
    const checked = await run("verify --extension extension.json --digest kept.json --key auditor.key.pub");
    expect(checked).toMatchObject({ code: 0, notes: "" });
    expect(checked.out).toMatch(/^continues +13 frames, to sequence 17, with the root [0-9a-f]{64}: nothing in them/m);
    const extension = json(path("extension.json"));
    const [first, ...rest] = extension.path;
    for (const wrong of [
      { ...extension, path: rest },
      { ...extension, path: [first.replace(/^./, first.startsWith("0") ? "1" : "0"), ...rest] },
      { ...extension, newer: extension.older },
      { ...extension, older: { digest: { ...extension.older.digest, frames: 12 } } },
    ]) {
      writeFileSync(path("extension.json"), JSON.stringify(wrong));
      expect(await run("verify --extension extension.json")).toMatchObject({
        code: 1,
        notes: expect.stringMatching(/ledger_proof_invalid/),
      });
    }
  });

  test("is not continued by a log whose past was rewritten", async () => {
    const { path, run, prove } = await world();
    await prove(3);
    writeFileSync(path("kept.json"), JSON.stringify(json(path("proof.json")).signed));
    const rewritten = new ChainBuilder().begin().enqueue(1);
    for (let index = 0; index < 40; index += 1) rewritten.enqueue(index % 4);
    await writeExport(path("rewritten.jsonl"), rewritten.messages);
    expect(await run("prove --older kept.json --file rewritten.jsonl --out extension.json")).toMatchObject({
      code: 1,
      notes: expect.stringMatching(/does not begin with that of .*root is/),
    });
    await writeExport(path("shorter.jsonl"), log(5));
    expect(await run("prove --older kept.json --file shorter.jsonl --out extension.json")).toMatchObject({
      code: 1,
      notes: expect.stringMatching(/the older digest is of 13 frames; there are 7: frames are lost/),
    });
    expect(existsSync(path("extension.json"))).toBe(false);
  });
});

describe("wrong arguments", () => {
  test.each([
    ["verify --key auditor.key.pub", 2, /the log itself is not signed/],
    ["verify --file export.jsonl --proof proof.json", 2, /cannot be used with/],
    ["verify --file export.jsonl --from 3", 2, /cannot be used with/],
    ["verify --from 0", 2, /whole number from 1/],
    ["verify --file nowhere.jsonl", 1, /cannot read .*nowhere.jsonl/],
    ["verify --proof nowhere.json", 1, /cannot read .*nowhere.json/],
    ["verify --digest export.jsonl", 1, /is no JSON object.*an export is given with --file/],
    ["prove --file export.jsonl", 2, /give --sequence, or --older/],
    ["prove --sequence 3 --older kept.json", 2, /cannot be used with/],
    ["export --from 3", 2, /--out <file>' not specified/],
    ["export --out export.jsonl", 1, /export.jsonl is there already; --force replaces it/],
    ["digest --out export.jsonl", 1, /export.jsonl is there already; --force replaces it/],
    ["key new", 2, /--out <file>' not specified/],
  ] as const)("omnirelay ledger %s", async (line, code, message) => {
    const { run, folder } = await world();
    const before = readdirSync(folder);
    expect(await run(line)).toMatchObject({ code, notes: expect.stringMatching(message) });
    expect(readdirSync(folder)).toEqual(before);
  });
});
