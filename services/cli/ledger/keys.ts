/** Key files of the ledger: Ed25519 in PEM, the private key for its owner's eyes only, the public one beside it. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { keyIdOf } from "../../runtime/ledger-digest.ts";
import { unreadable } from "./documents.ts";
import { unwritable } from "./export-writer.ts";
import { ledgerError } from "./problem.ts";

const KEY_TYPE = "ed25519";
/** Of a key pair the private half: nobody but its owner reads it. */
const PRIVATE_MODE = 0o600;
const PUBLIC_MODE = 0o644;

export interface NewKey {
  readonly keyId: string;
  readonly privateFile: string;
  readonly publicFile: string;
}

/** Writes a new pair: the private key to `path`, the public one to `path`.pub. Throws, definite: `ledger_file_exists`, `ledger_file_unwritable`. */
export function writeNewKey(path: string): NewKey {
  const publicFile = `${path}.pub`;
  for (const file of [path, publicFile])
    if (existsSync(file))
      throw ledgerError("ledger_file_exists", `${file} is there already; a key is never replaced: choose another name`);
  const { privateKey, publicKey } = generateKeyPairSync(KEY_TYPE);
  try {
    writeFileSync(path, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: PRIVATE_MODE, flag: "wx" });
  } catch (error) {
    throw unwritable(path, error);
  }
  try {
    writeFileSync(publicFile, publicKey.export({ type: "spki", format: "pem" }), { mode: PUBLIC_MODE, flag: "wx" });
  } catch (error) {
    rmSync(path);
    throw unwritable(publicFile, error);
  }
  return { keyId: keyIdOf(publicKey), privateFile: path, publicFile };
}

/** Throws, definite: OperatingError `ledger_file_unreadable`, `ledger_key_invalid`. */
export function readPrivateKey(path: string): KeyObject {
  const pem = pemOf(path);
  if (!pem.includes("PRIVATE KEY"))
    throw invalid(path, pem.includes("PUBLIC KEY") ? "it is a public key; a private one signs" : "it is no key in PEM");
  return ed25519(path, () => createPrivateKey(pem));
}

/** Throws, definite: OperatingError `ledger_file_unreadable`, `ledger_key_invalid`. */
export function readPublicKey(path: string): KeyObject {
  const pem = pemOf(path);
  // A private key would do as well, and that is why it must not lie around where signatures are checked.
  if (pem.includes("PRIVATE KEY")) throw invalid(path, "it is a private key; give the public one, which is beside it");
  return ed25519(path, () => createPublicKey(pem));
}

function pemOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw unreadable(path, error);
  }
}

function ed25519(path: string, read: () => KeyObject): KeyObject {
  let key: KeyObject;
  try {
    key = read();
  } catch (error) {
    throw invalid(path, `it is no key in PEM (${(error as Error).message})`, error);
  }
  if (key.asymmetricKeyType === KEY_TYPE) return key;
  throw invalid(path, `it is of type ${key.asymmetricKeyType}; the ledger is signed with ${KEY_TYPE}`);
}

const invalid = (path: string, what: string, cause?: unknown) =>
  ledgerError("ledger_key_invalid", `${path} cannot be used: ${what}`, cause);
