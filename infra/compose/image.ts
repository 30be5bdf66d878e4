/**
 * Builds the image of docker-compose.yml where no image registry can be reached: `node infra/compose/image.ts [NAME]`. The two base images that
 * infra/Dockerfile builds on are made from programs of this machine: this Node with its npm, nats-server, and the C libraries that they name.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { findProgram } from "../nats-server/command.ts";
import { provisionNatsServer } from "../nats-server/provision.ts";

const IMAGE_DEFAULT = "omnirelay:local";
const NODE_BASE = "omnirelay-base-node:local";
const NATS_BASE = "omnirelay-base-nats:local";
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Where the Node of the official image keeps npm. */
const NPM_FOLDER = "usr/local/lib/node_modules/npm";
const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt";

/** Builds it, or throws with the last words of `docker build`. `report` takes a line of progress. */
export async function buildImage(name: string, report: (line: string) => void): Promise<void> {
  if (process.platform !== "linux")
    throw new Error(`the image cannot be made from the programs of ${process.platform}: use docker compose build`);
  const folder = mkdtempSync(join(tmpdir(), "omnirelay-image-"));
  try {
    report("base images from this machine's Node, npm and nats-server");
    await makeNodeBase(join(folder, "node"));
    await makeNatsBase(join(folder, "nats"));
    report(`${name} from infra/Dockerfile`);
    const bases = ["--build-arg", `NODE_IMAGE=${NODE_BASE}`, "--build-arg", `NATS_IMAGE=${NATS_BASE}`];
    docker("build", "--network", "host", ...bases, "-f", join(ROOT, "infra/Dockerfile"), "-t", name, ROOT);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function makeNodeBase(folder: string): Promise<void> {
  const root = join(folder, "root");
  place(process.execPath, join(root, "usr/local/bin/node"));
  for (const library of librariesOf(process.execPath)) place(library, join(root, library));
  cpSync(await npmFolder(), join(root, NPM_FOLDER), { recursive: true, dereference: true });
  mkdirSync(join(root, "tmp"), { mode: 0o1777 });
  mkdirSync(join(root, "etc"), { recursive: true });
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0::/:\nnode:x:1000:1000::/:\n");
  // A machine that reaches its registries through a gateway of its own trusts it by this.
  const trusted = process.env["NODE_EXTRA_CA_CERTS"];
  if (trusted !== undefined) place(trusted, join(root, CERTIFICATES));
  const env = trusted === undefined ? "" : `ENV NODE_EXTRA_CA_CERTS=${CERTIFICATES}\n`;
  build(folder, NODE_BASE, `FROM scratch\nCOPY root/ /\n${env}`);
}

async function makeNatsBase(folder: string): Promise<void> {
  const { path } = await provisionNatsServer({ replicated: true });
  const foreign = librariesOf(path).filter((library) => !librariesOf(process.execPath).includes(library));
  if (foreign.length > 0) throw new Error(`nats-server needs libraries that Node does not: ${foreign.join(", ")}`);
  place(path, join(folder, "nats-server"));
  build(folder, NATS_BASE, "FROM scratch\nCOPY nats-server /nats-server\n");
}

function build(folder: string, name: string, dockerfile: string): void {
  writeFileSync(join(folder, "Dockerfile"), dockerfile);
  docker("build", "-t", name, folder);
}

/** Shared libraries, the loader included; none for a program that is linked statically. */
function librariesOf(program: string): readonly string[] {
  let listed: string;
  try {
    listed = execFileSync("ldd", [program], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    return []; // "not a dynamic executable"
  }
  return [...listed.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)].map(([, path]) => path ?? "");
}

/** The npm of this machine, whole: some distributions scatter its packages over the system. */
async function npmFolder(): Promise<string> {
  const program = await findProgram("npm", process.env["PATH"]);
  const folder = program === undefined ? "" : dirname(dirname(realpathSync(program)));
  if (!existsSync(join(folder, "bin/npm-cli.js")) || !existsSync(join(folder, "node_modules")))
    throw new Error(
      `there is no npm with its own packages on the PATH (${program ?? "none at all"}): install it from the npm registry`,
    );
  return folder;
}

function place(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
}

/** The builder that every engine has: the newer one may not be installed. */
function docker(...args: readonly string[]): void {
  const env = { ...process.env, DOCKER_BUILDKIT: "0" };
  try {
    execFileSync("docker", args, { env, stdio: ["ignore", "pipe", "pipe"], maxBuffer: 64 * 1024 * 1024 });
  } catch (error) {
    const { stdout, stderr } = error as { readonly stdout?: Buffer; readonly stderr?: Buffer };
    const words = `${stdout ?? ""}\n${stderr ?? error}`.trim().split("\n").slice(-6).join("\n");
    throw new Error(`docker ${args[0]} failed: ${words}`, { cause: error });
  }
}

if (import.meta.main) await buildImage(process.argv[2] ?? IMAGE_DEFAULT, (line) => console.log(line));
