/**
 * A real S3 gateway for tests: versitygw on a folder, on a free port, killed at the end.
 *
 * Looked for in OMNIRELAY_TEST_S3_GATEWAY, on the PATH, and in the user's cache. Run as a script it builds the pinned version into the cache
 * where Go is installed, which takes about a minute:
 *
 *     node test/support/s3-gateway.ts
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { findProgram, isExecutableFile, runCommand } from "../../infra/nats-server/command.ts";
import { pickFreePort } from "../../infra/nats-server/free-port.ts";
import type { Cleanup } from "./process.ts";

const PROGRAM = "versitygw";
const VERSION = "v1.8.0";
const MODULE = `github.com/versity/versitygw/cmd/versitygw@${VERSION}`;
/** Beside the PATH. */
const GO_FOLDERS = ["/usr/local/go/bin", "/usr/lib/go/bin"];
/** A machine that is busy needs many of the minutes. */
const BUILD_TIMEOUT_MS = 1_200_000;
const START_TRIES = 400;
const RETRY_MS = 25;

function cacheFolder(): string {
  const configured = process.env["XDG_CACHE_HOME"];
  const base = configured?.startsWith("/") ? configured : join(homedir(), ".cache");
  return join(base, "omnirelay", PROGRAM, VERSION);
}

/** The program; undefined where there is none. */
async function findGateway(): Promise<string | undefined> {
  const named = process.env["OMNIRELAY_TEST_S3_GATEWAY"];
  if (named !== undefined && named !== "") return (await isExecutableFile(named)) ? named : undefined;
  return findProgram(PROGRAM, process.env["PATH"], [cacheFolder()]);
}

/** Why there is no gateway here; undefined where there is one. */
export async function s3GatewayNote(): Promise<string | undefined> {
  if ((await findGateway()) !== undefined) return undefined;
  return `there is no ${PROGRAM} here (node test/support/s3-gateway.ts builds it, with Go)`;
}

/** Builds the program beside its place and then moves it there, so that nobody meets half of one. */
async function buildGateway(): Promise<string> {
  const go = await findProgram("go", process.env["PATH"], GO_FOLDERS);
  if (go === undefined) throw new Error(`Go is not installed, so ${PROGRAM} cannot be built`);
  const folder = cacheFolder();
  mkdirSync(folder, { recursive: true });
  const work = mkdtempSync(join(folder, ".building-"));
  try {
    const env = { ...process.env, GOBIN: work };
    await runCommand(go, ["install", MODULE], { env, timeoutMs: BUILD_TIMEOUT_MS });
    renameSync(join(work, PROGRAM), join(folder, PROGRAM));
    return join(folder, PROGRAM);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

export interface S3Gateway {
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Folder of its buckets: each is a folder in it, each object a file. */
  readonly root: string;
  /** Makes a bucket. */
  bucket(name: string): void;
  /** Ends it as a power cut would. */
  kill(): Promise<void>;
  /** Starts it again, on the same port and folder. */
  restart(): Promise<void>;
}

/** Starts a gateway without buckets. */
export async function s3Gateway(cleanup: Cleanup): Promise<S3Gateway> {
  const program = await findGateway();
  if (program === undefined) throw new Error(await s3GatewayNote());
  const root = mkdtempSync(join(tmpdir(), "omnirelay-s3-"));
  const port = await pickFreePort("127.0.0.1");
  const keys = { accessKeyId: "omnirelay-test", secretAccessKey: "secret-of-the-test" };
  let child = await start(program, port, root, keys);
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  };
  cleanup(async () => {
    await kill();
    rmSync(root, { recursive: true, force: true });
  });
  const restart = async (): Promise<void> => {
    child = await start(program, port, root, keys);
  };
  const bucket = (name: string): void => mkdirSync(join(root, name));
  return { ...keys, endpoint: `http://127.0.0.1:${port}`, root, bucket, kill, restart };
}

async function start(
  program: string,
  port: number,
  root: string,
  keys: { readonly accessKeyId: string; readonly secretAccessKey: string },
): Promise<ChildProcess> {
  const env = { PATH: process.env["PATH"], ROOT_ACCESS_KEY: keys.accessKeyId, ROOT_SECRET_KEY: keys.secretAccessKey };
  const child = spawn(program, ["--quiet", "--port", `127.0.0.1:${port}`, "posix", root], {
    env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let told = "";
  child.stderr.on("data", (text: Buffer) => {
    told = `${told}${text.toString()}`.slice(-2_000);
  });
  for (let tries = 0; ; tries += 1) {
    if (child.exitCode !== null) throw new Error(`${PROGRAM} ended with ${child.exitCode}: ${told}`);
    // Any answer will do: without a signature it is a refusal.
    const isUp = await fetch(`http://127.0.0.1:${port}/`).then(
      () => true,
      () => false,
    );
    if (isUp) return child;
    if (tries === START_TRIES) throw new Error(`${PROGRAM} does not answer: ${told}`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

if (import.meta.main)
  try {
    console.log((await findGateway()) ?? (await buildGateway()));
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 1;
  }
