/** Builds the published package into `dist/`: compiled code, its types, and the files that the code reads beside itself. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, globSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");

function build(): void {
  rmSync(dist, { recursive: true, force: true });
  execFileSync(join(root, "node_modules/.bin/tsc"), ["-p", "tsconfig.build.json"], { cwd: root, stdio: "inherit" });
  const copied = copyAssets();
  assertPackageIsComplete();
  console.log(`built ${globSync("dist/**/*.js", { cwd: root }).length} modules, copied ${copied} other files`);
}

/** Copies what the compiler leaves behind (pages, server configs, ...) to the same place below `dist/`; returns how many. */
function copyAssets(): number {
  const files = globSync(["{services,infra}/**/*.*", "contracts/**/*.proto"], { cwd: root, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith(".ts") && !entry.name.endsWith(".md"))
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length));
  for (const file of files) {
    mkdirSync(dirname(join(dist, file)), { recursive: true });
    cpSync(join(root, file), join(dist, file));
  }
  return files.length;
}

/** A package whose `exports` or `bin` name a missing file installs without complaint and fails at its user's: fail here. */
function assertPackageIsComplete(): void {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const conditions: (string | Record<string, string>)[] = Object.values(manifest.exports);
  const exported = conditions.flatMap((target) => (typeof target === "string" ? [target] : Object.values(target)));
  const commands: string[] = Object.values(manifest.bin);
  const missing = [...exported, ...commands].filter((file) => !existsSync(join(root, file)));
  assert(missing.length === 0, `package.json names files that the build did not make: ${missing.join(", ")}`);
  for (const command of commands) {
    const start = readFileSync(join(root, command), "utf8").slice(0, 20);
    assert(start.startsWith("#!/usr/bin/env node"), `${command} is a command without a "#!/usr/bin/env node" line`);
    chmodSync(join(root, command), 0o755);
  }
}

build();
